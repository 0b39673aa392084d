use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::*;

fn query(host: &str) -> Query<'_> {
    Query {
        host,
        user: None,
        local_user: "me",
        home: Path::new("/home/me"),
    }
}

fn config(text: &str, host: &str) -> HostConfig {
    parse(text, &query(host)).unwrap()
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
            Port 2222
        Host *
            hostname second.example
            IdentitiesOnly yes
            ProxyJump jump@gate:2200,[::1],ssh://x@y/
    ";
    let web = config(text, "web.example");
    assert_eq!(web.host_name.as_deref(), Some("first.example"));
    assert_eq!(web.user.as_deref(), Some("bob"));
    let files = [
        "/home/me/.ssh/my key",
        "/home/me/.ssh/first.example_bob",
        "/keys/me%",
    ]
    .map(PathBuf::from);
    assert_eq!(web.identity_files, files);
    assert!(web.identities_only);
    let hop = |user: Option<&str>, host: &str, port| Hop {
        user: user.map(str::to_owned),
        host: host.into(),
        port,
    };
    let hops = vec![
        hop(Some("jump"), "gate", Some(2200)),
        hop(None, "::1", None),
        hop(Some("x"), "y", None),
    ];
    assert_eq!(web.proxy_jump, Some(ProxyJump { hops }));
    assert_eq!(config(text, "bad.example").user, None);
    assert_eq!(config(text, "elsewhere").user, None);
    assert_eq!(
        config("HostName %h.lan\nHost WEB\nUser x", "web")
            .host_name
            .as_deref(),
        Some("web.lan")
    );
    assert_eq!(config("Host WEB\nUser x", "web").user.as_deref(), Some("x"));
}

#[test]
fn match_block_applies_or_unsupported_one_warns() {
    let user = |text: &str, host: &str| config(text, host).user;
    assert_eq!(user("Match host a,b\nUser x", "b").as_deref(), Some("x"));
    assert_eq!(user("Match host a,!b\nUser x", "b"), None);
    assert_eq!(
        user("HostName real\nMatch host real\nUser x", "alias").as_deref(),
        Some("x")
    );
    assert_eq!(
        user("HostName real\nMatch originalhost real\nUser x", "alias"),
        None
    );
    assert_eq!(
        user("Match localuser me\nUser x", "h").as_deref(),
        Some("x")
    );
    assert_eq!(user("Match !host h\nUser x", "h"), None);
    assert_eq!(user("Match !host h\nUser x", "i").as_deref(), Some("x"));
    assert_eq!(
        user("Host none\nMatch all\nUser x", "h").as_deref(),
        Some("x")
    );
    assert_eq!(user("Match\nUser x", "h"), None);
    let query_of_bob = Query {
        user: Some("bob"),
        ..query("h")
    };
    assert!(
        parse("Match user bob\nIdentitiesOnly yes", &query_of_bob)
            .unwrap()
            .identities_only
    );
    for condition in [
        "exec true",
        "final",
        "canonical all",
        "tagged x",
        "host h exec true",
        "!exec true",
        "host",
    ] {
        let found = config(
            &format!("Match {condition}\nUser x\nMatch host h\nIdentitiesOnly yes"),
            "h",
        );
        assert_eq!(found.user, None, "{condition}");
        assert!(found.identities_only, "{condition}: the next block is read");
        assert_eq!(found.warnings.len(), 1, "{condition}");
        assert!(found.warnings[0].contains("line 1"), "{:?}", found.warnings);
    }
}

#[test]
fn identity_agent_accepts_all_notations() {
    let agent = |value: &str| {
        config(&format!("IdentityAgent {value}"), "h")
            .identity_agent
            .unwrap()
    };
    assert_eq!(agent("none"), IdentityAgent::Disabled);
    assert_eq!(
        agent("SSH_AUTH_SOCK"),
        IdentityAgent::Variable("SSH_AUTH_SOCK".into())
    );
    assert_eq!(
        agent("$MY_AGENT"),
        IdentityAgent::Variable("MY_AGENT".into())
    );
    assert_eq!(
        agent("~/%u.sock"),
        IdentityAgent::Socket("/home/me/me.sock".into())
    );
    // An unsupported value disables the agent, and selects no other.
    assert_eq!(agent("%C.sock"), IdentityAgent::Disabled);
    assert_eq!(agent("relative"), IdentityAgent::Disabled);
}

#[test]
fn malformed_value_is_reported_with_its_line() {
    for (text, line) in [
        ("User", 1),
        ("\nUser a b", 2),
        ("IdentitiesOnly maybe", 1),
        ("HostName -oProxyCommand=x", 1),
        ("HostName %z", 1),
        ("Host h\n\nProxyJump -x", 3),
        ("ProxyJump a:0", 1),
        ("ProxyJump a,,b", 1),
    ] {
        let error = parse(text, &query("h")).unwrap_err();
        assert!(
            matches!(error, Error::Malformed { line: found, .. } if found == line),
            "{text}: {error}"
        );
    }
    // In a block that does not apply it is no error.
    assert_eq!(config("Host other\nUser", "h"), HostConfig::default());
    let found = config(
        "IdentityFile ~other/key\nIdentityFile %C\nIdentityFile none",
        "h",
    );
    assert_eq!((found.identity_files.len(), found.warnings.len()), (0, 2));
    assert_eq!(
        config("ProxyJump none\nProxyJump gate", "h").proxy_jump,
        Some(ProxyJump { hops: Vec::new() })
    );
}

struct Texts(BTreeMap<&'static str, &'static str>);

impl evaluation::FileSource for Texts {
    fn text(&self, path: &Path) -> io::Result<Option<String>> {
        Ok(self
            .0
            .get(path.to_str().unwrap())
            .map(|text| (*text).to_owned()))
    }
    fn names(&self, folder: &Path) -> Vec<String> {
        let below = |path: &&str| {
            Path::new(path)
                .strip_prefix(folder)
                .ok()
                .and_then(first_name)
        };
        self.0.keys().filter_map(below).collect()
    }
}

fn first_name(path: &Path) -> Option<String> {
    path.iter()
        .next()
        .and_then(|name| name.to_str())
        .map(str::to_owned)
}

fn included(files: &[(&'static str, &'static str)], host: &str) -> Result<HostConfig, Error> {
    let files = Texts(files.iter().copied().collect());
    evaluation::read(&[("/c/config".into(), "/c".into())], &query(host), &files)
}

#[test]
fn included_files_apply_where_they_are_included() {
    let files = [
        (
            "/c/config",
            "Include d/*.conf ~/more none\nHost other\nInclude never\nHost h\nUser last",
        ),
        ("/c/d/b.conf", "Host h\nUser second"),
        ("/c/d/a.conf", "Host h\nIdentitiesOnly yes\nHost x\nUser x"),
        ("/c/d/.hidden.conf", "User hidden"),
        ("/c/d/c.other", "User other"),
        ("/home/me/more", "User third"),
        ("/c/never", "Match all\nHostName never"),
    ];
    let found = included(&files, "h").unwrap();
    assert_eq!(
        (
            found.user.as_deref(),
            found.identities_only,
            found.host_name
        ),
        (Some("second"), true, None)
    );
    assert_eq!(
        included(&files, "other").unwrap().host_name.as_deref(),
        Some("never")
    );
    let error = included(&[("/c/config", "Include config")], "h").unwrap_err();
    assert!(matches!(error, Error::TooManyIncludes { .. }), "{error}");
}

proptest! {
    #[test]
    fn any_text_is_read_or_rejected(text in "([A-Za-z]{0,14}[ =\t]{0,2}[-~%$!*?#\"'\\\\A-Za-z0-9,./@:\\[\\]]{0,24}\n?){0,12}", host in "[a-z.]{0,8}") {
        if let Ok(found) = parse(&text, &query(&host)) {
            prop_assert!(found.identity_files.iter().all(|path| path.is_absolute()));
            prop_assert!(found.host_name.is_none_or(|name| !name.starts_with('-') && !name.is_empty()));
            prop_assert!(found.proxy_jump.is_none_or(|jump| jump.hops.iter().all(|hop| !hop.host.starts_with('-'))));
        }
    }

    #[test]
    fn pattern_matches_its_own_expansion(text in "[a-z.?*-]{0,12}", more in "[a-z.]{0,6}") {
        prop_assert!(pattern::matches(&text, &text.replace('*', &more).replace('?', "x")));
        prop_assert!(pattern::matches("*", &text));
        prop_assert!(!pattern::any_matches(["*", "!*"], &text));
    }
}
