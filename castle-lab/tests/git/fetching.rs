//! Advertisements and fetches, by raw requests.

use std::collections::BTreeSet;

use castle_lab::faults::{Fault, FaultEffect};
use castle_lab::git::object::{Object, ObjectKind};
use castle_lab::{Lab, runtime};

use crate::house::{Client, PATH, around, head, said, world};

fn in_lab<T: Send>(test: impl AsyncFnOnce(&Lab, &Client) -> T + Send) -> T {
    runtime::run_virtual(|| async {
        let lab = around(world()).start().await.unwrap();
        let client = Client::of(&lab, lab.new_run());
        test(&lab, &client).await
    })
}

fn kinds(objects: &[Object]) -> (usize, usize, usize) {
    let count = |kind| objects.iter().filter(|object| object.kind == kind).count();
    (count(ObjectKind::Commit), count(ObjectKind::Tree), count(ObjectKind::Blob))
}

#[test]
fn without_the_token_nothing_is_told() {
    in_lab(async |lab, client| {
        let mut stranger = Client::of(lab, lab.new_run());
        for password in [None, Some("wrong".to_owned())] {
            stranger.password = password;
            for path in [&format!("{PATH}/info/refs?service=git-upload-pack"), "/nothing.git/info/refs", "/"] {
                let answer = stranger.get(path, 2).await;
                assert_eq!(answer.status, 401, "{path}");
                assert_eq!(answer.headers["www-authenticate"], "Basic realm=\"castle-lab\"");
            }
        }
        let answer = client.get("/nothing.git/info/refs?service=git-upload-pack", 2).await;
        assert_eq!((answer.status, answer.body), (404, b"Repository not found\n".to_vec()));
        assert_eq!(client.get(&format!("{PATH}/info/refs"), 0).await.status, 403);
        assert_eq!(client.get(&format!("{PATH}/HEAD"), 0).await.status, 404);
        // Without its `.git` it is the same repository.
        assert_eq!(client.get("/tazlab-k8s/info/refs?service=git-upload-pack", 2).await.status, 200);
    });
}

#[test]
fn a_reader_may_not_push() {
    in_lab(async |lab, client| {
        lab.with_world(|world| world.git.accounts.0.get_mut("git").unwrap().may_push = false);
        assert_eq!(client.refs("git-upload-pack", 2).await.status, 200);
        assert_eq!(client.refs("git-receive-pack", 0).await.status, 403);
        assert_eq!(client.post("git-receive-pack", 0, b"0000".to_vec()).await.status, 403);
    });
}

#[test]
fn protocol_2_is_announced_as_git_does_or_as_hosts_do() {
    in_lab(async |lab, client| {
        let answer = client.refs("git-upload-pack", 2).await;
        assert_eq!(answer.headers["content-type"], "application/x-git-upload-pack-advertisement");
        assert_eq!(answer.headers["cache-control"], "no-cache");
        let lines = answer.lines();
        assert_eq!(lines[0], "version 2");
        assert!(lines.contains(&"fetch=shallow wait-for-done filter".to_owned()), "{lines:?}");
        lab.with_world(|world| world.git.announces_service = true);
        let lines = client.refs("git-upload-pack", 2).await.lines();
        assert_eq!(lines[..3], ["# service=git-upload-pack", "-", "version 2"]);
    });
}

#[test]
fn references_are_listed_by_their_prefix() {
    in_lab(async |lab, client| {
        let id = head(lab, "main").unwrap();
        let lines = client.command("ls-refs", &["symrefs", "peel", "ref-prefix HEAD", "ref-prefix refs/heads/m"]).await;
        let symref = format!("{id} HEAD symref-target:refs/heads/main");
        assert_eq!(lines.lines(), [symref, format!("{id} refs/heads/main"), "-".to_owned()]);
        let lines = client.command("ls-refs", &["ref-prefix refs/tags/"]).await.lines();
        assert_eq!(lines, ["-"]);
        assert_eq!(client.command("ls-refs", &[]).await.lines().len(), 3);
    });
}

#[test]
fn an_empty_repository_says_where_its_head_will_be() {
    in_lab(async |lab, client| {
        lab.with_world(|world| {
            *world.git.repositories.get_mut(PATH).unwrap() = castle_lab::git::Repository::new("trunk")
        });
        let lines = client.command("ls-refs", &["symrefs", "unborn"]).await.lines();
        assert_eq!(lines, ["unborn HEAD symref-target:refs/heads/trunk", "-"]);
        let lines = client.refs("git-upload-pack", 0).await.lines();
        assert!(lines[2].starts_with("0000000000000000000000000000000000000000 capabilities^{}\0"), "{lines:?}");
    });
}

#[test]
fn a_shallow_fetch_gives_one_commit_and_its_files() {
    in_lab(async |lab, client| {
        let id = head(lab, "main").unwrap();
        let answer = client.command("fetch", &["no-progress", "deepen 1", &format!("want {id}"), "done"]).await;
        assert_eq!(
            answer.lines()[..4],
            ["shallow-info".to_owned(), format!("shallow {id}"), "|".into(), "packfile".into()]
        );
        let objects = answer.objects(&[]);
        // The root, apps, apps/blog; the page and the words.
        assert_eq!(kinds(&objects), (1, 3, 2));
        assert_eq!(objects[0].id(), id);
        let whole = client.command("fetch", &[&format!("want {id}"), "done"]).await;
        assert_eq!(whole.lines()[0], "packfile");
        assert_eq!(kinds(&whole.objects(&[])), (3, 9, 4));
    });
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    in_lab(async |lab, client| {
        let log = lab.with_world(|world| world.git.repositories[PATH].log("main"));
        let (newest, older) = (log[0].0, log[1].0);
        let stranger = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
        let wants = format!("want {newest}");
        let answer = client.command("fetch", &[&wants, &format!("have {older}"), &format!("have {stranger}")]).await;
        assert_eq!(answer.lines()[..5], ["acknowledgments", &format!("ACK {older}"), "ready", "|", "packfile"]);
        assert_eq!(kinds(&answer.objects(&[])), (1, 3, 1));
        let answer = client.command("fetch", &[&wants, &format!("have {stranger}")]).await;
        assert_eq!(answer.lines(), ["acknowledgments", "NAK", "-"]);
        let answer = client.command("fetch", &[&wants, "wait-for-done", &format!("have {older}")]).await;
        assert_eq!(answer.lines(), ["acknowledgments", &format!("ACK {older}"), "-"]);
        let answer = client.command("fetch", &[&wants, &format!("have {older}"), "done"]).await;
        assert_eq!(answer.lines()[0], "packfile");
    });
}

#[test]
fn blobs_may_be_left_out_and_fetched_by_name() {
    in_lab(async |lab, client| {
        let id = head(lab, "main").unwrap();
        let arguments = ["deepen 1", "filter blob:none", &format!("want {id}"), "done"];
        assert_eq!(kinds(&client.command("fetch", &arguments).await.objects(&[])), (1, 3, 0));
        let page = Object::new(ObjectKind::Blob, b"version 3\n".to_vec());
        let arguments = ["filter blob:none", &format!("want {}", page.id()), "done"];
        assert_eq!(client.command("fetch", &arguments).await.objects(&[]), [page]);
        let arguments = ["deepen 1", "filter blob:limit=10", &format!("want {id}"), "done"];
        assert_eq!(kinds(&client.command("fetch", &arguments).await.objects(&[])), (1, 3, 1));
        let answer = client.command("fetch", &["filter tree:0", &format!("want {id}"), "done"]).await;
        assert_eq!(answer.lines(), ["ERR upload-pack: filter 'tree:0' not supported"]);
    });
}

#[test]
fn what_nobody_serves_is_refused_in_words() {
    in_lab(async |_, client| {
        let stranger = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
        for (command, argument, expected) in [
            ("fetch", format!("want {stranger}"), format!("ERR upload-pack: not our ref {stranger}")),
            ("fetch", "want me".into(), "ERR upload-pack: protocol error, expected object id, got 'me'".into()),
            ("fetch", "deepen 0".into(), "ERR upload-pack: invalid deepen: 0".into()),
            ("fetch", "deepen-not main".into(), "ERR upload-pack: unexpected line: 'deepen-not main'".into()),
            ("dance", String::new(), "ERR unknown command 'dance'".into()),
        ] {
            assert_eq!(client.command(command, &[&argument]).await.lines(), [expected]);
        }
        assert_eq!(client.post("git-upload-pack", 2, b"nonsense".to_vec()).await.status, 400);
    });
}

#[test]
fn the_old_protocol_gives_the_same_objects() {
    in_lab(async |lab, client| {
        let log = lab.with_world(|world| world.git.repositories[PATH].log("main"));
        let (newest, older) = (log[0].0, log[1].0);
        for version in [0, 1] {
            let lines = client.refs("git-upload-pack", version).await.lines();
            assert_eq!(lines[..2], ["# service=git-upload-pack", "-"]);
            let first = 2 + usize::from(version);
            assert_eq!(version == 1, lines[2] == "version 1");
            assert!(lines[first].starts_with(&format!("{newest} HEAD\0")), "{lines:?}");
            assert!(lines[first].contains(" symref=HEAD:refs/heads/main "), "{lines:?}");
            assert_eq!(lines[first + 1..], [format!("{newest} refs/heads/main"), "-".to_owned()]);
        }
        let want = format!("want {newest} multi_ack_detailed side-band-64k ofs-delta agent=test");
        let answer = client.post("git-upload-pack", 0, said(&[&want, "-", "done"])).await;
        assert_eq!(answer.lines()[0], "NAK");
        assert_eq!(kinds(&answer.objects(&[])), (3, 9, 4));
        let answer = client.post("git-upload-pack", 0, said(&[&want, "-", &format!("have {older}"), "-"])).await;
        let expected = [format!("ACK {older} common"), format!("ACK {older} ready"), "NAK".to_owned()];
        assert_eq!(answer.lines(), expected);
        let answer = client.post("git-upload-pack", 0, said(&[&want, "-", &format!("have {older}"), "done"])).await;
        assert_eq!(answer.lines()[..2], [format!("ACK {older} common"), format!("ACK {older}")]);
        assert_eq!(kinds(&answer.objects(&[])), (1, 3, 1));
        let answer = client.post("git-upload-pack", 0, said(&[&want, "deepen 1", "-", "done"])).await;
        assert_eq!(answer.lines()[..3], [format!("shallow {newest}"), "-".to_owned(), "NAK".to_owned()]);
        assert_eq!(kinds(&answer.objects(&[])), (1, 3, 2));
    });
}

#[test]
fn a_deeper_fetch_opens_the_shallow_end() {
    in_lab(async |lab, client| {
        let log = lab.with_world(|world| world.git.repositories[PATH].log("main"));
        let (newest, middle) = (log[0].0, log[1].0);
        let (want, have) = (format!("want {newest}"), format!("have {newest}"));
        let shallow = format!("shallow {newest}");
        let answer = client.command("fetch", &[&want, &have, &shallow, "deepen 2", "done"]).await;
        let expected = ["shallow-info".to_owned(), format!("shallow {middle}"), format!("unshallow {newest}")];
        assert_eq!(answer.lines()[..3], expected);
        let ids: BTreeSet<_> = answer.objects(&[]).iter().map(Object::id).collect();
        assert!(ids.contains(&middle) && !ids.contains(&newest), "{ids:?}");
        let relative = client.command("fetch", &[&want, &have, &shallow, "deepen 1", "deepen-relative", "done"]).await;
        assert_eq!(relative.lines()[..3], expected);
        // Without a new depth the shallow end stays where it is.
        let answer = client.command("fetch", &[&want, &shallow, "done"]).await;
        assert_eq!(kinds(&answer.objects(&[])), (1, 3, 2));
    });
}

#[test]
fn a_compressed_request_is_understood() {
    in_lab(async |lab, client| {
        let id = head(lab, "main").unwrap();
        let plain = said(&["command=fetch", "|", "deepen 1", &format!("want {id}"), "done", "-"]);
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut zipped, &plain).unwrap();
        let answer = client.zipped("git-upload-pack", 2, zipped.finish().unwrap()).await;
        assert_eq!(kinds(&answer.objects(&[])), (1, 3, 2));
        assert_eq!(client.zipped("git-upload-pack", 2, b"no gzip".to_vec()).await.status, 400);
    });
}

#[test]
fn requests_stand_in_the_journal_and_are_struck_by_faults() {
    in_lab(async |lab, client| {
        let effect = FaultEffect::Status { status: 503, reason: None, body: "busy".into(), after: false };
        let backend = Some("git".to_owned());
        lab.faults().add(Fault { backend, kind: Some("GET git-upload-pack refs".into()), ..Fault::of(effect) });
        assert_eq!(client.refs("git-upload-pack", 2).await.status, 503);
        assert_eq!(client.refs("git-upload-pack", 2).await.status, 200);
        client.command("ls-refs", &[]).await;
        client.refs("git-receive-pack", 0).await;
        client.post("git-receive-pack", 0, b"0000".to_vec()).await;
        let entries = lab.journal().entries();
        let kinds: Vec<_> = entries.iter().map(|entry| (entry.kind.as_str(), entry.write)).collect();
        assert_eq!(
            kinds,
            [
                ("GET git-upload-pack refs", false),
                ("GET git-upload-pack refs", false),
                ("POST git-upload-pack", false),
                ("GET git-receive-pack refs", false),
                ("POST git-receive-pack", true),
            ]
        );
        assert!(entries.iter().all(|entry| entry.backend == "git" && entry.entity == PATH), "{entries:?}");
        assert_eq!(entries[2].detail, "version=2 command=ls-refs");
        let took = entries[2].finished.unwrap() - entries[2].at;
        assert!((1..=50).contains(&took.as_millis()), "{took:?}");
    });
}
