//! How far a node's boot has come, in castle's words.

use castle_core::Stage;
use castle_core::words::heard;

use crate::cosi::MachineStatus;

/// What a node says about its own progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    pub stage: Stage,
    pub ready: bool,
    /// `services: etcd not running`.
    pub unmet: Vec<String>,
    pub time_synced: bool,
}

impl Progress {
    /// Reads a machine status. Absent: the node's boot has only begun.
    pub(crate) fn of(status: Option<MachineStatus>) -> Self {
        let Some(MachineStatus { stage, status }) = status else {
            return Self { stage: Stage::Booting, ready: false, unmet: Vec::new(), time_synced: false };
        };
        let stage = stage_of(&stage);
        // Conditions are computed in these stages only; in others the node calls
        // itself ready without looking.
        let judged = matches!(stage, Stage::Booting | Stage::Running);
        let time_synced = judged && !status.unmet_conditions.iter().any(|unmet| unmet.name == "time");
        let unmet = status.unmet_conditions.into_iter().map(|unmet| match unmet.reason.as_str() {
            "" => heard(&unmet.name),
            reason => heard(&format!("{}: {reason}", unmet.name)),
        });
        Self { stage, ready: judged && status.ready, unmet: unmet.collect(), time_synced }
    }
}

fn stage_of(text: &str) -> Stage {
    match text {
        "booting" => Stage::Booting,
        "installing" => Stage::Installing,
        "maintenance" => Stage::Maintenance,
        "running" => Stage::Running,
        "rebooting" => Stage::Rebooting,
        "shutting down" | "shuttingDown" => Stage::ShuttingDown,
        "resetting" => Stage::Resetting,
        "upgrading" => Stage::Upgrading,
        _ => Stage::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, expected: (Stage, bool, &[&str], bool)) {
        let progress = Progress::of(Some(serde_saphyr::from_str(yaml).expect("a spec")));
        let unmet: Vec<&str> = progress.unmet.iter().map(String::as_str).collect();
        assert_eq!((progress.stage, progress.ready, &unmet[..], progress.time_synced), expected, "{yaml}");
    }

    #[test]
    fn a_status_is_read_as_talos_writes_it() {
        check("stage: running\nstatus:\n    ready: true\n    unmetConditions: []\n", (Stage::Running, true, &[], true));
        check(
            "stage: booting\nstatus:\n    ready: false\n    unmetConditions:\n        - name: services\n          \
             reason: etcd not running, kubelet not healthy\n",
            (Stage::Booting, false, &["services: etcd not running, kubelet not healthy"], true),
        );
        check(
            "stage: booting\nstatus:\n    ready: false\n    unmetConditions:\n        - name: time\n          reason: \
             \"\"\n",
            (Stage::Booting, false, &["time"], false),
        );
        // It says ready, but in these stages it has not looked.
        check("stage: shutting down\nstatus:\n    ready: true\n", (Stage::ShuttingDown, false, &[], false));
        check("stage: dancing\n", (Stage::Unknown, false, &[], false));
    }

    #[test]
    fn a_node_without_a_status_has_only_begun() {
        assert_eq!(Progress::of(None).stage, Stage::Booting);
    }
}
