//! Rights that users change by request, and the keys of their own accounts.

use std::fs;

use landline::{
    Error,
    admin::{
        Admin, Request,
        messages::{AddKeys, GrantRights, ListKeys, RemoveKey, RevokeRights},
    },
    proto::ErrorCode,
    rights::{GivenWord, Quota, Role},
};

use crate::{State, key, name};

/// A user manages the keys of the own account with a full credential, and no others.
/// Proves `role-escalation` in docs/faults.md.
#[test]
fn own_keys_need_a_full_credential() {
    let accounts = ["bob", "carol"].map(str::to_owned);
    let state = State::new(&accounts, "[users.bob]\n");
    let line = key(&state.stage).line();
    let fingerprint = key(&state.stage).fingerprint();
    let bob = state.admin("bob");
    let limited = Admin {
        may_grant: false,
        ..bob.clone()
    };
    let requests = |user: &str| -> [Request; 3] {
        [
            ListKeys { user: name(user) }.into(),
            AddKeys {
                user: name(user),
                keys: vec![format!("{line} again")],
            }
            .into(),
            RemoveKey {
                keep_jobs: false,
                user: name(user),
                key: fingerprint.clone(),
            }
            .into(),
        ]
    };
    let keys = || {
        state
            .server
            .administration()
            .apply(None, &ListKeys { user: name("bob") }.into())
    };
    let before = format!("{:?}", keys().unwrap());
    for request in requests("bob") {
        let code = state.refusal(&limited, request);
        assert_eq!(code, Some(ErrorCode::CredentialLimited));
    }
    assert_eq!(format!("{:?}", keys().unwrap()), before);
    for request in requests("carol") {
        assert_eq!(state.refusal(&bob, request), Some(ErrorCode::Denied));
    }
    for request in requests("bob") {
        let done = state.server.administration().apply(Some(&bob), &request);
        assert!(done.is_ok(), "{done:?}");
    }
}

fn grant(user: &str, files: &[&str]) -> GrantRights {
    GrantRights {
        user: name(user),
        role: None,
        home: None,
        files: files.iter().map(|rule| (*rule).to_owned()).collect(),
        quota: Quota::default(),
        words: Vec::new(),
    }
}

fn revoke(user: &str, files: &[&str]) -> RevokeRights {
    RevokeRights {
        user: name(user),
        role: false,
        home: false,
        files: files.iter().map(|rule| (*rule).to_owned()).collect(),
        quota: Vec::new(),
        words: Vec::new(),
    }
}

const GRANTED: &str = "
[users.owner]
role = \"owner\"
[users.admin]
role = \"admin\"
files = [\"rw:~/in\", \"r:~/in/old\", \"r:~/out\"]
exec = [[\"git\", \"pull\"]]
forward = [\"db:5432\"]
quota = { bytes = 1000, sessions = 4 }
[users.admin2]
role = \"admin\"
[users.bob]
files = [\"rw:~/own\", \"r:~/own/old\"] # bob's
quota = { bytes = 500 }
";

fn word(word: &str, item: &[&str]) -> GrantRights {
    GrantRights {
        words: vec![GivenWord {
            word: word.to_owned(),
            any: false,
            item: item.iter().map(|word| (*word).to_owned()).collect(),
        }],
        ..grant("bob", &[])
    }
}

fn quota(bytes: u64) -> GrantRights {
    GrantRights {
        quota: Quota {
            bytes: Some(bytes),
            ..Quota::default()
        },
        ..grant("bob", &[])
    }
}

fn role(user: &str, role: Role) -> GrantRights {
    GrantRights {
        role: Some(role),
        ..grant(user, &[])
    }
}

/// Makes the request of a user in a new state, and checks the result and the rights file.
fn check_change(by: &str, request: impl Into<Request>, expected: Option<ErrorCode>) {
    let request = request.into();
    let state = State::new(
        &["owner", "admin", "admin2", "bob"].map(str::to_owned),
        GRANTED,
    );
    for folder in ["in/old", "in/x", "out", "own/old"] {
        fs::create_dir_all(state.stage.home().join(folder)).unwrap();
    }
    let administration = state.server.administration();
    let done = administration.apply(Some(&state.admin(by)), &request);
    let code = match &done {
        Ok(_) => None,
        Err(Error::Failed { code, .. }) => Some(*code),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(code, expected, "{request:?}: {done:?}");
    let text = fs::read_to_string(state.stage.path("server/server/rights.toml")).unwrap();
    assert_eq!(text != GRANTED, expected.is_none(), "{request:?}: {text}");
    assert!(text.contains("# bob's"), "{text}");
}

/// Proves `role-escalation` in docs/faults.md.
#[test]
fn admin_gives_only_rights_that_the_admin_has() {
    let bob = |files: &[&str]| grant("bob", files);
    check_change("admin", bob(&["rw:~/in/x"]), None);
    check_change("admin", bob(&["r:~/out", "r:~/in"]), None);
    check_change("admin", bob(&["r:~/own"]), None);
    check_change("admin", revoke("bob", &["~/own"]), None);
    check_change("admin", role("bob", Role::Helper), None);
    check_change("admin", quota(1000), None);
    check_change("admin", word("exec", &["git", "pull"]), None);
    check_change("admin", word("forward", &["db:5432"]), None);
    let home = GrantRights {
        home: Some("/etc".into()),
        ..bob(&["r:~"])
    };
    let unlimited = RevokeRights {
        quota: vec!["bytes".into()],
        ..revoke("bob", &[])
    };
    let denied: [(&str, Request); 19] = [
        ("admin", bob(&["rw:~/out"]).into()),
        // Below it the admin can only read.
        ("admin", bob(&["rw:~/in"]).into()),
        ("admin", bob(&["rw:~/own/old"]).into()),
        ("admin", revoke("bob", &["~/own/old"]).into()),
        ("admin", bob(&["r:/etc"]).into()),
        ("admin", home.into()),
        ("admin", role("bob", Role::Admin).into()),
        ("admin", role("admin", Role::Owner).into()),
        ("admin", role("admin2", Role::User).into()),
        ("admin", role("owner", Role::User).into()),
        ("admin", grant("admin", &["rw:~"]).into()),
        ("admin", quota(1001).into()),
        ("admin", unlimited.into()),
        ("admin", word("exec", &["git", "push"]).into()),
        ("admin", word("exec", &["git", "pull", "..."]).into()),
        ("admin", word("shell", &[]).into()),
        ("admin", word("forward", &["db:5433"]).into()),
        ("admin", word("listen", &["8080"]).into()),
        ("bob", bob(&["r:~/own"]).into()),
    ];
    for (by, request) in denied {
        check_change(by, request, Some(ErrorCode::Denied));
    }
}

#[test]
fn owner_gives_every_right_and_remains_owner() {
    check_change("owner", grant("bob", &["rw:/etc"]), None);
    check_change("owner", role("bob", Role::Owner), None);
    for (request, code) in [
        (
            Request::from(role("owner", Role::User)),
            ErrorCode::LastOwner,
        ),
        (grant("ghost", &["r:~"]).into(), ErrorCode::NotFound),
        (grant("bob", &["r:~", "x"]).into(), ErrorCode::NameRefused),
        (word("no-word", &["x"]).into(), ErrorCode::NameRefused),
        (word("role", &["x"]).into(), ErrorCode::NameRefused),
        (
            word("forward", &["a:1", "b:2"]).into(),
            ErrorCode::NameRefused,
        ),
        (word("exec", &["..."]).into(), ErrorCode::NameRefused),
        (revoke("bob", &["/etc"]).into(), ErrorCode::NotFound),
    ] {
        check_change("owner", request, Some(code));
    }
}

/// Removing a rule or a limit can extend rights, which a limited credential must not.
#[test]
fn limited_credential_takes_rights_and_gives_none() {
    let accounts = ["owner", "bob"].map(str::to_owned);
    let state = State::new(&accounts, GRANTED);
    fs::create_dir_all(state.stage.home().join("own/old")).unwrap();
    let limited = Admin {
        may_grant: false,
        ..state.admin("owner")
    };
    for request in [
        grant("bob", &["r:~/out"]).into(),
        revoke("bob", &["~/own/old"]).into(),
        RevokeRights {
            quota: vec!["bytes".into()],
            ..revoke("bob", &[])
        }
        .into(),
    ] {
        let code = state.refusal(&limited, request);
        assert_eq!(code, Some(ErrorCode::CredentialLimited));
    }
    let administration = state.server.administration();
    let taken = administration.apply(Some(&limited), &revoke("bob", &["~/own"]).into());
    assert!(taken.is_ok(), "{taken:?}");
}
