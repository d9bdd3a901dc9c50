//! Pushes, by raw requests: what is taken, and what is refused in which words.

use castle_lab::git::object::{Object, ObjectId, ObjectKind};
use castle_lab::{Lab, runtime};

use crate::house::{Answer, Client, PATH, around, commit, head, report, world};

const MAIN: &str = "refs/heads/main";

fn in_lab<T: Send>(test: impl AsyncFnOnce(&Lab, &Client) -> T + Send) -> T {
    runtime::run_virtual(|| async {
        let lab = around(world()).start().await.unwrap();
        let client = Client::of(&lab, lab.new_run());
        test(&lab, &client).await
    })
}

fn told(answer: &Answer) -> String {
    String::from_utf8(answer.band(2)).unwrap()
}

#[test]
fn a_push_is_in_the_world_at_once() {
    in_lab(async |lab, client| {
        let old = head(lab, "main").unwrap();
        let before = lab.with_world(|world| world.git.revision());
        let (new, objects) = commit(&[old], &[("README.md", "changed\n"), ("apps/new.yaml", "a: 1\n")]);
        let answer = client.push(MAIN, old, new, &objects).await;
        assert_eq!(report(&answer), ["unpack ok", "ok refs/heads/main"]);
        assert_eq!(answer.headers["content-type"], "application/x-git-receive-pack-result");
        lab.with_world(|world| {
            let repository = &world.git.repositories[PATH];
            let branch = repository.head("main").unwrap();
            assert_eq!(branch.commit, new.to_string());
            assert_eq!(branch.files["README.md"], b"changed\n");
            assert_eq!(branch.files.keys().collect::<Vec<_>>(), ["README.md", "apps/new.yaml"]);
            let landing = repository.landings().last().unwrap();
            assert_eq!((landing.by.as_deref(), landing.old, landing.new), (Some("git"), old, new));
            assert_eq!(world.git.revision(), before + 1);
        });
    });
}

#[test]
fn what_is_not_forward_is_refused_unless_the_house_says_so() {
    in_lab(async |lab, client| {
        let old = head(lab, "main").unwrap();
        let (aside, objects) = commit(&[], &[("README.md", "another history\n")]);
        let answer = client.push(MAIN, old, aside, &objects).await;
        assert_eq!(report(&answer), ["unpack ok", "ng refs/heads/main non-fast-forward"]);
        assert_eq!(told(&answer), "error: denying non-fast-forward refs/heads/main (you should pull first)\n");
        assert_eq!(head(lab, "main"), Some(old));
        lab.with_world(|world| world.git.repositories.get_mut(PATH).unwrap().rules.accepts_force = true);
        let answer = client.push(MAIN, old, aside, &objects).await;
        assert_eq!(report(&answer), ["unpack ok", "ok refs/heads/main"]);
        assert_eq!(head(lab, "main"), Some(aside));
    });
}

#[test]
fn a_push_that_comes_second_is_refused() {
    in_lab(async |lab, client| {
        let old = head(lab, "main").unwrap();
        let (first, first_objects) = commit(&[old], &[("README.md", "first\n")]);
        let (second, second_objects) = commit(&[old], &[("README.md", "second\n")]);
        client.push(MAIN, old, first, &first_objects).await;
        let answer = client.push(MAIN, old, second, &second_objects).await;
        assert_eq!(report(&answer), ["unpack ok", "ng refs/heads/main failed to update ref"]);
        assert!(told(&answer).contains(&format!("is at {first} but expected {old}")), "{}", told(&answer));
        assert_eq!(head(lab, "main"), Some(first));
        assert_eq!(lab.with_world(|world| world.git.repositories[PATH].landings().len()), 4);
    });
}

#[test]
fn hooks_and_protected_branches_decline() {
    in_lab(async |lab, client| {
        let old = head(lab, "main").unwrap();
        let (new, objects) = commit(&[old], &[("README.md", "changed\n")]);
        lab.with_world(|world| {
            let rules = &mut world.git.repositories.get_mut(PATH).unwrap().rules;
            rules.hook_declines = Some("no pushes on Fridays".into());
        });
        let answer = client.push(MAIN, old, new, &objects).await;
        assert_eq!(report(&answer), ["unpack ok", "ng refs/heads/main pre-receive hook declined"]);
        assert_eq!(told(&answer), "no pushes on Fridays\n");
        lab.with_world(|world| {
            let rules = &mut world.git.repositories.get_mut(PATH).unwrap().rules;
            rules.hook_declines = None;
            rules.protected.insert("main".into());
        });
        let answer = client.push(MAIN, old, new, &objects).await;
        assert_eq!(report(&answer), ["unpack ok", "ng refs/heads/main protected branch hook declined"]);
        assert_eq!(head(lab, "main"), Some(old));
        let answer = client.push("refs/heads/change", ObjectId::ZERO, new, &objects).await;
        assert_eq!(report(&answer), ["unpack ok", "ok refs/heads/change"]);
        assert_eq!(head(lab, "change"), Some(new));
    });
}

#[test]
fn what_is_broken_or_incomplete_is_refused() {
    in_lab(async |lab, client| {
        let old = head(lab, "main").unwrap();
        let (new, objects) = commit(&[old], &[("README.md", "changed\n")]);
        let without_blob: Vec<_> = objects.iter().filter(|it| it.kind != ObjectKind::Blob).cloned().collect();
        let answer = client.push(MAIN, old, new, &without_blob).await;
        assert_eq!(report(&answer), ["unpack ok", "ng refs/heads/main missing necessary objects"]);
        let known = lab.with_world(|world| world.git.repositories[PATH].objects().contains(new));
        assert!(!known, "what was refused is not kept");
        let blob = Object::new(ObjectKind::Blob, b"no commit".to_vec());
        let answer = client.push(MAIN, old, blob.id(), std::slice::from_ref(&blob)).await;
        assert_eq!(report(&answer), ["unpack ok", "ng refs/heads/main failed to update ref"]);
        let answer = client.push("main", ObjectId::ZERO, new, &objects).await;
        assert_eq!(report(&answer), ["unpack ok", "ng main funny refname"]);
        let lines = format!("{old} {new} {MAIN}\0report-status");
        let mut body = format!("{:04x}{lines}0000", lines.len() + 4).into_bytes();
        body.extend(b"PACK but no more of one, though long enough");
        let answer = client.post("git-receive-pack", 0, body).await;
        assert_eq!(
            answer.lines(),
            ["unpack this is no pack of version 2 or 3", "ng refs/heads/main unpacker error", "-"]
        );
        assert_eq!(head(lab, "main"), Some(old));
    });
}

#[test]
fn an_atomic_push_is_done_whole_or_not() {
    in_lab(async |lab, client| {
        let old = head(lab, "main").unwrap();
        let (new, mut objects) = commit(&[old], &[("README.md", "changed\n")]);
        let (aside, others) = commit(&[], &[("README.md", "another history\n")]);
        objects.extend(others);
        let updates = [("refs/heads/change", ObjectId::ZERO, new), (MAIN, old, aside)];
        let answer = client.push_all(&updates, &objects, "atomic").await;
        let failed = "ng refs/heads/change atomic push failure";
        assert_eq!(report(&answer), ["unpack ok", failed, "ng refs/heads/main non-fast-forward"]);
        assert_eq!(head(lab, "change"), None);
        let answer = client.push_all(&updates, &objects, "").await;
        assert_eq!(report(&answer)[1], "ok refs/heads/change");
        assert_eq!(head(lab, "change"), Some(new));
    });
}

#[test]
fn a_branch_goes_away_only_where_that_is_allowed() {
    in_lab(async |lab, client| {
        let old = head(lab, "main").unwrap();
        client.push("refs/heads/change", ObjectId::ZERO, old, &[]).await;
        for (reference, reason) in
            [(MAIN, "deletion of the current branch prohibited"), ("refs/heads/change", "deletion prohibited")]
        {
            let answer = client.push(reference, old, ObjectId::ZERO, &[]).await;
            assert_eq!(report(&answer), ["unpack ok".to_owned(), format!("ng {reference} {reason}")]);
        }
        lab.with_world(|world| world.git.repositories.get_mut(PATH).unwrap().rules.accepts_force = true);
        let answer = client.push("refs/heads/change", old, ObjectId::ZERO, &[]).await;
        assert_eq!(report(&answer), ["unpack ok", "ok refs/heads/change"]);
        assert_eq!(head(lab, "change"), None);
    });
}
