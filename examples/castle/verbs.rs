//! What each verb asks of the castle.

use castle_core::{Context, Credential, Error, ErrorKind, Goal, Milestone, Outcome, Problem, Report, RunOptions};

use crate::Exit;
use crate::arguments::{Arguments, Verb};
use crate::mapped::mapped;
use crate::output::{Output, Start};
use crate::wiring::Home;

/// Runs the verb and prints what came of it.
pub async fn run(arguments: &Arguments, home: &Home, output: &Output) -> Exit {
    output.begin(arguments.verb.name(), home);
    if arguments.verb.needs_a_standing_castle() && home.lab.is_some() {
        output.note("a castle is raised first: this lab began empty");
        let report = home.castle.run(Goal::Create, RunOptions::default()).await;
        if report.outcome != Outcome::Ok {
            return output.report(&report, None);
        }
    }
    match &arguments.verb {
        Verb::Check => check(home, output).await,
        Verb::Plan { detailed_exitcode, .. } => plan(arguments, home, output, *detailed_exitcode).await,
        Verb::Create { .. } => reach(arguments, home, output, Goal::Create).await,
        Verb::Status => status(home, output).await,
        Verb::Kubeconfig => credential(home, output, Credential::Kubeconfig).await,
        Verb::Talosconfig => credential(home, output, Credential::Talosconfig).await,
        Verb::Members => members(home, output).await,
        Verb::Destroy { confirm, .. } => {
            if let Some(error) = unconfirmed(arguments, home, confirm.as_deref()) {
                return output.failure("destroy", &error, home, &Start::of(home));
            }
            reach(arguments, home, output, Goal::Destroy).await
        }
        Verb::Demo => {
            for goal in [Goal::Create, Goal::Destroy] {
                output.chapter(goal);
                let exit = reach(arguments, home, output, goal).await;
                if exit != Exit::Done {
                    return exit;
                }
                if goal == Goal::Create {
                    status(home, output).await;
                }
            }
            Exit::Done
        }
        Verb::Lab { .. } => Exit::Usage,
    }
}

/// A removal is confirmed by `--yes` on a lab, by the cluster's typed name on a
/// house.
fn unconfirmed(arguments: &Arguments, home: &Home, confirm: Option<&str>) -> Option<Error> {
    let name = home.castle.project().cluster.name.as_str();
    if confirm == Some(name) || (home.is_lab && (arguments.yes || home.lab.is_some())) {
        return None;
    }
    let how = if home.is_lab { "`--yes`".to_owned() } else { format!("`--confirm {name}`") };
    Some(
        Error::new(ErrorKind::EvidenceMissing, format!("the removal of cluster {name} is not confirmed"))
            .hint(format!("look at `castle plan --destroy`, then add {how}")),
    )
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
    let plan = home.castle.plan(&cx, arguments.verb.goal(), arguments.verb.choices().lost_life(), None).await;
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

async fn reach(arguments: &Arguments, home: &Home, output: &Output, goal: Goal) -> Exit {
    let until = Some(arguments.verb.until());
    let options = RunOptions { until, lost_life: arguments.verb.choices().lost_life(), ..RunOptions::default() };
    let cancel = options.cancel.clone();
    let start = Start::of(home);
    let ideal = ideal(home, goal, arguments.verb.until());
    output.ideal(goal, ideal);
    if !output.is_json() {
        let cx = Context::new(home.castle.env().clone());
        match home.castle.plan(&cx, goal, options.lost_life, until).await {
            Ok(plan) => output.plan(&plan),
            Err(error) => return output.failure(arguments.verb.name(), &error, home, &start),
        }
    }
    let run = home.castle.run(goal, options);
    let mut events = run.log().subscribe();
    let follow = async {
        while let Some(event) = events.next().await {
            output.event(&event);
        }
    };
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_ok() {
            output.note("stopping after the current request; once more to leave at once");
            cancel.cancel();
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(Exit::Interrupted as i32);
        }
        std::future::pending::<()>().await;
    };
    let both = async { futures::join!(run, follow).0 };
    let report: Report = tokio::select! {
        biased;
        report = both => report,
        () = interrupt => return Exit::Interrupted,
    };
    output.report(&report, ideal)
}

/// The shortest time that the lab's physics allow, computed before the run.
fn ideal(home: &Home, goal: Goal, until: Milestone) -> Option<std::time::Duration> {
    let lab = home.lab.as_ref()?;
    let project = home.castle.project();
    Some(lab.with_world(|world| {
        let machines = castle_lab::ideal::machines_ideal(project, world);
        let cluster = castle_lab::ideal::api_ideal(project, world);
        match (goal, until) {
            (Goal::Destroy, _) => machines.destroy,
            (Goal::Create, Milestone::MachinesRunning) => machines.create,
            (Goal::Create, Milestone::ApiServing) => cluster.api_serving,
            (Goal::Create, _) => cluster.nodes_ready.max(machines.create),
        }
    }))
}
