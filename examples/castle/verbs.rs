//! What each verb asks of the castle.

use castle_core::page::Setting;
use castle_core::{
    Context, Credential, Error, ErrorKind, EventLog, Goal, Milestone, Name, Outcome, Pace, Problem, Report,
    RequestCounts, RunOptions, Slot,
};

use crate::Exit;
use crate::arguments::{Arguments, Beginning, Verb};
use crate::mapped::mapped;
use crate::output::{Output, Start};
use crate::report_file::ReportFile;
use crate::wiring::Home;

/// Runs the verb and prints what came of it.
pub async fn run(arguments: &Arguments, home: &Home, file: Option<&ReportFile>, output: &Output) -> Exit {
    output.begin(arguments.verb.name(), home);
    if arguments.verb.needs_a_standing_castle() && home.lab.is_some() {
        output.note("a castle is raised first: this lab began empty");
        let options = RunOptions { until: arguments.verb.raised_until(), ..RunOptions::default() };
        let report = home.castle.run(Goal::Create, options).await;
        if report.outcome != Outcome::Ok {
            return output.report(&report, None);
        }
    }
    match &arguments.verb {
        Verb::Check => check(home, output).await,
        Verb::Plan { detailed_exitcode, .. } => plan(arguments, home, output, *detailed_exitcode).await,
        Verb::Create { .. } => reach(arguments, home, file, output, Goal::Create).await,
        Verb::Handover { .. } => reach(arguments, home, file, output, Goal::Handover).await,
        Verb::Rebirth { confirm, from, .. } => {
            let refusal = match unconfirmed(arguments, home, confirm.as_deref()) {
                Some(error) => Some(error),
                None => begins_otherwise(home, *from).await,
            };
            match refusal {
                Some(error) => output.failure("rebirth", &error, home, &Start::of(home)),
                None => reach(arguments, home, file, output, Goal::Rebirth).await,
            }
        }
        Verb::Escrow => escrow(home, output).await,
        Verb::Status => status(home, output).await,
        Verb::Kubeconfig => credential(home, output, Credential::Kubeconfig).await,
        Verb::Talosconfig => credential(home, output, Credential::Talosconfig).await,
        Verb::Members { remove: None, .. } => members(home, output).await,
        Verb::Members { remove: Some(id), waive_member } => {
            remove_member(home, output, *id, waive_member.as_ref()).await
        }
        Verb::Destroy { confirm, .. } => {
            if let Some(error) = unconfirmed(arguments, home, confirm.as_deref()) {
                return output.failure("destroy", &error, home, &Start::of(home));
            }
            reach(arguments, home, file, output, Goal::Destroy).await
        }
        Verb::Demo => {
            for goal in [Goal::Create, Goal::Destroy] {
                output.chapter(goal);
                let exit = reach(arguments, home, file, output, goal).await;
                if exit != Exit::Done {
                    return exit;
                }
                if goal == Goal::Create {
                    status(home, output).await;
                }
            }
            Exit::Done
        }
        // They need no castle, and were answered before there was one.
        Verb::Lab { .. } | Verb::Explain(_) | Verb::Completions { .. } => Exit::Usage,
    }
}

/// A removal is confirmed by `--yes` on a lab, by the cluster's typed name on a
/// house. Another cluster's name confirms nothing anywhere: whoever typed it meant
/// another castle.
fn unconfirmed(arguments: &Arguments, home: &Home, confirm: Option<&str>) -> Option<Error> {
    let name = home.castle.project().cluster.name.as_str();
    match confirm {
        Some(typed) if typed == name => None,
        None if home.is_lab && (arguments.yes || home.lab.is_some()) => None,
        _ => Some(not_confirmed(name, confirm, arguments.verb.goal(), home.is_lab)),
    }
}

/// The refusal of a removal that nobody confirmed, or that another name did.
pub fn not_confirmed(cluster: &str, typed: Option<&str>, goal: Goal, is_lab: bool) -> Error {
    let (how, what) = match typed {
        None if is_lab => ("`--yes`".to_owned(), String::new()),
        None => (format!("`--confirm {cluster}`"), String::new()),
        Some(typed) => (format!("`--confirm {cluster}`"), format!(" by the name `{typed}`")),
    };
    let look = if goal == Goal::Rebirth { "rebirth" } else { "destroy" };
    Error::new(ErrorKind::EvidenceMissing, format!("the removal of cluster {cluster} is not confirmed{what}"))
        .hint(format!("look at `castle plan --{look}`, then add {how}"))
}

async fn check(home: &Home, output: &Output) -> Exit {
    let start = Start::of(home);
    let cx = Context::new(home.castle.env().clone());
    match home.castle.check(&cx).await {
        Err(error) => output.failure("check", &error, home, &start),
        Ok(problems) => {
            output.findings(&problems);
            let refused = problems.iter().any(Problem::is_error);
            output.closing("check", if refused { Outcome::Refused } else { Outcome::Ok }, home, &start);
            if refused { Exit::Refused } else { Exit::Done }
        }
    }
}

async fn plan(arguments: &Arguments, home: &Home, output: &Output, detailed: bool) -> Exit {
    let start = Start::of(home);
    let cx = Context::new(home.castle.env().clone());
    let plan = home.castle.plan(&cx, arguments.verb.goal(), options_of(arguments).decisions(), None).await;
    match plan {
        Err(error) => output.failure("plan", &error, home, &start),
        Ok(plan) => {
            output.plan(&plan);
            let refused = plan.is_refused();
            output.closing("plan", if refused { Outcome::Refused } else { Outcome::Ok }, home, &start);
            match (refused, plan.is_done()) {
                (true, _) => Exit::Refused,
                (_, false) if detailed => Exit::Changes,
                _ => Exit::Done,
            }
        }
    }
}

async fn credential(home: &Home, output: &Output, which: Credential) -> Exit {
    let start = Start::of(home);
    match home.castle.credential(which).await {
        Err(error) => output.failure(which.name(), &error, home, &start),
        Ok(text) => {
            match &home.served_at {
                Some(dial) => output.credential(which.name(), &mapped(text.expose(), dial)),
                None => output.credential(which.name(), text.expose()),
            }
            output.closing(which.name(), Outcome::Ok, home, &start);
            Exit::Done
        }
    }
}

async fn members(home: &Home, output: &Output) -> Exit {
    let start = Start::of(home);
    let cx = Context::new(home.castle.env().clone());
    match home.castle.members(&cx).await {
        Err(error) => output.failure("members", &error, home, &start),
        Ok(lists) => {
            output.members(&lists);
            output.closing("members", Outcome::Ok, home, &start);
            Exit::Done
        }
    }
}

async fn remove_member(home: &Home, output: &Output, id: u64, waived: Option<&Name>) -> Exit {
    let start = Start::of(home);
    let cx = Context::new(home.castle.env().clone());
    match home.castle.remove_member(&cx, id, waived).await {
        Err(error) => output.failure("members", &error, home, &start),
        Ok(through) => {
            output.member_removed(id, &through);
            output.closing("members", Outcome::Ok, home, &start);
            Exit::Done
        }
    }
}

async fn status(home: &Home, output: &Output) -> Exit {
    let start = Start::of(home);
    let cx = Context::new(home.castle.env().clone());
    let observation = home.castle.observe(&cx, home.castle.furthest()).await;
    output.status(home.castle.project(), &observation);
    // What cannot be asked now haunts nobody that can be told of.
    match home.castle.ghosts(&cx).await {
        Ok(ghosts) => output.ghosts(&ghosts),
        Err(error) => output.note(&format!("remnants of former lives are not known: {}", error.chain())),
    }
    let seen = observation.machines.known().is_some();
    output.closing("status", if seen { Outcome::Ok } else { Outcome::Failed }, home, &start);
    if seen { Exit::Done } else { Exit::Failed }
}

/// What the caller has decided.
fn options_of(arguments: &Arguments) -> RunOptions {
    let (replaces, abandon) = match &arguments.verb {
        Verb::Rebirth { replaces, abandon, .. } => (*replaces, *abandon),
        _ => (None, false),
    };
    RunOptions {
        until: arguments.verb.until(),
        lost_life: arguments.verb.lost_life(),
        replaces,
        abandon,
        waive_data: arguments.verb.waive_data(),
        ..RunOptions::default()
    }
}

/// A claim about the beginning of a rebirth that does not hold. An embedded lab
/// was made to begin as it is said.
async fn begins_otherwise(home: &Home, from: Option<Beginning>) -> Option<Error> {
    let from = from.filter(|_| home.lab.is_none())?;
    let cx = Context::new(home.castle.env().clone());
    let observation = home.castle.observe(&cx, Milestone::MachinesRunning).await;
    // What cannot be seen is for the run to tell.
    let inventory = observation.machines.known()?;
    let stands = inventory.slots.values().any(|slot| !matches!(slot, Slot::Absent));
    let (claimed, found) = match (from, stands) {
        (Beginning::Standing, false) => ("standing", "none of its machines is there"),
        (Beginning::Empty, true) => ("empty", "some of its numbers are taken"),
        _ => return None,
    };
    Some(
        Error::new(ErrorKind::EvidenceMissing, format!("the rebirth was to begin {claimed}, and {found}"))
            .hint("look at `castle status`; without `--from` it begins with whatever is there"),
    )
}

async fn escrow(home: &Home, output: &Output) -> Exit {
    let start = Start::of(home);
    match home.castle.escrow().await {
        Err(error) => output.failure("escrow", &error, home, &start),
        Ok(put) => {
            output.escrowed(&put);
            output.closing("escrow", Outcome::Ok, home, &start);
            Exit::Done
        }
    }
}

async fn reach(arguments: &Arguments, home: &Home, file: Option<&ReportFile>, output: &Output, goal: Goal) -> Exit {
    let options = options_of(arguments);
    let cancel = options.cancel.clone();
    let start = Start::of(home);
    let ideal = ideal(home, goal, arguments.verb.until().unwrap_or(home.castle.furthest()));
    let setting = Setting {
        cluster: Some(home.castle.project().cluster.name.as_str()),
        place: Some(&home.place),
        ideal,
        ..Setting::default()
    };
    output.ideal(goal, ideal);
    if !output.is_json() {
        let cx = Context::new(home.castle.env().clone());
        match home.castle.plan(&cx, goal, options.decisions(), options.until).await {
            Ok(plan) => output.plan(&plan),
            Err(error) => {
                let exit = output.failure(arguments.verb.name(), &error, home, &start);
                if let Some(file) = file {
                    file.take(&unbegun(goal, error, start.requests(home)), &setting);
                }
                return exit;
            }
        }
    }
    let run = home.castle.run(goal, options);
    let log = run.log();
    let follow = follow(&log, home, output);
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_ok() {
            output.note("stopping after the current request; once more to leave at once");
            cancel.cancel();
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            output.progress().finish();
            std::process::exit(Exit::Interrupted as i32);
        }
        std::future::pending::<()>().await;
    };
    let both = async { futures::join!(run, follow).0 };
    let mut report: Report = tokio::select! {
        biased;
        report = both => report,
        () = interrupt => return Exit::Interrupted,
    };
    // Told before the run, and kept with it.
    report.problems.splice(0..0, home.castle.project().warnings.iter().cloned());
    let exit = output.report(&report, ideal);
    let events = log.events();
    if let Some(file) = file {
        file.take(&report, &Setting { wall: Some(output.wall()), events: &events, ..setting });
    }
    exit
}

/// Tells of every event, and renews the picture on a terminal as time goes by.
async fn follow(log: &EventLog, home: &Home, output: &Output) {
    let clock = &home.castle.env().clock;
    // In virtual time nothing but events passes, and a timer more would be one more to wait for.
    let ticks = output.progress().moves() && clock.pace() != Pace::Virtual;
    let mut events = log.subscribe();
    let tell = async {
        while let Some(event) = events.next().await {
            output.event(&event);
        }
    };
    let tick = async {
        if !ticks {
            std::future::pending::<()>().await;
        }
        loop {
            clock.sleep(std::time::Duration::from_secs(1)).await;
            output.progress().tick(log.elapsed());
        }
    };
    tokio::select! {
        biased;
        () = tell => {}
        () = tick => {}
    }
}

/// The report of a run that could not begin, because nothing could be seen.
fn unbegun(goal: Goal, error: Error, requests: RequestCounts) -> Report {
    let outcome = if error.kind().is_refusal() { Outcome::Refused } else { Outcome::Failed };
    let mut report = Report::of(goal, outcome);
    (report.error, report.requests, report.rounds) = (Some(error), requests, 0);
    report
}

/// The shortest time that the lab's physics allow, computed before the run.
fn ideal(home: &Home, goal: Goal, until: Milestone) -> Option<std::time::Duration> {
    let lab = home.lab.as_ref()?;
    let project = home.castle.project();
    lab.with_world(|world| match goal {
        Goal::Destroy => Some(castle_lab::ideal::machines_ideal(project, world).destroy),
        Goal::Create | Goal::Rebirth => {
            let beginning = match world.machines_of_castle().is_empty() {
                true => castle_lab::ideal::Beginning::Empty,
                false if goal == Goal::Rebirth => castle_lab::ideal::Beginning::Standing,
                false => return None,
            };
            // A repository that can never be applied has no ideal; the run will say why.
            castle_lab::ideal::cluster_ideal(project, world, beginning).ok().map(|ideal| ideal.at(until))
        }
        // A handover begins where the castle stands already; what is left has no ideal of its own.
        _ => None,
    })
}
