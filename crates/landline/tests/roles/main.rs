//! Which role may make which request about which account, with a real store and rights file.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test"
)]

mod granted;

use std::{fs, sync::Arc, time::Duration};

use landline::{
    Error, Server, ServerOptions,
    admin::{
        Admin, Request,
        messages::{
            AddKeys, AddUser, DisableUser, EnableUser, ListKeys, ListUsers, MakeInvite, RemoveKey,
            RemoveUser,
        },
        passwords::{RegisterPassword, RemovePassword, SetPassword},
    },
    admission::PeerNetwork,
    audit::{AuditOptions, Reader},
    keys::{CredentialId, PublicKey, UserKey},
    net::HostPort,
    paths::{PrivateFolder, Root},
    proto::{ErrorCode, login::UserName, messages::Blob},
    rights::{Quota, RightWords, Rights, Role, UserRights},
    server::words,
};
use testkit::Stage;

/// A server with accounts.
struct State {
    stage: Stage,
    server: Server,
    root: Arc<Root>,
}

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

fn key(stage: &Stage) -> PublicKey {
    let folder = PrivateFolder::open_or_create(&stage.path("keys")).unwrap();
    UserKey::load_or_create(&folder, "key").unwrap().0.public()
}

fn add(user: &str, keys: Vec<String>) -> AddUser {
    AddUser {
        words: Vec::new(),
        user: name(user),
        keys,
        password: None,
        role: Role::User,
        home: None,
        files: Vec::new(),
        quota: Quota::default(),
    }
}

impl State {
    /// A state with these accounts, which share one key, and these rights.
    fn new(accounts: &[String], rights: &str) -> Self {
        let stage = Stage::new("unused");
        let options = ServerOptions {
            state: stage.path("server"),
            home: stage.home(),
            connections_max: 8,
            drain_time: Duration::ZERO,
            session_linger: Duration::ZERO,
            exec: None,
            audit: AuditOptions::default(),
        };
        let server = Server::open(&options).unwrap();
        let line = key(&stage).line();
        for account in accounts {
            let request = add(account, vec![line.clone()]);
            server
                .administration()
                .apply(None, &request.into())
                .unwrap();
        }
        drop(server);
        fs::write(stage.path("server/server/rights.toml"), rights).unwrap();
        let server = Server::open(&options).unwrap();
        let address = HostPort {
            host: "127.0.0.1".into(),
            port: 1,
        };
        server.owner_invite(move || vec![address.clone()]).unwrap();
        let root = Root::open(&stage.home(), &stage.path("server")).unwrap();
        Self {
            server,
            root: Arc::new(root),
            stage,
        }
    }

    /// A request sender that has logged in by key.
    fn admin(&self, user: &str) -> Admin {
        Admin {
            user: name(user),
            credential: CredentialId::Key(key(&self.stage).fingerprint()),
            may_grant: true,
            session: "1".into(),
            source: PeerNetwork::of([127, 0, 0, 1].into()),
            root: self.root.clone(),
        }
    }

    /// The code if the rules refuse the request, else `None`. A later failure does not count.
    fn refusal(&self, by: &Admin, request: Request) -> Option<ErrorCode> {
        match self.server.administration().apply(Some(by), &request) {
            Err(Error::Failed {
                code: code @ (ErrorCode::Denied | ErrorCode::CredentialLimited),
                ..
            }) => Some(code),
            _ => None,
        }
    }
}

/// Every request about one account. The first ones change nothing.
fn requests(user: &str, line: &str, fingerprint: &str) -> Vec<Request> {
    let user = name(user);
    let some = || Some(user.clone());
    vec![
        ListUsers { user: some() }.into(),
        ListKeys { user: user.clone() }.into(),
        RegisterPassword {
            user: some(),
            request: Blob(vec![0; 32]),
        }
        .into(),
        SetPassword {
            user: some(),
            record: Blob(vec![1; 8]),
        }
        .into(),
        RemovePassword { user: some() }.into(),
        AddKeys {
            user: user.clone(),
            keys: vec![line.to_owned()],
        }
        .into(),
        MakeInvite {
            user: some(),
            seconds: 60,
        }
        .into(),
        RemoveKey {
            keep_jobs: false,
            user: user.clone(),
            key: fingerprint.to_owned(),
        }
        .into(),
        DisableUser {
            user: user.clone(),
            force: true,
        }
        .into(),
        EnableUser { user: user.clone() }.into(),
        RemoveUser { user, force: true }.into(),
    ]
}

const READS: [&str; 2] = ["list-users", "list-keys"];
const GRANTS: [&str; 5] = [
    "register-password",
    "set-password",
    "add-keys",
    "make-invite",
    "enable-user",
];

/// Every role sends every request about every other role. The store must show the same result.
/// Proves `role-escalation` in docs/faults.md.
#[test]
fn every_role_acts_on_lower_roles_only() {
    let actors = Role::ALL.map(|role| format!("the-{role}"));
    let targets: Vec<(Role, Role, String)> = Role::ALL
        .into_iter()
        .flat_map(|by| Role::ALL.map(|role| (by, role, format!("{role}-for-{by}"))))
        .collect();
    let table = |user: &str, role: Role| format!("[users.{user}]\nrole = \"{role}\"\n");
    let rights: String = Role::ALL
        .into_iter()
        .zip(&actors)
        .map(|(role, user)| table(user, role))
        .chain(targets.iter().map(|(_, role, user)| table(user, *role)))
        .collect();
    let accounts: Vec<String> = actors
        .iter()
        .chain(targets.iter().map(|(_, _, user)| user))
        .cloned()
        .collect();
    let state = State::new(&accounts, &rights);
    let (line, fingerprint) = (key(&state.stage).line(), key(&state.stage).fingerprint());
    for (by, role, user) in &targets {
        let admin = state.admin(&format!("the-{by}"));
        let limited = Admin {
            may_grant: false,
            ..admin.clone()
        };
        for request in requests(user, &line, &fingerprint) {
            let kind = request.kind();
            let is_allowed = match by {
                Role::User | Role::Helper => false,
                Role::Admin => READS.contains(&kind) || *role < Role::Admin,
                Role::Owner => true,
            };
            let cell = format!("{kind} by {by} to {role}");
            if GRANTS.contains(&kind) {
                let code = state.refusal(&limited, request.clone());
                assert!(code.is_some(), "{cell}: allowed with a limited credential");
                let is_limited = code == Some(ErrorCode::CredentialLimited);
                assert_eq!(is_limited, is_allowed, "{cell}: {code:?}");
            }
            let code = state.refusal(&admin, request);
            assert_eq!(code.is_none(), is_allowed, "{cell}: {code:?}");
        }
        let found = state
            .server
            .administration()
            .apply(None, &ListKeys { user: name(user) }.into());
        let is_removed = *by == Role::Owner || *by == Role::Admin && *role < Role::Admin;
        assert_eq!(found.is_err(), is_removed, "{user}");
    }
}

/// A request is in the log before it is executed, also one that then fails. `register-password`
/// changes nothing, but its answer allows one guess at the password.
/// Proves `audit-loss` in docs/faults.md.
#[test]
fn every_request_that_is_more_than_a_list_is_logged() {
    let accounts = ["owner", "bob"].map(str::to_owned);
    let state = State::new(&accounts, "[users.owner]\nrole = \"owner\"\n");
    let (line, fingerprint) = (key(&state.stage).line(), key(&state.stage).fingerprint());
    let owner = state.admin("owner");
    let set_password = SetPassword {
        user: Some(name("bob")),
        record: Blob(vec![1; 192]),
    };
    let requests = requests("bob", &line, &fingerprint).into_iter();
    // Bob has no password that could be removed.
    let requests = requests.filter(|request| request.kind() != "remove-password");
    let requests = requests.chain([set_password.into()]);
    let kinds = requests.map(|request| {
        let done = state.server.administration().apply(Some(&owner), &request);
        (request.kind(), done)
    });
    let kinds: Vec<_> = kinds.collect();
    let reader = Reader::open(&state.stage.path("server")).unwrap().unwrap();
    let mut logged = Vec::new();
    let read = reader.lines(|line, _| {
        let by = line.fields.get("user").and_then(|user| user.as_str());
        let action = line.fields.get("action").and_then(|action| action.as_str());
        if by == Some("owner") {
            logged.extend(action.map(str::to_owned));
        }
        Ok(())
    });
    assert_eq!(read.unwrap(), 0);
    for (kind, done) in kinds {
        let is_logged = logged.iter().any(|action| action == kind);
        assert_eq!(is_logged, !READS.contains(&kind), "{kind}: {done:?}");
    }
}

/// Proves `role-escalation` in docs/faults.md.
#[test]
fn admin_cannot_create_account_above_own() {
    let rights = "
[users.owner]
role = \"owner\"
[users.admin]
role = \"admin\"
files = [\"rw:~/in\", \"r:~/out\"]
quota = { bytes = 1000 }
[users.helper]
role = \"helper\"
files = [\"rw:~\"]
";
    let accounts = ["owner", "admin", "helper"].map(str::to_owned);
    let state = State::new(&accounts, rights);
    for folder in ["home/in", "home/out"] {
        fs::create_dir(state.stage.path(folder)).unwrap();
    }
    let cases: [(&str, Role, &[&str], bool); 15] = [
        ("helper", Role::User, &[], false),
        ("admin", Role::User, &[], true),
        ("admin", Role::Helper, &[], true),
        ("admin", Role::Admin, &[], false),
        ("admin", Role::Owner, &[], false),
        ("admin", Role::User, &["rw:~/in/x"], true),
        ("admin", Role::User, &["rw:~/in", "r:~/out"], true),
        ("admin", Role::User, &["rw:~/out"], false),
        ("admin", Role::User, &["r:~"], false),
        ("admin", Role::User, &["r:/"], false),
        ("admin", Role::User, &["r:/etc"], false),
        ("owner", Role::User, &["r:/etc"], true),
        ("owner", Role::Admin, &["rw:~"], true),
        ("owner", Role::Owner, &["rw:~"], true),
        ("owner", Role::Helper, &[], true),
    ];
    for (index, (by, role, files, is_allowed)) in cases.into_iter().enumerate() {
        let user = format!("new{index}");
        let request = AddUser {
            words: Vec::new(),
            role,
            files: files.iter().map(|folder| (*folder).to_owned()).collect(),
            ..add(&user, Vec::new())
        };
        let code = state.refusal(&state.admin(by), request.into());
        assert_eq!(
            code.is_none(),
            is_allowed,
            "{by}: {role} {files:?}: {code:?}"
        );
        let list = ListKeys { user: name(&user) };
        let found = state.server.administration().apply(None, &list.into());
        assert_eq!(found.is_ok(), is_allowed, "{by}: {role} {files:?}");
    }
    let text = fs::read_to_string(state.stage.path("server/server/rights.toml")).unwrap();
    // A second account does not raise the quota.
    let table = text.split("[users.\"new5\"]").nth(1).unwrap();
    assert!(
        table
            .lines()
            .take(4)
            .any(|line| line.contains("quota.bytes")),
        "{text}"
    );
}

/// An admin cannot make an invite for a name that has more rights already.
/// Proves `role-escalation` in docs/faults.md.
#[test]
fn invite_for_name_with_more_rights_is_denied() {
    let rights = "
[users.admin]
role = \"admin\"
[users.boss]
role = \"owner\"
[users.Reader]
files = [\"r:~\"]
";
    let state = State::new(&["admin".to_owned()], rights);
    let admin = state.admin("admin");
    let invite = |user: Option<&str>| MakeInvite {
        user: user.map(name),
        seconds: 60,
    };
    for user in ["boss", "BOSS", "Reader", "reader"] {
        let code = state.refusal(&admin, invite(Some(user)).into());
        assert_eq!(code, Some(ErrorCode::Denied), "{user}");
    }
    for user in [None, Some("carol"), Some("admin")] {
        assert_eq!(state.refusal(&admin, invite(user).into()), None, "{user:?}");
    }
}

/// A home with folders, and a folder outside that a link leads to.
fn stage_with_folders() -> (Stage, Root) {
    let stage = Stage::new("unused");
    for folder in ["home/a/b", "srv/in", "outside"] {
        fs::create_dir_all(stage.path(folder)).unwrap();
    }
    std::os::unix::fs::symlink("../outside", stage.path("srv/out")).unwrap();
    std::os::unix::fs::symlink(stage.path("home/a"), stage.path("alias")).unwrap();
    let root = Root::open(&stage.home(), &stage.path("server")).unwrap();
    (stage, root)
}

/// Whether an admin with the first rights may create an account with the second ones.
fn may_give(stage: &Stage, root: &Root, own: &str, wanted: &str) -> bool {
    let text = format!("[users.admin]\nrole = \"admin\"\n{own}\n[users.bob]\n{wanted}\n");
    let text = text.replace('@', stage.path("").to_str().unwrap().trim_end_matches('/'));
    let words = words().unwrap();
    let rights = Rights::parse(&text, &words).unwrap_or_else(|error| panic!("{error}: {text}"));
    let wanted = rights.of(&name("bob")).unwrap();
    rights.check_grant(&name("admin"), wanted, root).is_ok()
}

/// The line of a rights file with these folders.
fn files(folders: &str) -> String {
    let folders: Vec<String> = folders
        .split_whitespace()
        .map(|folder| format!("{folder:?}"))
        .collect();
    format!("files = [{}]", folders.join(", "))
}

/// Proves `role-escalation` in docs/faults.md.
#[test]
fn admin_cannot_give_folder_beyond_own() {
    let (stage, root) = stage_with_folders();
    for (own, wanted, is_allowed) in [
        ("", "", true),
        ("", "r:@/srv", false),
        ("rw:@/srv", "rw:@/srv", true),
        ("rw:@/srv", "r:@/srv/in", true),
        ("rw:@/srv", "rw:@/srv/new", true),
        ("r:@/srv", "rw:@/srv/in", false),
        ("rw:@/srv/in", "r:@/srv", false),
        ("rw:@/srv", "r:/", false),
        // A link below a granted folder leads out of it.
        ("rw:@/srv", "r:@/srv/out", false),
        // `~` and the home's path are the same folder.
        ("rw:~/a", "rw:@/home/a/b", true),
        ("rw:@/home/a", "rw:~/a/b", true),
        ("rw:~/a", "rw:~", false),
        ("rw:~/a", "rw:~/new", false),
        // A folder that is closed below a granted one stays closed.
        ("rw:~ r:~/a", "rw:~", false),
        ("rw:~ r:~/a", "rw:~ r:~/a", true),
        ("rw:~ r:~/a", "rw:~ r:@/home/a", true),
        ("rw:~ r:@/alias", "rw:~", false),
        ("rw:~ r:~/a", "r:~", true),
        ("rw:~ r:~/a", "rw:~/a/b", false),
        // A folder that does not exist has the right of the one that would contain it.
        ("rw:~ r:~/no", "rw:~/no/such", false),
        ("rw:~ r:~/no", "r:~/no/such/folder", true),
        ("rw:@/srv", "r:@/srv/out/no/such", false),
    ] {
        let decided = may_give(&stage, &root, &files(own), &files(wanted));
        assert_eq!(decided, is_allowed, "{own:?} gives {wanted:?}");
    }
}

/// `rights_work.rs` counts the work.
/// Proves `slow-rights` in docs/faults.md.
#[test]
fn thousands_of_folders_are_compared() {
    let (stage, root) = stage_with_folders();
    let list = |right: &str, more: &str| {
        let folders = (0..20_000).map(|number| format!("{right}:@/srv/in/{number} "));
        files(&(folders.collect::<String>() + more))
    };
    let (own, same, more) = (list("rw", ""), list("r", ""), list("r", "r:@/srv"));
    assert!(may_give(&stage, &root, &own, &same));
    assert!(!may_give(&stage, &root, &own, &more));
}

/// Proves `role-escalation` in docs/faults.md.
#[test]
fn admin_cannot_give_word_quota_or_role_beyond_own() {
    let (stage, root) = stage_with_folders();
    for (own, wanted, is_allowed) in [
        ("", "chat = true", false),
        ("chat = false", "chat = true", false),
        ("chat = true", "chat = true", true),
        ("", "chat = false\nexec = []", true),
        ("", "exec = [[\"df\"]]", false),
        ("exec = [[\"df\"], [\"id\"]]", "exec = [[\"id\"]]", true),
        ("exec = [[\"df\"]]", "exec = [[\"df\", \"...\"]]", false),
        ("exec = [[\"df\"]]", "exec = \"any\"", false),
        ("exec = \"any\"", "exec = [[\"df\"]]", true),
        ("exec = \"any\"", "exec = \"any\"", true),
        ("quota = {bytes = 10}", "", false),
        ("quota = {bytes = 10}", "quota = {bytes = 11}", false),
        (
            "quota = {bytes = 10}",
            "quota = {bytes = 10, files = 1}",
            true,
        ),
        ("", "quota = {bytes = 10}", true),
        ("", "role = \"helper\"", true),
        ("", "role = \"admin\"", false),
        ("", "role = \"owner\"", false),
    ] {
        let decided = may_give(&stage, &root, own, wanted);
        assert_eq!(decided, is_allowed, "{own:?} gives {wanted:?}");
    }
}

#[test]
fn owner_gives_everything_and_others_nothing() {
    let (_stage, root) = stage_with_folders();
    let text = "[users.o]\nrole = \"owner\"\n[users.h]\nrole = \"helper\"\nfiles = [\"rw:~\"]\n[users.b]\nfiles = [\"rw:/\"]\nrole = \"owner\"\n";
    let rights = Rights::parse(text, &RightWords::default()).unwrap();
    let wanted = rights.of(&name("b")).unwrap();
    assert!(rights.check_grant(&name("o"), wanted, &root).is_ok());
    for name in ["h", "stranger"] {
        let nothing = UserRights::default();
        let refused = rights.check_grant(&crate::name(name), wanted, &root);
        assert!(refused.is_err(), "{name}");
        let to_user = rights.check_grant(&crate::name(name), &nothing, &root);
        assert_eq!(to_user.is_ok(), name == "h");
    }
}
