//! Where `--report FILE` may lead, and what it may not destroy.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::{BLUE, folder, names, program, run, write};

const CREATE: &str = "--lab create --until machines-running --report";

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("it is there")
}

fn is_page(text: &str) -> bool {
    text.starts_with("<!doctype html>") && text.trim_end().ends_with("</html>")
}

/// A process that ends with its test, also where that fails.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_named_pipe_stays_one_and_its_reader_gets_the_page() {
    let home = folder(BLUE);
    let pipe = home.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("there is a `mkfifo`").success());
    let mut reading = Ended(Command::new("cat").arg(&pipe).stdout(Stdio::piped()).spawn().expect("a `cat`"));
    let told = run(home.path(), &format!("{CREATE} pipe"));
    assert!(std::fs::symlink_metadata(&pipe).expect("it is there").file_type().is_fifo(), "{told}");
    let mut page = String::new();
    std::io::Read::read_to_string(&mut reading.0.stdout.take().expect("it is piped"), &mut page).expect("text");
    assert!(reading.0.wait().expect("it was started").success() && is_page(&page), "{told}\n{page}");
    assert_eq!(told.exits(0).code, Some(0));
    assert_eq!(names(home.path()), ["castle.yaml", "pipe"]);
}

/// In virtual time a runtime that waits for nothing known is ended after 20 s of real
/// time. The wait for a reader lies before it: no line of the run is printed until then.
#[test]
fn a_reader_of_a_named_pipe_may_come_late() {
    let home = folder(BLUE);
    let pipe = home.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("there is a `mkfifo`").success());
    let out = home.path().join("out");
    let mut command = Command::new(program());
    command.current_dir(home.path()).args(CREATE.split(' ')).arg("pipe").stderr(Stdio::null());
    command.stdout(std::fs::File::create(&out).expect("the folder is ours"));
    let mut running = Ended(command.spawn().expect("the program starts"));
    let late = "sleep 2; cp out before; exec timeout 60 cat pipe";
    let read = Command::new("sh").args(["-c", late]).current_dir(home.path()).output().expect("there is a `sh`");
    assert!(is_page(&String::from_utf8_lossy(&read.stdout)), "{}", text(&out));
    assert_eq!(running.0.wait().expect("it was started").code(), Some(0), "{}", text(&out));
    assert_eq!(text(&home.path().join("before")), "", "the run did not wait for its report's reader");
}

#[test]
fn a_run_that_ends_abruptly_leaves_no_file() {
    let home = folder(BLUE);
    let mut command = Command::new(program());
    command.current_dir(home.path()).args(CREATE.split(' ')).args(["report.html", "--pace", "real"]);
    let mut running = Ended(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts"));
    let mut lines = BufReader::new(running.0.stdout.take().expect("it is piped")).lines();
    // The last line before the plan is asked for: its file was seen to by then.
    assert!(lines.any(|line| line.expect("text").contains("the shortest possible")), "it ended early");
    assert!(running.0.try_wait().expect("it was started").is_none(), "a create takes longer in real time");
    drop(running);
    assert_eq!(names(home.path()), ["castle.yaml"]);
}

/// Through a link of its own folder: a program that replaced it would harm nothing else.
#[test]
fn standard_output_may_be_named_by_a_link_that_leads_to_it() {
    let home = folder(BLUE);
    let link = home.path().join("out");
    symlink("/proc/self/fd/1", &link).expect("the folder is ours");
    let told = run(home.path(), &format!("{CREATE} out")).exits(0);
    assert!(link.is_symlink(), "{told}");
    let (_, page) = told.out.split_once("<!doctype html>").unwrap_or_else(|| panic!("no page\n{told}"));
    assert!(page.trim_end().ends_with("</html>"), "{told}");
}

#[test]
fn a_symbolic_link_stays_and_what_it_names_is_replaced() {
    let home = folder(BLUE);
    let kept = tempfile::tempdir().expect("a folder");
    for (link, target, former) in [("far", "page.html", Some("old")), ("dangling", "new.html", None)] {
        let target = kept.path().join(target);
        if let Some(former) = former {
            std::fs::write(&target, former).expect("the folder is ours");
            std::fs::set_permissions(&target, PermissionsExt::from_mode(0o640)).expect("it is ours");
        }
        symlink(&target, home.path().join(link)).expect("the folder is ours");
        run(home.path(), &format!("{CREATE} {link}")).exits(0);
        assert!(home.path().join(link).is_symlink(), "{link} is replaced");
        assert!(is_page(&text(&target)), "{link}");
        if former.is_some() {
            let mode = std::fs::metadata(&target).expect("it is there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o640, "who may read it is not changed");
        }
    }
    assert_eq!(names(kept.path()), ["new.html", "page.html"]);
    // A link to itself leads nowhere, and is told before the run.
    symlink("circle", home.path().join("circle")).expect("the folder is ours");
    let told = run(home.path(), &format!("{CREATE} circle")).exits(64);
    assert!(told.err.contains("the report cannot be written to circle"), "{told}");
}

#[test]
fn a_link_that_lies_in_wait_beside_the_report_is_not_followed() {
    let home = folder(BLUE);
    write(home.path(), "victim", "precious");
    symlink("victim", home.path().join(".report.html.part")).expect("the folder is ours");
    run(home.path(), &format!("{CREATE} report.html")).exits(0);
    assert_eq!(text(&home.path().join("victim")), "precious");
    assert!(is_page(&text(&home.path().join("report.html"))));
    assert_eq!(names(home.path()), [".report.html.part", "castle.yaml", "report.html", "victim"]);
}

#[test]
fn a_folder_is_refused_in_words_also_behind_a_link() {
    let home = folder(BLUE);
    std::fs::create_dir(home.path().join("pages")).expect("the folder is ours");
    symlink("pages", home.path().join("link")).expect("the folder is ours");
    for file in ["pages", "pages/", "link"] {
        let told = run(home.path(), &format!("{CREATE} {file}")).exits(64);
        assert!(told.err.contains("it is a folder"), "{told}");
        assert!(!told.out.contains("timeline"), "nothing ran\n{told}");
    }
}

#[test]
fn a_place_that_is_not_there_is_refused_by_the_name_that_was_typed() {
    let home = folder(BLUE);
    symlink("newdir/", home.path().join("link")).expect("the folder is ours");
    for (file, why) in [
        ("newdir/", "it names a folder, and there is none"),
        ("newdir/.", "it names a folder, and there is none"),
        ("link", "it names a folder, and there is none"),
        ("nowhere/report.html", "its folder does not exist"),
    ] {
        let told = run(home.path(), &format!("{CREATE} {file}")).exits(64);
        assert!(told.err.contains(&format!("cannot be written to {file}: {why}")), "{told}");
        assert!(!told.err.contains(".castle-report-") && told.out.is_empty(), "nothing ran\n{told}");
    }
    assert_eq!(names(home.path()), ["castle.yaml", "link"]);
}
