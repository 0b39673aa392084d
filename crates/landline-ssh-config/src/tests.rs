use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::{system::System, *};

fn variable(name: &str) -> Option<OsString> {
    (name == "KEYS").then(|| "/keys".into())
}

fn query(host: &str) -> Query<'_> {
    Query {
        host,
        user: None,
        local_user: "me",
        home: Path::new("/home/me"),
        variable: &variable,
    }
}

fn config(text: &str, host: &str) -> HostConfig {
    parse(text.as_bytes(), &query(host)).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn user(text: &str, host: &str) -> Option<String> {
    config(text, host).user
}

/// The error of a text: whether ssh reads it, and the line.
fn error(text: &[u8]) -> (bool, usize) {
    match parse(text, &query("h")) {
        Err(Error::Malformed { line, .. }) => (false, line),
        Err(Error::Unsupported { line, .. }) => (true, line),
        other => panic!("{}: {other:?}", text.escape_ascii()),
    }
}

fn hop(user: Option<&str>, host: &str, port: Option<u16>) -> Hop {
    Hop {
        user: user.map(str::to_owned),
        host: host.into(),
        port,
    }
}

#[test]
fn first_value_wins_and_identity_files_add_up() {
    let text = "
        # a comment
        HostName = first.example   # and another
        Host *.example !bad.example
            User  bob
            IdentityFile \"~/.ssh/my key\"
            IdentityFile ~/.ssh/%h_%r
        Host web.example
            user carol
            IdentityFile /keys/%u%%
            IdentityFile ${KEYS}/one
            IdentityFile none
            Port 2222
        Host *
            hostname second.example
            IdentitiesOnly yes
            ProxyJump jump@gate:2200,[::1],ssh://x@y
    ";
    let web = config(text, "web.example");
    assert_eq!(web.host_name.as_deref(), Some("first.example"));
    assert_eq!(web.user.as_deref(), Some("bob"));
    let files = [
        "/home/me/.ssh/my key",
        "/home/me/.ssh/first.example_bob",
        "/keys/me%",
        "/keys/one",
    ];
    assert_eq!(web.identity_files, Some(files.map(PathBuf::from).into()));
    assert!(web.identities_only);
    let hops = vec![
        hop(Some("jump"), "gate", Some(2200)),
        hop(None, "::1", None),
        hop(Some("x"), "y", None),
    ];
    assert_eq!(web.proxy_jump, Some(ProxyJump { hops }));
    assert_eq!(user(text, "bad.example"), None);
    assert_eq!(user(text, "elsewhere"), None);
    let none = config("IdentityFile none", "h");
    assert_eq!(none.identity_files, Some(Vec::new()), "no usual files");
}

#[test]
fn host_name_is_replaced_and_normalized() {
    let host_name = |text: &str, host: &str| config(text, host).host_name;
    assert_eq!(
        host_name("HostName %h.LAN", "web").as_deref(),
        Some("web.lan")
    );
    assert_eq!(
        host_name("HostName 127.1", "web").as_deref(),
        Some("127.0.0.1")
    );
    assert_eq!(host_name("HostName 0::1", "web").as_deref(), Some("::1"));
    assert_eq!(host_name("User x", "web"), None);
}

/// Only `Match host` and `Match originalhost` ignore letter case.
#[test]
fn letter_case_matters_as_in_ssh() {
    assert_eq!(user("Host WEB\nUser x", "web"), None);
    assert_eq!(user("Match host WEB\nUser x", "web").as_deref(), Some("x"));
    assert_eq!(user("Match localuser ME\nUser x", "h"), None);
    assert_eq!(
        user("User bob\nMatch user BOB\nTag x", "h").as_deref(),
        Some("bob")
    );
    assert_eq!(
        user("MATCH LOCALUSER me\nUSER x", "h").as_deref(),
        Some("x")
    );
}

#[test]
fn match_conditions_are_compared_in_order() {
    let applies = |condition: &str, host: &str| {
        let text =
            format!("HostName real\nUser bob\nTag blue\nMatch {condition}\nIdentitiesOnly yes");
        config(&text, host).identities_only
    };
    for condition in [
        "all",
        "host real",
        "!host h",
        "originalhost h",
        "host=a,real",
        "host \"real\"",
        "user bob localuser me",
        "tagged blue",
        "final",
        "!user carol !localuser other",
        "host real # note",
    ] {
        assert!(applies(condition, "h"), "{condition}");
    }
    for condition in [
        "!all",
        "host h",
        "originalhost real",
        "host real,!re*",
        "user carol",
        "tagged red",
        "!final !canonical final",
        "canonical all",
        // ssh runs no command of a block that cannot apply.
        "host other exec true",
        "host other command x",
    ] {
        assert!(!applies(condition, "h"), "{condition}");
    }
    for condition in ["exec true", "command x", "host 'real'", "host = real"] {
        let text = format!("HostName real\nMatch {condition}\nUser x");
        assert_eq!(error(text.as_bytes()).1, 2, "{condition}");
    }
    let bob = Query {
        user: Some("bob"),
        ..query("h")
    };
    let found = parse(b"User carol\nMatch user bob\nIdentitiesOnly yes", &bob).unwrap();
    assert!(found.identities_only);
}

#[test]
fn proxy_command_and_jump_exclude_each_other() {
    let none = Some(ProxyJump { hops: Vec::new() });
    let gate = Some(ProxyJump {
        hops: vec![hop(None, "gate", None)],
    });
    for (text, jump, command) in [
        ("ProxyJump none\nProxyJump gate", none.clone(), None),
        ("ProxyCommand none\nProxyJump gate", None, None),
        ("ProxyCommand nc %h\nProxyJump gate", None, Some("nc %h")),
        ("ProxyJump gate\nProxyCommand nc", gate, None),
        ("ProxyJump none\nProxyCommand none", none, None),
    ] {
        let found = config(text, "h");
        assert_eq!(found.proxy_jump, jump, "{text}");
        assert_eq!(
            found.proxy_command.as_deref(),
            command.map(OsStr::new),
            "{text}"
        );
    }
    assert_eq!(error(b"ProxyJump none\nProxyCommand nc"), (true, 2));
}

#[test]
fn identity_agent_accepts_all_notations() {
    let agent = |value: &str| config(&format!("IdentityAgent {value}"), "h").identity_agent;
    let variable = |name: &str| Some(IdentityAgent::Variable(name.into()));
    let socket = |path: &str| Some(IdentityAgent::Socket(path.into()));
    assert_eq!(agent("none"), Some(IdentityAgent::Disabled));
    assert_eq!(agent("SSH_AUTH_SOCK"), variable("SSH_AUTH_SOCK"));
    assert_eq!(agent("$MY_AGENT"), variable("MY_AGENT"));
    assert_eq!(agent("~/%u.sock"), socket("/home/me/me.sock"));
    assert_eq!(agent("${KEYS}/s"), socket("/keys/s"));
    assert_eq!(agent("NONE"), socket("NONE"));
}

/// Proves `ssh-config` in docs/faults.md.
#[test]
fn line_that_ssh_rejects_is_an_error() {
    for (text, line) in [
        ("User", 1),
        ("\nUser a b", 2),
        ("User a\r\nUser b c\r\n", 2),
        ("IdentitiesOnly maybe", 1),
        ("HostName %z", 1),
        ("Host h\n\nProxyJump @x", 3),
        ("ProxyJump a:0", 1),
        ("ProxyJump a,,b", 1),
        ("User a\nHost \"other\nUser b", 2),
        ("Host \"\"", 1),
        ("Hots web\nUser x", 1),
        ("Match planet earth", 1),
        ("Match", 1),
        ("Match host", 1),
        ("IdentityFile ${UNSET}/key", 1),
        ("IdentityFile ~no-such-user/key", 1),
        ("Compression perhaps", 1),
        ("BatchMode perhaps", 1),
        ("ServerAliveCountMax perhaps", 1),
        ("\u{feff}Host other\nUser x", 1),
        // Also where the block does not apply.
        ("Host other\nUser", 2),
    ] {
        assert_eq!(error(text.as_bytes()), (false, line), "{text}");
    }
    for (text, line) in [
        ("HostName -oProxyCommand=x", 1),
        ("IdentityFile /k/%C", 1),
        ("User a\nU\"ser b", 2),
        ("User a\0b", 1),
        ("Include ${KEYS}/x", 1),
        ("User %u", 1),
        ("ProxyJump -x", 1),
        ("ProxyJump a b", 1),
        ("ProxyJump none # direct", 1),
        ("CanonicalizeHostname yes\nCanonicalDomains example.org", 1),
    ] {
        assert_eq!(error(text.as_bytes()), (true, line), "{text}");
    }
    assert_eq!(error(b"User \xff"), (true, 1));
    assert_eq!(
        user("IgnoreUnknown Hots\nHots web\nUser x", "h").as_deref(),
        Some("x")
    );
}

struct Texts(BTreeMap<&'static str, &'static str>);

impl System for Texts {
    fn text(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let text = self.0.get(path.to_str().unwrap());
        Ok(text.map(|text| text.as_bytes().to_vec()))
    }

    fn names(&self, folder: &Path) -> Vec<OsString> {
        let below = |path: &&str| {
            let rest = Path::new(path).strip_prefix(folder).ok()?;
            rest.iter().next().map(OsStr::to_owned)
        };
        self.0.keys().filter_map(below).collect()
    }

    fn run(&self, _: &OsStr, command: &OsStr) -> io::Result<bool> {
        Ok(command == "true")
    }

    fn home_of(&self, user: &[u8]) -> Option<Vec<u8>> {
        (user == b"ann").then(|| b"/home/ann".to_vec())
    }

    fn host_name(&self) -> Option<Vec<u8>> {
        None
    }

    fn port_of(&self, _: &str) -> Option<u16> {
        None
    }
}

fn included(files: &[(&'static str, &'static str)], host: &str) -> Result<HostConfig, Error> {
    let files = Texts(files.iter().copied().collect());
    let config = ConfigFile::User("/home/me/.ssh/config".into());
    evaluation::read(&[config], &query(host), &files)
}

#[test]
fn included_files_apply_where_they_are_included() {
    let files = [
        (
            "/home/me/.ssh/config",
            "Include d/[a-c].conf ~/more none ~ann/x ~missing/x\n\
             Host other\nInclude never\nHost h\nUser last",
        ),
        ("/home/me/.ssh/d/b.conf", "Host h\nUser second"),
        (
            "/home/me/.ssh/d/a.conf",
            "Host h\nIdentitiesOnly yes\nHost x\nUser x",
        ),
        ("/home/me/.ssh/d/.hidden.conf", "User hidden"),
        ("/home/me/.ssh/d/d.conf", "User other"),
        ("/home/me/more", "User third"),
        ("/home/ann/x", "IdentityFile /ann"),
        ("/home/me/.ssh/never", "Match all\nHostName never"),
    ];
    let found = included(&files, "h").unwrap();
    assert_eq!(found.user.as_deref(), Some("second"));
    assert!(found.identities_only);
    assert_eq!(found.host_name, None);
    assert_eq!(found.identity_files, Some(vec!["/ann".into()]));
    let other = included(&files, "other").unwrap();
    assert_eq!(other.host_name.as_deref(), Some("never"));
    let error = included(&[("/home/me/.ssh/config", "Include config")], "h").unwrap_err();
    assert!(matches!(error, Error::TooManyIncludes { .. }), "{error}");
}

#[test]
fn match_exec_runs_its_command() {
    let user = |text| {
        included(&[("/home/me/.ssh/config", text)], "h")
            .unwrap()
            .user
    };
    assert_eq!(user("Match exec true\nUser x").as_deref(), Some("x"));
    assert_eq!(user("Match exec false\nUser x"), None);
    assert_eq!(user("Match !exec false\nUser x").as_deref(), Some("x"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_rejected(
        text in "([A-Za-z]{0,14}[ =\t]{0,2}[-~%$!*?#\"'\\\\A-Za-z0-9,./@:\\[\\]]{0,24}\n?){0,12}",
        host in "[a-z.]{1,8}",
    ) {
        if let Ok(found) = parse(text.as_bytes(), &query(&host)) {
            let is_name = |name: &str| !name.is_empty() && !name.starts_with('-');
            prop_assert!(found.host_name.as_deref().is_none_or(is_name));
            let hops = found.proxy_jump.map(|jump| jump.hops).unwrap_or_default();
            prop_assert!(hops.iter().all(|hop| is_name(&hop.host)));
        }
    }

    #[test]
    fn pattern_matches_its_own_expansion(text in "[a-z.?*-]{0,12}", more in "[a-z.]{0,6}") {
        let expanded = text.replace('*', &more).replace('?', "x");
        prop_assert!(pattern::matches(text.as_bytes(), expanded.as_bytes()));
        prop_assert!(pattern::matches(b"*", text.as_bytes()));
        prop_assert!(!pattern::list_matches(b"*,!*", text.as_bytes()));
    }
}
