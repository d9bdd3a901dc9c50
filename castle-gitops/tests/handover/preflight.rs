//! What would stop a handover is found before there is a cluster.

use std::sync::Arc;

use castle_core::handover::{HandoverSpec, SeedPart};
use castle_core::options::Trust;
use castle_core::{ErrorKind, GitOps, Options, Problem, Secret};
use castle_gitops::FluxGitOps;
use castle_lab::faults::{Fault, FaultEffect};
use castle_lab::runtime;

use crate::house::{House, PATH, project};

const HOME: &str = "clusters/blue/flux-system";

async fn found(house: &House, options: &Options, change: impl FnOnce(&mut HandoverSpec)) -> Vec<Problem> {
    let mut project = project();
    change(project.gitops.as_mut().unwrap());
    let env = house.lab.env(house.lab.new_run());
    let gitops = FluxGitOps::new(options, &env, house.kubernetes.clone(), ".");
    gitops.preflight(&house.cx, &Arc::new(project)).await.unwrap_or_else(|error| panic!("{}", error.chain()))
}

/// The one problem, which says this.
fn check(found: &[Problem], code: &str, said: &str) {
    let [problem] = found else { panic!("{found:#?}") };
    assert_eq!(problem.code, code, "{found:#?}");
    assert!(problem.is_error() && problem.hint.is_some() && problem.message.contains(said), "{found:#?}");
}

#[test]
fn a_repository_that_has_everything_is_asked_a_few_times() {
    runtime::run_virtual(|| async {
        let house = House::start(7).await;
        let found = house.gitops.preflight(&house.cx, &house.project).await.unwrap();
        assert_eq!(found, []);
        let asked = house.gitops.meter().total();
        assert!((asked.read, asked.write) <= (4, 0), "{asked:?}");
        assert_eq!(house.requests().total().read, 0, "no cluster is asked");
    });
}

#[test]
fn what_is_missing_is_named_with_the_way_out() {
    runtime::run_virtual(|| async {
        let house = House::start(7).await;
        let options = &house.options;
        check(
            &found(&house, options, |spec| spec.repository.branch = "mian".into()).await,
            "gitops-repository",
            "mian",
        );
        let url = "https://git.castle.internal/elsewhere.git";
        check(&found(&house, options, |spec| spec.repository.url = url.into()).await, "gitops-repository", "404");
        let path = "clusters/green";
        check(&found(&house, options, |spec| spec.repository.path = path.into()).await, "gitops-seed", path);
        let mut stranger = options.clone();
        stranger.git.as_mut().unwrap().password = Secret::new("hunter2".into());
        let refused = found(&house, &stranger, |_| {}).await;
        check(&refused, "gitops-repository", "401");
        assert!(!format!("{refused:?}").contains("hunter2"));
        let nobody = Options { identity: None, ..options.clone() };
        check(&found(&house, &nobody, |_| {}).await, "gitops-credentials", "`identity`");
    });
}

#[test]
fn a_git_server_that_is_known_by_its_pin_alone_is_none_for_flux() {
    runtime::run_virtual(|| async {
        let house = House::start(7).await;
        let mut pinned = house.options.clone();
        // The lab's git shows another certificate, which is a finding of its own.
        pinned.git.as_mut().unwrap().trust = Some(Trust::Fingerprints(vec![[1; 32]]));
        let of_credentials = |mut found: Vec<Problem>| {
            found.retain(|problem| problem.code == "gitops-credentials");
            found
        };
        let refused = of_credentials(found(&house, &pinned, |_| {}).await);
        check(&refused, "gitops-credentials", "`git-credentials`");
        assert!(refused[0].hint.as_ref().unwrap().contains("`git.ca_file`"), "{refused:#?}");
        // Where Flux gets its credentials from elsewhere, a pin does for castle.
        let elsewhere = |spec: &mut HandoverSpec| spec.seed.retain(|part| *part != SeedPart::GitCredentials);
        assert_eq!(of_credentials(found(&house, &pinned, elsewhere).await), []);
    });
}

#[test]
fn what_the_repository_says_of_flux_is_read_before_it_is_needed() {
    for (file, text, said) in [
        ("gotk-components.yaml", None, "gotk-components.yaml"),
        ("gotk-sync.yaml", None, "gotk-sync.yaml"),
        ("gotk-components.yaml", Some("kind: [\n"), "is not YAML"),
        ("kustomization.yaml", Some("patches: []\n"), "patches"),
    ] {
        runtime::run_virtual(|| async {
            let house = House::start_with(7, project(), |world| {
                let mut files = world.git.repositories[PATH].head("main").unwrap().files.clone();
                let path = format!("{HOME}/{file}");
                match text {
                    Some(text) => files.insert(path, text.as_bytes().to_vec()),
                    None => files.remove(&path),
                };
                world.commit_files(PATH, "main", files, "A slip");
            })
            .await;
            check(&found(&house, &house.options, |_| {}).await, "gitops-seed", said);
        });
    }
}

#[test]
fn a_server_that_may_answer_later_is_an_error_and_no_finding() {
    runtime::run_virtual(|| async {
        let house = House::start(7).await;
        let busy = FaultEffect::Status { status: 503, reason: None, body: String::new(), after: false };
        for effect in [FaultEffect::ResetBefore, busy] {
            house.lab.faults().add(Fault { backend: Some("git".into()), ..Fault::of(effect.clone()) });
            let error = house.gitops.preflight(&house.cx, &house.project).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unreachable, "{effect:?}: {}", error.chain());
            assert_eq!(house.gitops.preflight(&house.cx, &house.project).await.unwrap(), []);
        }
    });
}
