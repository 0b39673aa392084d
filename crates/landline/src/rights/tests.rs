use proptest::prelude::*;
use testkit::Stage;

use super::*;
use crate::paths::Root;

const EXAMPLE: &str = r#"# first line
[users.alice]
files = ["rw:~", "r:/srv",
         "rw:/srv/in"]
exec = [
  ["git", "..."],
  ["systemctl", "status", "app-*"],
]
chat = true
role = "helper"

[users.alice.quota]
bytes = "10 GiB"
files = 1000
sessions = 4
rate = "50 MiB/s"

[users."bob.b"]
exec = "any"
"#;

fn parse(text: &str) -> Result<Rights, RightsError> {
    let words = WORDS_WITHOUT_SERVICE.into_iter().chain([&EXEC, &SHELL]);
    Rights::parse(text, &RightWords::new(words).unwrap())
}

fn word(name: &str, arguments: Vec<Vec<u8>>) -> Action {
    Action::Word {
        name: name.to_owned(),
        arguments,
    }
}

fn exec(command: &str) -> Action {
    word("exec", words(command))
}

fn user(name: &str) -> landline_proto::login::UserName {
    name.parse().unwrap()
}

fn words(text: &str) -> Vec<Vec<u8>> {
    text.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

#[test]
fn described_rights_parse_as_rights() {
    let rights = parse(EXAMPLE).unwrap();
    let describe = |rights: &Rights, name: &str| rights.of(&user(name)).unwrap().describe();
    let alice = describe(&rights, "alice");
    assert_eq!(
        alice,
        [
            r#"role = "helper""#,
            r#"files = ["rw:~", "r:/srv", "rw:/srv/in"]"#,
            "chat = true",
            r#"exec = [["git", "..."], ["systemctl", "status", "app-*"]]"#,
            r#"quota.bytes = "10 GiB""#,
            "quota.files = 1000",
            "quota.sessions = 4",
            r#"quota.rate = "50 MiB/s""#,
        ]
    );
    assert_eq!(describe(&rights, "bob.b"), [r#"exec = "any""#]);
    let again = parse(&format!("[users.alice]\n{}\n", alice.join("\n"))).unwrap();
    assert_eq!(describe(&again, "alice"), alice);
    // The description of a long list fits into a message.
    let many = format!(
        "[users.alice]\nexec = [{}]\n",
        "[\"prög\", \"...\"],".repeat(10_000)
    );
    let [long] = &describe(&parse(&many).unwrap(), "alice")[..] else {
        panic!("one right")
    };
    assert!(
        long.ends_with(" ...") && long.len() < 1100,
        "{} bytes",
        long.len()
    );
}

#[test]
fn every_rule_knows_its_line() {
    let rights = parse(EXAMPLE).unwrap();
    let alice = rights.of(&user("alice")).unwrap();
    assert_eq!(alice.line, 2);
    assert_eq!(
        alice
            .files
            .iter()
            .map(|grant| grant.line)
            .collect::<Vec<_>>(),
        [3, 3, 4]
    );
    assert_eq!(
        alice
            .files
            .iter()
            .map(|grant| grant.is_writable)
            .collect::<Vec<_>>(),
        [true, false, true]
    );
    assert_eq!(alice.quota.bytes, Some(10 << 30));
    assert_eq!(alice.quota.rate, Some(50 << 20));
    assert_eq!(
        (alice.quota.files, alice.quota.sessions),
        (Some(1000), Some(4))
    );
    assert_eq!(rights.quota(&user("bob.b")), Quota::default());

    let stage = Stage::new("unused");
    let root = Root::open(&stage.home(), &stage.path("server")).unwrap();
    let ask = |name: &str, action: Action| {
        let verdict = rights.check(&user(name), &action, &root);
        (verdict.allowed, verdict.line)
    };
    assert_eq!(ask("alice", exec("git push --force")), (true, Some(6)));
    assert_eq!(ask("alice", exec("git")), (true, Some(6)));
    assert_eq!(
        ask("alice", exec("systemctl status app-web")),
        (true, Some(7))
    );
    assert_eq!(
        ask("alice", exec("systemctl status app-web sshd")),
        (false, Some(5))
    );
    assert_eq!(ask("alice", exec("rm -rf /")), (false, Some(5)));
    assert_eq!(ask("alice", word("chat", Vec::new())), (true, Some(9)));
    assert_eq!(ask("alice", Action::Role(Role::Helper)), (true, Some(10)));
    assert_eq!(ask("alice", Action::Role(Role::Admin)), (false, Some(10)));
    assert_eq!(ask("bob.b", Action::Role(Role::Helper)), (false, Some(18)));
    assert_eq!(
        ask("alice", Action::Write(b"x/y".to_vec())),
        (true, Some(3))
    );
    assert_eq!(ask("bob.b", exec("rm -rf /")), (true, Some(19)));
    assert_eq!(ask("bob.b", word("chat", Vec::new())), (false, Some(18)));
    assert_eq!(ask("bob.b", Action::Read(b"x".to_vec())), (false, Some(18)));
    assert_eq!(ask("carol", word("chat", Vec::new())), (false, None));
}

/// Texts, with the line, column and message of their error.
const MISTAKES: &[(&str, usize, usize, &str)] = &[
    ("[users.alice", 1, 13, "unclosed"),
    (
        "[users.a]\nchat = yes",
        2,
        8,
        "string values must be quoted",
    ),
    ("[groups.a]", 1, 2, "accepted: users"),
    ("users = 1", 1, 9, "[users.alice]"),
    (
        "[users.alice]\nfile = []",
        2,
        1,
        "accepted: role, home, files, quota, chat, exec, shell",
    ),
    ("[users.alice]\n  chat = 1", 2, 10, "true or false"),
    ("[users.\"a b\"]\n", 1, 8, "a user name is"),
    ("[users]\na = 3", 2, 5, "write a table"),
    ("[users.a]\nchat = true\nchat = true", 3, 1, "duplicate"),
    ("[users.a]\nexec = \"all\"", 2, 8, "write \"any\""),
    ("[users.a]\nexec = [\"git\"]", 2, 9, "list of words"),
    ("[users.a]\nexec = [[\"git\", 1]]", 2, 17, "list of words"),
    ("[users.a]\nexec = [[]]", 2, 9, "begins with a program"),
    (
        "[users.a]\nexec = [[\"...\"]]",
        2,
        10,
        "begins with a program",
    ),
    ("[users.a]\nexec = [[\"\"]]", 2, 10, "not empty"),
    (
        "[users.a]\nexec = [[\"a\", \"...\", \"b\"]]",
        2,
        15,
        "only be the last",
    ),
    ("[users.a]\nexec = [['a\\']]", 2, 10, "ends in \\"),
    ("[users.a]\nrole = \"root\"", 2, 8, "write \"owner\""),
    ("[users.a]\nrole = true", 2, 8, "write \"owner\""),
    ("[users.a]\nadmin = true", 2, 1, "accepted: role, home"),
    ("[users.a]\nhome = \"srv\"", 2, 8, "begins with /"),
    ("[users.a]\nhome = \"/srv/..\"", 2, 8, "\"..\""),
    ("[users.a]\nhome = [\"/srv\"]", 2, 8, "begins with /"),
    (
        "[users.alice]\n\n[users.Alice]\nrole = \"owner\"",
        3,
        8,
        "is already on line 1",
    ),
    (
        "[users.a]\nfiles = [\"rw:~/x\",\n\"r:/srv/x\"]\nhome = \"/srv\"",
        3,
        1,
        "is on line 2",
    ),
    ("[users.a]\nfiles = \"rw:~\"", 2, 9, "list of folders"),
    (
        "[users.a]\nfiles = [\"r:~\", \"w:~/x\"]",
        2,
        17,
        "write r:FOLDER (read)",
    ),
    ("[users.a]\nfiles = [\"rw:srv\"]", 2, 10, "begins with /"),
    ("[users.a]\nfiles = [\"rw:~bob\"]", 2, 10, "begins with /"),
    ("[users.a]\nfiles = [\"rw:/srv/../etc\"]", 2, 10, "\"..\""),
    (
        "[users.a]\nfiles = [\"rw:/srv\",\n\"r:/srv/\"]",
        3,
        1,
        "is on line 2",
    ),
    ("[users.a.quota]\nbytes = \"10 gigs\"", 2, 9, "10 GiB"),
    ("[users.a.quota]\nbytes = -1", 2, 9, "whole number"),
    (
        "[users.a.quota]\nbytes = \"99999999999 TiB\"",
        2,
        9,
        "10 GiB",
    ),
    ("[users.a.quota]\nrate = \"50 MiB\"", 2, 8, "50 MiB/s"),
    (
        "[users.a.quota]\nrate = \"1 KiB/s\"",
        2,
        8,
        "16 KiB/s or more",
    ),
    ("[users.a.quota]\nfiles = \"many\"", 2, 9, "whole number"),
    (
        "[users.a.quota]\nsession = 1",
        2,
        1,
        "accepted: bytes, files, sessions, rate",
    ),
    ("ä = 1", 1, 1, ""),
];

#[test]
fn mistake_is_reported_at_its_place() {
    for &(text, line, column, said) in MISTAKES {
        let error = parse(text).expect_err(text);
        assert!(error.problem.contains(said), "{text:?}: {error}");
        assert_eq!(
            (error.line, error.column),
            (line, column),
            "{text:?}: {error}"
        );
    }
    assert_eq!(
        parse(""),
        Ok(Rights::default()),
        "an empty file gives no rights"
    );
}

/// What the matcher does, without being clever.
fn fits_word(pattern: &[u8], word: &[u8]) -> bool {
    let is_option_for_name = pattern.starts_with(b"*") && word.starts_with(b"-");
    !is_option_for_name && fits(pattern, word)
}

fn fits(pattern: &[u8], word: &[u8]) -> bool {
    match pattern {
        [] => word.is_empty(),
        [b'*', rest @ ..] => (0..=word.len()).any(|taken| fits(rest, &word[taken..])),
        [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
            word.first() == Some(byte) && fits(rest, &word[1..])
        }
    }
}

/// What stands for the name of a file must not become an option of the program.
#[test]
fn leading_star_matches_no_option() {
    let pattern = Pattern::new(&["tar", "cf", "*", "--exclude=*", "-*"], 1).unwrap();
    assert!(pattern.matches(&["tar", "cf", "a-b", "--exclude=-x", "-z"]));
    assert!(pattern.matches(&["tar", "cf", "", "--exclude=", "--"]));
    assert!(!pattern.matches(&["tar", "cf", "-a", "--exclude=x", "-z"]));
    assert!(!pattern.matches(&["tar", "cf", "--to-command=x", "--exclude=x", "-z"]));
}

/// Proves `name-case` in docs/faults.md.
#[test]
fn rights_ignore_case_of_user_names() {
    let rights = parse("[users.Alice]\nrole = \"owner\"\n").unwrap();
    assert_eq!(rights.role(&user("alice")), Role::Owner);
    assert_eq!(rights.role(&user("ALICE")), Role::Owner);
    assert_eq!(rights.role(&user("alic")), Role::User);
}

#[test]
fn words_come_from_services() {
    static SHOUT: RightWord = RightWord {
        name: "shout",
        description: "shout here",
        arguments: None,
        parse: |item| Switch::parse("shout", item),
    };
    let text = "[users.a]\nshout = true\n[users.b]\nshout = false\n";
    let unknown = parse(text).unwrap_err();
    assert_eq!((unknown.line, unknown.column), (2, 1));
    let rights = Rights::parse(text, &RightWords::new([&SHOUT]).unwrap()).unwrap();
    let right = Right::Word("shout");
    assert!(rights.has(&user("a"), right));
    assert!(!rights.has(&user("b"), right) && !rights.has(&user("c"), right));
    assert!(rights.admit(&user("a"), Some(right), "x").is_ok());
    let denied = rights.admit(&user("b"), Some(right), "x").unwrap_err();
    assert_eq!(denied.code_str(), "denied");
    // A new line of a rule is a change, as is another value.
    let moved = Rights::parse("\n[users.a]\nshout = true\n", &rights.words).unwrap();
    let same = Rights::parse(text, &rights.words).unwrap();
    assert!(rights == same && rights != moved);
    assert_eq!(RightWords::new([&SHOUT, &SHOUT]).err(), Some("shout"));
}

#[test]
fn paths_are_relative_to_home() {
    let rights = parse(
        r#"
[users.owner]
role = "owner"
[users.below]
files = ["r:~/pub"]
[users.elsewhere]
files = ["rw:/srv/in", "r:/srv"]
[users.given]
files = ["rw:~", "r:~/x", "r:/etc"]
home = "/srv/given"
[users.given_below]
home = "~/given"
files = ["rw:~"]
[users.nowhere]
chat = true
"#,
    )
    .unwrap();
    let locate = |name: &str, path: &str| {
        let user = user(name);
        let located = rights.locate(&user, path.as_bytes());
        located
            .ok()
            .map(|path| String::from_utf8(path.into_owned()).unwrap())
    };
    for (name, path, place) in [
        ("owner", "~/a", "~/a"),
        ("owner", "a", "a"),
        ("below", "~/a", "~/pub/a"),
        ("elsewhere", "~/a", "/srv/in/a"),
        ("elsewhere", "~", "/srv/in/"),
        ("given", "a/b/", "/srv/given/a/b/"),
        ("given", "./a", "/srv/given/a"),
        ("given", "/etc/a", "/etc/a"),
        ("given", "../a", "../a"),
        ("given", "", ""),
        ("given_below", "~/a", "~/given/a"),
        ("given_below", "~", "~/given/"),
    ] {
        assert_eq!(locate(name, path).as_deref(), Some(place), "{name}: {path}");
    }
    assert_eq!(locate("nowhere", "a"), None);
    assert_eq!(locate("stranger", "~"), None);
    let none = rights.locate(&user("nowhere"), b"a").unwrap_err();
    assert_eq!(none.code_str(), "denied");
    let places = |name: &str| -> Vec<String> {
        let grants = rights.files(&user(name)).iter();
        grants
            .map(|grant| {
                let parts = grant.folder.components().join(&b'/');
                let beginning = if grant.folder.is_absolute() {
                    "/"
                } else {
                    "~/"
                };
                format!("{beginning}{}", String::from_utf8(parts).unwrap())
            })
            .collect()
    };
    assert_eq!(places("given"), ["/srv/given", "/srv/given/x", "/etc"]);
    assert_eq!(places("given_below"), ["~/given"]);
}

/// `tests/rights_work.rs` counts the work.
#[test]
fn many_folders_parse_with_their_lines() {
    let folders = 64_000;
    let list: Vec<String> = (0..folders).map(|n| format!("\"r:/f{n}\",\n")).collect();
    let rights = parse(&format!("[users.a]\nfiles = [{}]\n", list.concat())).unwrap();
    let found = rights.files(&user("a"));
    assert_eq!(found.len(), folders);
    assert_eq!(found[folders - 1].line, folders + 1);
}

proptest! {
    #[test]
    fn any_text_parses_or_fails_with_a_place(text in "\\PC*", tail in "[a-z.\\[\\]\"=, \n*:~/]{0,60}") {
        for text in [text.clone(), tail.clone(), format!("[users.a]\n{tail}"), format!("[users.a]\nexec = [[{tail}]]")] {
            if let Err(error) = parse(&text) {
                prop_assert!(error.line <= text.matches('\n').count() + 1, "{error}");
                prop_assert!(error.column <= text.chars().count() + 1, "{error}");
            }
        }
    }

    #[test]
    fn pattern_matches_like_reference(pattern in "[ab*\\\\-]{0,8}", word in "-?[ab*\\\\-]{0,8}") {
        let Ok(compiled) = Pattern::new(&["x", &pattern], 1) else { return Ok(()) };
        let is_literal = pattern == "...";
        prop_assert!(!is_literal);
        prop_assert_eq!(compiled.matches(&["x", &word]), fits_word(pattern.as_bytes(), word.as_bytes()));
        prop_assert!(!compiled.matches(&["x"]) && !compiled.matches(&["x", &word, ""]), "words do not run together");
    }

    #[test]
    fn further_words_follow_only_named_ones(more in prop::collection::vec("[a-z. *]{0,4}", 0..4)) {
        let open = Pattern::new(&["git", "log", "..."], 1).unwrap();
        let given = |first: &[&str]| first.iter().map(|word| (*word).to_owned()).chain(more.clone()).collect::<Vec<_>>();
        prop_assert!(open.matches(&given(&["git", "log"])));
        prop_assert!(!open.matches(&["git"]) && !open.matches(&given(&["git", "push"])));
        prop_assert!(!open.matches(&given(&["git log"])) && !open.matches(&given(&["/tmp/git", "log"])));
    }
}

#[test]
fn many_stars_take_no_time() {
    let pattern = Pattern::new(&["*a".repeat(500).as_str()], 1).unwrap();
    assert!(!pattern.matches(&["a".repeat(20_000) + "b"]));
    assert!(pattern.matches(&["a".repeat(20_000)]));
}
