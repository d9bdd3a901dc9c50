//! Tasks: their names, and how they ended.

use std::fmt;
use std::str::FromStr;

use castle_core::words::heard;

use crate::wire::TaskEntry;
use crate::{Error, Refusal};

/// The name of a task:
/// `UPID:<node>:<pid>:<pstart>:<starttime>:<type>:<id>:<user>:`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Upid {
    text: String,
    /// The node that runs it.
    pub node: String,
    /// When it began, in Unix seconds of the node's clock.
    pub start: u64,
    /// `qmcreate`, `qmstart`, ...
    pub kind: String,
    /// What it works on: mostly the machine's number.
    pub id: String,
}

impl Upid {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text that names no task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no task")]
pub(crate) struct NotATask(String);

impl FromStr for Upid {
    type Err = NotATask;

    fn from_str(text: &str) -> Result<Self, NotATask> {
        let fields: Vec<&str> = text.split(':').collect();
        let hex = |text: &str| {
            let fits = (8..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
            fits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
        };
        let parsed = match fields[..] {
            ["UPID", node, pid, pstart, start, kind, id, user, ""]
                if is_node(node)
                    && hex(pid).is_some()
                    && hex(pstart).is_some()
                    && !kind.is_empty()
                    && user.contains('@') =>
            {
                hex(start).map(|start| Self {
                    text: text.to_owned(),
                    node: node.to_owned(),
                    start,
                    kind: kind.to_owned(),
                    id: id.to_owned(),
                })
            }
            _ => None,
        };
        parsed.ok_or_else(|| NotATask(text.chars().take(120).collect()))
    }
}

fn is_node(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TaskState {
    /// It works.
    Running,
    /// It is over; the text is its exit status.
    Ended(String),
    /// Its node said, many times, that it knows no such task.
    Lost,
}

impl TaskState {
    /// Reads an entry of a task list. Running entries carry no end and the
    /// status `RUNNING`, or none; ended ones carry their exit status there.
    pub(crate) fn of_list(entry: &TaskEntry) -> Self {
        match entry.status.as_deref() {
            None if entry.endtime.is_none() => Self::Running,
            Some(status) if status.eq_ignore_ascii_case("running") && entry.endtime.is_none() => Self::Running,
            status => Self::Ended(status.unwrap_or("unexpected status").to_owned()),
        }
    }

    /// Reads the status of one task.
    pub(crate) fn of_status(entry: &TaskEntry) -> Self {
        match (&entry.exitstatus, entry.status.as_deref()) {
            (Some(exit), _) => Self::Ended(exit.clone()),
            (None, Some("stopped")) => Self::Ended("unexpected status".to_owned()),
            (None, _) => Self::Running,
        }
    }
}

/// A success, with what the task wants to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    /// The number of warnings in the task's log.
    pub warnings: Option<String>,
}

/// Judges an exit status: `OK` and `WARNINGS: n` are successes, all else is not.
pub(crate) fn judge(upid: &Upid, exit: &str) -> Result<Done, Error> {
    match (exit, exit.strip_prefix("WARNINGS:")) {
        ("OK", _) => Ok(Done { warnings: None }),
        (_, Some(count)) => Ok(Done { warnings: Some(count.trim().to_owned()) }),
        _ => Err(Error::TaskFailed {
            node: upid.node.clone(),
            upid: upid.to_string(),
            exit: heard(exit),
            refusal: Refusal::of_text(exit),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_s_name_is_read() {
        let text = "UPID:pve-1:0003B1F2:01A2B3C4:69201A0F:qmcreate:421:castle@pve!main:";
        let upid: Upid = text.parse().expect("a task");
        assert_eq!((upid.node.as_str(), upid.kind.as_str(), upid.id.as_str()), ("pve-1", "qmcreate", "421"));
        assert_eq!((upid.start, upid.to_string().as_str()), (1_763_711_503, text));
        let long_pstart = "UPID:pve:0003B1F2:101A2B3C4:69201A0F:download:talos.qcow2:root@pam:";
        assert!(long_pstart.parse::<Upid>().is_ok());
        let no_id = "UPID:pve:0003B1F2:01A2B3C4:69201A0F:startall::root@pam:";
        assert!(no_id.parse::<Upid>().is_ok());
    }

    #[test]
    fn what_names_no_task_is_refused() {
        for text in [
            "",
            "UPID:",
            "UPID:pve:1:2:3:qmcreate:421:root@pam:",
            "UPID:../etc:0003B1F2:01A2B3C4:69201A0F:qmcreate:421:root@pam:",
            "UPID:pve:0003B1F2:01A2B3C4:69201A0F:qmcreate:421:root@pam",
            "UPID:pve:0003B1F2:01A2B3C4:69201A0F:qmcreate:421:root@pam:x",
            "UPID:pve:0003B1F2:01A2B3C4:zzzzzzzz:qmcreate:421:root@pam:",
            "UPID:-pve:0003B1F2:01A2B3C4:69201A0F:qmcreate:421:root@pam:",
        ] {
            assert!(text.parse::<Upid>().is_err(), "{text}");
        }
    }

    #[test]
    fn warnings_are_a_success_and_all_else_is_not() {
        let upid: Upid = "UPID:pve:0003B1F2:01A2B3C4:69201A0F:qmcreate:421:castle@pve!main:".parse().expect("a task");
        assert_eq!(judge(&upid, "OK").expect("ok").warnings, None);
        assert_eq!(judge(&upid, "WARNINGS: 2").expect("ok").warnings.as_deref(), Some("2"));
        for (exit, refusal) in [
            ("unexpected status", Refusal::Interrupted),
            ("can't lock file '/var/lock/qemu-server/lock-421.conf' - got timeout", Refusal::LockTimeout),
            ("", Refusal::Other),
            ("ok", Refusal::Other),
        ] {
            assert_eq!(judge(&upid, exit).expect_err(exit).refusal(), Some(&refusal), "{exit}");
        }
    }

    #[test]
    fn entries_of_lists_and_statuses_are_told_apart() {
        let entry = |json: &str| serde_json::from_str::<TaskEntry>(json).expect(json);
        assert_eq!(TaskState::of_list(&entry(r#"{"status":"RUNNING"}"#)), TaskState::Running);
        assert_eq!(TaskState::of_list(&entry("{}")), TaskState::Running);
        assert_eq!(TaskState::of_list(&entry(r#"{"status":"OK","endtime":5}"#)), TaskState::Ended("OK".into()));
        assert_eq!(TaskState::of_status(&entry(r#"{"status":"running"}"#)), TaskState::Running);
        let ended = entry(r#"{"status":"stopped","exitstatus":"WARNINGS: 1"}"#);
        assert_eq!(TaskState::of_status(&ended), TaskState::Ended("WARNINGS: 1".into()));
    }
}
