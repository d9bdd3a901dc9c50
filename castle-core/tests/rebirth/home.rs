//! A home that outlives the castles that visit it.

use std::sync::Arc;

use castle_core::handover::{Escrow, HandoverSpec, Probe, ProbeKind, Repository, SeedPart};
use castle_core::memory::{MemoryCluster, MemoryGitOps, MemoryIdentity, MemoryMachines, example_project};
use castle_core::{
    ByteSize, Castle, Clock, Context, Decisions, Env, Goal, Lives, MachineId, Milestone, Outcome, Pace, Plan, Power,
    Project, Report, RunOptions, SecretStore, SeededEntropy, Vault,
};

use crate::fuse::{Fuse, Fused, Ledger};

#[derive(Clone)]
pub struct Home {
    pub machines: MemoryMachines,
    pub ledger: Ledger,
    pub cluster: MemoryCluster,
    pub gitops: MemoryGitOps,
    pub project: Project,
    pub clock: Clock,
}

/// The example, handed over, with one probe and both credentials in escrow.
pub fn declared() -> Project {
    let repository =
        Repository { url: "https://git.example/home.git".into(), branch: "main".into(), path: "clusters/blue".into() };
    let seed = SeedPart::ALL.to_vec();
    let kind = ProbeKind::Tcp { service: ("blog".into(), "blog".into()), port: 80 };
    Project {
        gitops: Some(HandoverSpec { repository, seed, flux: None, external_secrets: None }),
        escrow: Escrow {
            kubeconfig: Some("KUBECONFIG_CONTENT".parse().unwrap()),
            talosconfig: Some("TALOSCONFIG_CONTENT".parse().unwrap()),
        },
        probes: vec![Probe { name: "blog".into(), kind }],
        ..example_project()
    }
}

impl Home {
    pub fn new() -> Self {
        Self::of(declared())
    }

    pub fn of(project: Project) -> Self {
        let machines = MemoryMachines::new().with_host("pve", ByteSize::gib_of(32));
        let cluster = MemoryCluster::on(&machines);
        let (ledger, gitops) = (Ledger::default(), MemoryGitOps::new().that_stumbles());
        Self { machines, ledger, cluster, gitops, project, clock: Clock::new(Pace::Virtual) }
    }

    /// One in which a create has come to its end.
    pub async fn standing() -> Self {
        let home = Self::new();
        home.reaches(Goal::Create, RunOptions::default()).await;
        home
    }

    /// A castle from an empty folder: it knows the declaration and nothing else.
    pub fn castle(&self) -> Castle {
        self.castle_behind(&Fuse::that_holds())
    }

    pub fn castle_behind(&self, fuse: &Arc<Fuse>) -> Castle {
        fn behind<P>(fuse: &Arc<Fuse>, inner: P) -> Arc<Fused<P>> {
            Arc::new(Fused { fuse: fuse.clone(), inner })
        }
        Castle::builder(self.project.clone())
            .machines(behind(fuse, self.machines.clone()))
            .secrets(behind(fuse, self.ledger.clone()))
            .identity(Arc::new(MemoryIdentity))
            .node_os(behind(fuse, self.cluster.clone()))
            .kubernetes(Arc::new(self.cluster.clone()))
            .gitops(behind(fuse, self.gitops.clone()))
            .env(Env { clock: self.clock.clone(), entropy: Arc::new(SeededEntropy::new(7)) })
            .build()
            .unwrap()
    }

    pub async fn run(&self, goal: Goal, options: RunOptions) -> Report {
        self.castle().run(goal, options).await
    }

    /// Runs, and expects the goal to be reached.
    pub async fn reaches(&self, goal: Goal, options: RunOptions) -> Report {
        let report = self.run(goal, options).await;
        assert_eq!(report.outcome, Outcome::Ok, "{goal}: {report:#?}");
        report
    }

    pub async fn plan(&self, goal: Goal, decisions: impl Into<Decisions>) -> Plan {
        let castle = self.castle();
        castle.plan(&Context::new(castle.env().clone()), goal, decisions, None).await.unwrap()
    }

    pub async fn lives(&self) -> Lives {
        let store: Arc<dyn SecretStore> = Arc::new(self.ledger.secrets.clone());
        let vault = Vault::new(store, self.project.project.clone(), self.project.cluster.name.clone());
        vault.lives().await.unwrap()
    }

    /// The numbers of the machines that run, each with its life.
    pub fn running(&self) -> Vec<(u32, u32)> {
        let ids = self.project.machines.iter().map(|spec| spec.id);
        let living = |id: MachineId| {
            let machine = self.machines.machine(id).filter(|machine| machine.power == Power::Running)?;
            let life = machine.description.split_once(" life=")?.1.split_once(' ')?.0.parse().ok()?;
            Some((id.get(), life))
        };
        ids.filter_map(living).collect()
    }

    /// All machines run, in this life.
    pub fn stands_in(life: u32) -> Vec<(u32, u32)> {
        vec![(421, life), (431, life), (432, life)]
    }

    pub async fn secret(&self, key: &str) -> Option<String> {
        let value = self.ledger.secrets.get(&key.parse().unwrap()).await.unwrap()?;
        Some(String::from_utf8(value.expose().clone()).unwrap())
    }
}

pub fn id(number: u32) -> MachineId {
    number.try_into().unwrap()
}

pub fn writes(report: &Report) -> u64 {
    report.requests.values().map(|count| count.write).sum()
}

pub fn codes(report: &Report) -> Vec<&'static str> {
    report.problems.iter().map(|problem| problem.code).collect()
}

pub fn until(milestone: Milestone) -> RunOptions {
    RunOptions { until: Some(milestone), ..RunOptions::default() }
}

pub fn replacing(life: u32) -> RunOptions {
    RunOptions { replaces: Some(life), ..RunOptions::default() }
}
