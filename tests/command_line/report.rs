//! `--report FILE`: the page that is kept of a run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{BLUE, Served, Told, folder, names, run};

/// Runs a verb with a report.
fn kept(home: &Path, arguments: &str, code: i32) -> (Told, String) {
    let told = run(home, &format!("{arguments} --report report.html")).exits(code);
    let page = std::fs::read_to_string(home.join("report.html")).unwrap_or_else(|error| panic!("{error}\n{told}"));
    assert_eq!(names(home).iter().filter(|name| name.ends_with(".part")).count(), 0, "{told}");
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"), "it is whole");
    (told, page)
}

#[test]
fn every_verb_that_changes_something_leaves_its_page() {
    for verb in ["create", "handover", "rebirth --yes", "destroy --yes"] {
        let home = folder(BLUE);
        let (told, page) = kept(home.path(), &format!("--lab --json {verb}"), 0);
        let report = told.report();
        let goal = report["goal"].as_str().expect("a text");
        assert!(page.contains(&format!("<h1>{goal} of blue: done</h1>")), "{verb}\n{page}");
        assert!(page.contains(&format!("{:.1} s", report["simulated_seconds"].as_f64().expect("a number"))), "{verb}");
        assert_eq!(report["ideal_seconds"].is_f64(), page.contains("shortest possible"), "{verb}");
        let steps = report["steps"].as_array().expect("a list");
        assert_eq!(page.matches("class=\"step").count(), steps.len() + 1, "each step, and their list\n{page}");
        for step in steps {
            assert!(page.contains(step["id"].as_str().expect("a text")), "{verb}: {step}");
        }
        for id in report["critical_path"].as_array().expect("a list") {
            assert!(page.contains(&format!("<code>{}</code>", id.as_str().expect("a text"))), "{verb}: {id}");
        }
        for (name, count) in report["requests"].as_object().expect("an object") {
            let row = format!(
                "<td>{name}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>",
                count["read"], count["write"]
            );
            assert!(page.contains(&row), "{verb}: {row}");
        }
        assert_eq!(page.contains("is asked to go on"), told.out.contains("\"nudged\""), "{verb}: nudges");
    }
}

#[test]
fn a_run_that_failed_leaves_its_reason_and_what_is_left() {
    let home = folder(&BLUE.replace("import: 15m", "import: 2s"));
    let (told, page) = kept(home.path(), "--lab create", 4);
    assert!(told.err.contains("the report is in report.html"), "{told}");
    for words in
        ["create of blue: failed", "deadline_exceeded", "the import of", "Left to do", "node/blue-wk-02/answer"]
    {
        assert!(page.contains(words), "{words}\n{page}");
    }
    let home = folder(&BLUE.replace("vmid: 431", "vmid: 100"));
    let (_, page) = kept(home.path(), "--lab create", 3);
    assert!(page.contains("create of blue: refused") && page.contains("blue-wk-01 (100)"), "{page}");
    assert!(page.contains("class=\"refuses\"") && page.contains("No step ran."), "{page}");
}

#[test]
fn a_place_that_takes_no_report_is_told_before_the_run() {
    let home = folder(BLUE);
    for file in ["nowhere/report.html", "."] {
        let told = run(home.path(), &format!("--lab --json create --report {file}")).exits(64);
        assert!(
            told.report()["error"]["message"].as_str().is_some_and(|text| text.contains("cannot be written")),
            "{told}"
        );
        assert_eq!(told.writes(), 0, "{told}");
    }
    assert_eq!(names(home.path()), ["castle.yaml"]);
}

/// The words of every file below a folder that are long enough to be a secret.
fn long_words(folder: &Path, words: &mut Vec<String>) {
    for name in names(folder) {
        let path: PathBuf = folder.join(name);
        if path.is_dir() {
            long_words(&path, words);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let long = text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/=_-".contains(c)));
            words.extend(long.filter(|word| word.len() >= 24).map(str::to_owned));
        }
    }
}

#[test]
fn no_page_holds_a_secret() {
    let home = folder(BLUE);
    let lab = Served::start(home.path(), "300x");
    let (_, page) = kept(home.path(), "--endpoints lab/lab.yaml create --until api-serving", 0);
    drop(lab);
    let mut words = Vec::new();
    long_words(&home.path().join("lab"), &mut words);
    assert!(words.len() > 50, "the lab keeps its secrets in files: {}", words.len());
    for word in words {
        assert!(!page.contains(&word), "{word}");
    }
}

/// The browser that looks at the page, if there is one.
fn browser() -> Option<&'static str> {
    let known = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    known.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok_and(|told| told.status.success()))
}

fn look(browser: &str, home: &Path, more: &[&str], page: &str) -> String {
    let own = format!("--user-data-dir={}", home.join("browser").display());
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", &own]).args(more);
    let output = command.arg(format!("file://{}", home.join(page).display())).output().expect("it was found above");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A page around the page, which says by its title how wide the other is and wants
/// to be: browsers have no narrow windows of their own.
fn frame(width: u32) -> String {
    format!(
        "<!doctype html><body style='margin:0'><iframe src='report.html' style='width:{width}px;height:900px;border:0' \
         onload=\"const d=this.contentDocument;document.title=[{width},d.documentElement.scrollWidth,\
         d.querySelectorAll('.bar').length,[...d.querySelectorAll('.bar')].every(b=>b.getBoundingClientRect().width>=3),\
         this.contentWindow.getComputedStyle(d.querySelector('.castle-page')).backgroundColor].join('|')\"></iframe>"
    )
}

#[test]
fn a_browser_shows_the_page_in_both_widths_and_themes() {
    let Some(browser) = browser() else {
        println!("skipped: the report in a browser, of which none is installed");
        return;
    };
    let home = folder(BLUE);
    let (told, _) = kept(home.path(), "--lab --json rebirth --yes", 0);
    let steps = told.report()["steps"].as_array().expect("a list").len();
    let mut papers = Vec::new();
    for (theme, scheme) in [("light", "1"), ("dark", "0")] {
        for width in [360, 1400] {
            crate::program::write(home.path(), "frame.html", &frame(width));
            let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
            let seen = look(
                browser,
                home.path(),
                &[&scheme, "--window-size=1500,1000", "--allow-file-access-from-files", "--dump-dom"],
                "frame.html",
            );
            let title = seen.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
            let (title, _) = title.unwrap_or_else(|| panic!("{theme}, {width}: no title\n{seen}"));
            let facts: Vec<&str> = title.split('|').collect();
            assert_eq!(
                facts[..4],
                [&width.to_string(), &width.to_string(), &steps.to_string(), "true"],
                "{theme}: {title}"
            );
            papers.push(facts[4].to_owned());
        }
    }
    assert!(papers[0] == papers[1] && papers[2] == papers[3] && papers[0] != papers[2], "{papers:?}");
}
