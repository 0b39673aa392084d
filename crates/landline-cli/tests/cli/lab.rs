//! The lab: its text, its pictures, and usage errors.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::stage;

/// Runs an experiment in both languages, and checks its text and its picture.
fn prints_and_draws(experiment: &str, english: &str, chinese: &str) {
    let stage = stage();
    let out = stage
        .run(&["lab", experiment, "--lang", "en", "--svg", "picture.svg"])
        .ok();
    assert!(out.contains(english) && !out.contains(chinese), "{out}");
    let picture = String::from_utf8(stage.read("user/picture.svg")).unwrap();
    let parsed = roxmltree::Document::parse(&picture).unwrap();
    let root = parsed.root_element();
    assert_eq!(root.tag_name().name(), "svg");
    let texts: Vec<&str> = parsed
        .descendants()
        .filter_map(|node| node.text())
        .collect();
    assert!(texts.iter().any(|text| text.contains(english)), "{picture}");
    let refers = parsed
        .descendants()
        .flat_map(|node| node.attributes())
        .find(|attribute| attribute.name().contains("href"));
    assert_eq!(refers, None, "a picture refers to no other file");
    assert!(
        !picture.contains("url("),
        "a picture refers to no other file"
    );

    let mut command = stage.command(&["lab", experiment, "--svg", "."]);
    let output = command
        .env("LC_ALL", "")
        .env("LANG", "zh_CN.UTF-8")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains(chinese) && !out.contains(english), "{out}");
    let picture =
        String::from_utf8(stage.read(&format!("user/landline-{experiment}.svg"))).unwrap();
    let parsed = roxmltree::Document::parse(&picture).unwrap();
    assert!(
        parsed
            .descendants()
            .filter_map(|node| node.text())
            .any(|text| text.contains(chinese)),
        "{picture}"
    );
    assert_eq!(
        fs::read_dir(stage.path("user")).unwrap().count(),
        2,
        "another file was written"
    );
}

#[test]
fn sticky_prints_and_draws() {
    prints_and_draws("sticky", "Sticky packets", "粘包");
}

#[test]
fn sticky_sends_own_messages() {
    let stage = stage();
    let out = stage
        .run(&["lab", "sticky", "--lang", "en", "hello", "world"])
        .ok();
    assert!(out.contains("[helloworld]"), "{out}");
    let many = ["x"; 13];
    stage
        .run(&[&["--json", "lab", "sticky"], &many[..]].concat())
        .fails(2, "usage");
    stage
        .run(&["--json", "lab", "sticky", ""])
        .fails(2, "usage");
}

/// The limit per address once refused connections of children that were not reaped yet.
#[test]
fn models_measures_all_four() {
    let stage = stage();
    let out = stage.run(&["lab", "models", "--lang", "en"]).ok();
    for model in ["inline", "threads", "processes", "tasks"] {
        let rows = out.lines().filter(|line| line.starts_with(model)).count();
        assert!(rows >= 4, "{model}: {out}");
    }
}

#[test]
fn lifecycle_stops_at_each_step() {
    let stage = stage();
    let outcome = stage.run(&["lab", "lifecycle", "--lang", "en", "--step"]);
    for state in ["LISTEN", "SYN_SENT", "ESTABLISHED", "TIME_WAIT"] {
        assert!(outcome.stderr.contains(state), "{}", outcome.stderr);
    }
    assert!(outcome.stderr.contains("ss -tan"), "{}", outcome.stderr);
    outcome.ok();
}

#[test]
fn models_prints_and_draws() {
    prints_and_draws(
        "models",
        "Four models, the same load",
        "四种模型，同样的负载",
    );
}

/// A killed experiment leaves no server running.
#[cfg(target_os = "linux")]
#[test]
fn killed_experiment_ends_its_server() {
    let stage = stage();
    let mut child = stage.command(&["lab", "models"]).spawn().unwrap();
    // The arguments tell the server from a process that has not yet executed it.
    let servers = |parent: u32| -> Vec<String> {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
            .unwrap_or_default();
        let is_server = |id: &String| {
            fs::read(format!("/proc/{id}/cmdline"))
                .is_ok_and(|line| line.windows(10).any(|part| part == b"lab-model-"))
        };
        children
            .split_whitespace()
            .map(str::to_owned)
            .filter(is_server)
            .collect()
    };
    let mut server = Vec::new();
    testkit::wait_for("a server", || {
        server = servers(child.id());
        !server.is_empty()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    testkit::wait_for("the server to end", || {
        let states = server
            .iter()
            .filter_map(|id| fs::read_to_string(format!("/proc/{id}/stat")).ok());
        // State Z is a process that has ended and is not yet reaped.
        states.filter(|stat| !stat.contains(") Z ")).count() == 0
    });
}

#[test]
fn lifecycle_prints_and_draws() {
    prints_and_draws(
        "lifecycle",
        "The life of a TCP connection",
        "一条 TCP 连接的一生",
    );
}

#[test]
fn unwritable_picture_fails_before_measuring() {
    let stage = stage();
    for (path, status, code) in [
        ("no/such/folder.svg", 20, "not-found"),
        ("/dev/null", 21, "not-a-file"),
    ] {
        let outcome = stage.run(&["--json", "lab", "lifecycle", "--svg", path]);
        assert!(outcome.stdout.is_empty());
        outcome.fails(status, code);
    }
    fs::create_dir(stage.path("user/closed")).unwrap();
    fs::set_permissions(stage.path("user/closed"), fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write to any folder.
    if !rustix::process::geteuid().is_root() {
        stage
            .run(&["--json", "lab", "sticky", "--svg", "closed/picture.svg"])
            .fails(23, "denied");
    }
}

/// A student can paste the lines in Python, and they hold.
#[test]
fn python_of_lessons_runs() {
    let lessons = include_str!("../../../../docs/lessons.md");
    let programs: Vec<&str> = lessons
        .split("```python\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(programs.len() >= 8);
    for program in programs {
        let output = std::process::Command::new("python3")
            .args(["-I", "-c", program])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}\n{errors}");
    }
}

#[test]
fn unknown_language_or_experiment_is_a_usage_error() {
    let stage = stage();
    stage
        .run(&["--json", "lab", "sticky", "--lang", "tlh"])
        .fails(2, "usage");
    stage.run(&["--json", "lab", "telepathy"]).fails(2, "usage");
    stage.run(&["--json", "lab"]).fails(2, "usage");
}
