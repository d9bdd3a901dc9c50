//! What a caller decides about a run.

use std::collections::BTreeMap;

use castle_core::{Error, ErrorKind, LostLife, Milestone, Result, RunOptions, Waiver};

/// What a caller decides about a run, or about its plan.
#[derive(Debug, Default)]
pub struct Choices {
    /// What the run itself takes.
    pub run: RunOptions,
    /// The machines that the castle is told are its own.
    pub waivers: Vec<Waiver>,
}

impl Choices {
    /// Reads them as Python says them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSpec`] with the words that are known.
    pub fn read(
        until: Option<&str>,
        lost_life: &str,
        replaces: Option<u32>,
        abandon: bool,
        waive_data: Option<&str>,
        waive_ownership: BTreeMap<u32, String>,
    ) -> Result<Self> {
        let lost_life = match lost_life {
            "ask" => LostLife::Ask,
            "continue" => LostLife::Continue,
            "begin" => LostLife::Begin,
            other => {
                return Err(Error::new(ErrorKind::InvalidSpec, format!("`{other}` is no answer about a lost life"))
                    .hint("use ask, continue or begin"));
            }
        };
        let until = until.map(milestone).transpose()?;
        let waive_data = waive_data.map(str::parse).transpose()?;
        let run = RunOptions { until, lost_life, replaces, abandon, waive_data, ..RunOptions::default() };
        let waivers = waive_ownership.iter().map(|(id, uuid)| waiver(*id, uuid)).collect::<Result<_>>()?;
        Ok(Self { run, waivers })
    }
}

fn milestone(name: &str) -> Result<Milestone> {
    name.parse().map_err(|_| {
        let known: Vec<_> = Milestone::ALL.iter().map(|milestone| milestone.name()).collect();
        Error::new(ErrorKind::InvalidSpec, format!("until: `{name}` is no milestone"))
            .hint(format!("use one of {}", known.join(", ")))
    })
}

fn waiver(id: u32, uuid: &str) -> Result<Waiver> {
    format!("{id}={uuid}").parse().map_err(|_| {
        Error::new(ErrorKind::InvalidSpec, format!("waive_ownership: {id} with `{uuid}` names no machine"))
            .hint("give `{421: \"its uuid\"}`: number and uuid of the machine, as the hypervisor shows them")
    })
}
