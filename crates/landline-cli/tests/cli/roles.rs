//! Attacks of admins and helpers on users with higher roles, over the network.

use landline::{keys::UserKey, login::Secret, paths::PrivateFolder};
use serde_json::{Value, json};
use testkit::{RawClient, ServerProcess, Stage};

use crate::stage;

/// Alice is the owner and has the client's key. Every other user has a key of the same name.
const RULES: &str = r#"
[users.alice]
role = "owner"
files = ["rw:~"]
[users.adam]
role = "admin"
files = ["rw:~/adam"]
[users.eve]
role = "admin"
[users.helen]
role = "helper"
[users.bob]
files = ["rw:~/bob"]
chat = true
[users.carol]
[users.ghost]
role = "owner"
"#;

struct House {
    server: ServerProcess,
    stage: Stage,
}

impl House {
    fn new() -> Self {
        let stage = stage();
        let server = stage.joined();
        let house = Self { server, stage };
        for user in ["adam", "eve", "helen", "bob", "carol"] {
            let line = house.key(user).public().line();
            house
                .stage
                .run_with_input_at_server(&["user", "add", user, "--key", "-"], line.as_bytes())
                .ok();
        }
        house.stage.write_rights(RULES);
        house.server.rights_loaded(&house.stage);
        house
    }

    fn key(&self, user: &str) -> UserKey {
        let folder = PrivateFolder::open_or_create(&self.stage.path("keys")).unwrap();
        UserKey::load_or_create(&folder, user).unwrap().0
    }

    fn connect(&self) -> RawClient {
        RawClient::connect(&self.server.address, &self.server.fingerprint).unwrap()
    }

    /// Connects as this user and opens the service `admin`.
    fn admin(&self, user: &str) -> RawClient {
        let mut client = self.connect();
        let answer = client.login(user, &self.key(user), None).unwrap();
        assert_eq!(answer, "welcome");
        open(&mut client);
        client
    }

    /// The same, but with a login by a new secret.
    fn admin_by_secret(&self, user: &str) -> RawClient {
        let path = self.stage.path(&format!("user/{user}.secret"));
        let file = path.display().to_string();
        self.stage
            .run_at_server(&["secret", "add", user, "--out", &file])
            .ok();
        let mut client = self.connect();
        client.greet().unwrap();
        let login = client.secret_header(user, &Secret::load(&path).unwrap());
        client.send_json(&login).unwrap();
        assert_eq!(client.header().unwrap().unwrap().kind(), "welcome");
        open(&mut client);
        client
    }

    /// The accounts and invites that the server has.
    fn known(&self) -> String {
        let mut known = self.stage.run_at_server(&["user", "list", "--json"]).ok();
        known += &self
            .stage
            .run_at_server(&["user", "invites", "list", "--json"])
            .ok();
        for user in ["alice", "adam", "eve", "helen", "bob", "carol"] {
            known += &self
                .stage
                .run_at_server(&["user", "show", user, "--json"])
                .ok();
        }
        known
    }
}

fn open(client: &mut RawClient) {
    client
        .send_json(&json!({"type": "open", "service": "admin"}))
        .unwrap();
}

/// The error code of the answer, if it is an error.
fn ask(client: &mut RawClient, request: &Value) -> Option<String> {
    client.send_json(request).unwrap();
    let answer: Value = client.header().unwrap().expect("an answer").read().unwrap();
    answer["code"].as_str().map(str::to_owned)
}

/// Requests by which an admin would gain the rights of the owner, or remove the owner.
fn attacks(line: &str, owner_key: &str) -> Vec<Value> {
    let on = |user: &str| {
        vec![
            json!({"type": "add-keys", "user": user, "keys": [line]}),
            json!({"type": "make-invite", "user": user, "seconds": 60}),
            json!({"type": "register-password", "user": user, "request": "AAAA"}),
            json!({"type": "set-password", "user": user, "record": "AAAA"}),
            json!({"type": "remove-password", "user": user}),
            json!({"type": "remove-key", "user": user, "key": owner_key}),
            json!({"type": "disable-user", "user": user, "force": true}),
            json!({"type": "enable-user", "user": user}),
            json!({"type": "remove-user", "user": user, "force": true}),
        ]
    };
    let mut attacks = on("alice");
    // Another admin, and a name that has rights but no account.
    attacks.extend(on("eve"));
    attacks.push(json!({"type": "make-invite", "user": "ghost", "seconds": 60}));
    attacks.push(json!({"type": "make-invite", "user": "GHOST", "seconds": 60}));
    // An account with more rights than the admin has.
    for key in ["add-keys", "make-invite", "set-password", "enable-user"] {
        let record =
            json!({"type": key, "user": "bob", "keys": [line], "seconds": 60, "record": "AAAA"});
        attacks.push(record);
    }
    for rights in [
        json!({"role": "admin"}),
        json!({"role": "owner"}),
        json!({"files": ["rw:~"]}),
        json!({"files": ["r:/etc"]}),
        json!({"files": ["rw:~/adam/../bob"]}),
        json!({"files": ["rw:~"], "home": "/"}),
    ] {
        let mut attack = json!({"type": "add-user", "user": "mallory", "keys": [line]});
        for (key, value) in rights.as_object().unwrap() {
            attack[key] = value.clone();
        }
        attacks.push(attack);
    }
    attacks
}

/// Proves `role-escalation` in docs/faults.md.
#[test]
fn admin_cannot_exceed_own_rights() {
    let house = House::new();
    let line = house.key("adam").public().line();
    let owner_key = crate::login::client_key(&house.stage)
        .public()
        .fingerprint();
    let before = house.known();
    let mut adam = house.admin("adam");
    for attack in attacks(&line, &owner_key) {
        let code = ask(&mut adam, &attack);
        let is_refused = matches!(code.as_deref(), Some("denied" | "name-refused"));
        assert!(is_refused, "{attack}: {code:?}");
    }
    let mut alice = house.connect();
    alice
        .login("alice", &crate::login::client_key(&house.stage), None)
        .unwrap();
    let kick = json!({"type": "kick", "target": "alice"});
    assert_eq!(ask(&mut adam, &kick).as_deref(), Some("denied"));
    assert_eq!(house.known(), before, "an account or invite changed");

    // An admin cannot revoke the owner's invite for the owner's account.
    house.stage.run_at_server(&["user", "invite", "alice"]).ok();
    let invites = house
        .stage
        .run_at_server(&["user", "invites", "list", "--json"])
        .ok();
    let invite: Value = serde_json::from_str(&invites).unwrap();
    let revoke = json!({"type": "revoke-invite", "id": invite["id"]});
    assert_eq!(ask(&mut adam, &revoke).as_deref(), Some("denied"));

    // Requests that an admin may make, and one that would exceed the admin's rights.
    for (request, is_allowed) in [
        (
            json!({"type": "add-user", "user": "dora", "files": ["rw:~/adam/dora"]}),
            true,
        ),
        (
            json!({"type": "add-keys", "user": "carol", "keys": [line]}),
            true,
        ),
        (
            json!({"type": "add-keys", "user": "adam", "keys": [line]}),
            true,
        ),
        (
            json!({"type": "make-invite", "user": "helen", "seconds": 60}),
            true,
        ),
        (json!({"type": "disable-user", "user": "bob"}), true),
        (json!({"type": "enable-user", "user": "bob"}), false),
        (json!({"type": "remove-user", "user": "helen"}), true),
    ] {
        assert_eq!(ask(&mut adam, &request).is_none(), is_allowed, "{request}");
    }
    let mut alice = house.connect();
    let key = crate::login::client_key(&house.stage);
    alice.login("alice", &key, None).unwrap();
    open(&mut alice);
    let enable = json!({"type": "enable-user", "user": "bob"});
    assert_eq!(ask(&mut alice, &enable), None, "an owner may do everything");
}

/// Requests that give access: to the user's own account, to another one, or to a new one.
fn grants(house: &House, user: &str) -> Vec<Value> {
    let line = house.key("new").public().line();
    vec![
        json!({"type": "add-keys", "user": user, "keys": [line]}),
        json!({"type": "add-keys", "user": "carol", "keys": [line]}),
        json!({"type": "make-invite", "user": user, "seconds": 60}),
        json!({"type": "make-invite", "seconds": 60}),
        json!({"type": "add-user", "user": "mallory", "keys": [line]}),
        json!({"type": "set-password", "user": "carol", "record": "AAAA"}),
        json!({"type": "register-password", "user": user, "request": "AAAA"}),
        json!({"type": "enable-user", "user": "carol"}),
    ]
}

/// Checks that the session is denied all of these requests.
fn check_grants_nothing(house: &House, client: &mut RawClient, user: &str, what: &str) {
    for request in grants(house, user) {
        let code = ask(client, &request);
        assert_eq!(
            code.as_deref(),
            Some("credential-limited"),
            "{what}: {request}"
        );
    }
}

/// Proves `role-escalation` in docs/faults.md.
#[test]
fn session_by_secret_grants_nothing() {
    let house = House::new();
    for user in ["adam", "alice"] {
        let mut client = house.admin_by_secret(user);
        check_grants_nothing(&house, &mut client, user, user);
        // Requests that only withdraw access are allowed.
        let disable = json!({"type": "disable-user", "user": "carol"});
        assert_eq!(ask(&mut client, &disable), None, "{user}");
        house.stage.run_at_server(&["user", "enable", "carol"]).ok();
    }
}

/// Proves `role-escalation` in docs/faults.md.
#[test]
fn session_by_limited_key_grants_nothing() {
    let house = House::new();
    let set_options = |options: &str| {
        let line = format!("{options} {}\n", house.key("adam").public().line());
        let add = ["user", "keys", "add", "adam", "-"];
        house
            .stage
            .run_with_input_at_server(&add, line.as_bytes())
            .ok();
    };
    for options in [
        "expiry-time=\"20990101\"",
        "restrict,landline-services=\"admin\"",
        "landline-services=\"admin,ping\"",
        "no-pty",
    ] {
        set_options(options);
        check_grants_nothing(&house, &mut house.admin("adam"), "adam", options);
    }
    // A key with a forced command administers nothing.
    set_options("command=\"backup\"");
    let code = house.admin("adam").error_code().unwrap();
    assert_eq!(code.as_deref(), Some("credential-limited"));
    let show = ["user", "show", "adam", "--json"];
    let keys = house.stage.run_at_server(&show).ok();
    let [own, new] = ["adam", "new"].map(|name| house.key(name).public().fingerprint());
    assert!(keys.contains(&own) && !keys.contains(&new), "{keys}");
}

/// Proves `role-escalation` in docs/faults.md.
#[test]
fn helper_sees_all_sessions_and_ends_those_of_users() {
    let house = House::new();
    let session = |user: &str| {
        let mut client = house.connect();
        client.login(user, &house.key(user), None).unwrap();
        client
            .send_json(&json!({"type": "open", "service": "ping"}))
            .unwrap();
        client
    };
    let _eve = session("eve");
    let mut bob = session("bob");
    let mut helen = house.admin("helen");
    helen.send_json(&json!({"type": "who"})).unwrap();
    let seen: Value = helen.header().unwrap().unwrap().read().unwrap();
    let users: Vec<&str> = seen["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["user"].as_str().unwrap())
        .collect();
    for user in ["bob", "eve", "helen"] {
        assert!(users.contains(&user), "{user} is not in {users:?}");
    }
    let kick = |target: &str| json!({"type": "kick", "target": target});
    assert_eq!(ask(&mut helen, &kick("eve")).as_deref(), Some("denied"));
    assert_eq!(ask(&mut helen, &kick("bob")), None);
    assert_eq!(bob.error_code().unwrap().as_deref(), Some("ended"));
    for request in attacks(&house.key("helen").public().line(), "SHA256:x") {
        assert_eq!(
            ask(&mut helen, &request).as_deref(),
            Some("denied"),
            "{request}"
        );
    }
}

/// An invite becomes invalid when its maker could no longer make it.
/// Proves `role-escalation` in docs/faults.md.
#[test]
fn invite_is_invalid_once_user_outranks_maker() {
    let house = House::new();
    let mut adam = house.admin("adam");
    let invite = |adam: &mut RawClient, user: &str| {
        adam.send_json(&json!({"type": "make-invite", "user": user, "seconds": 60}))
            .unwrap();
        let answer: Value = adam.header().unwrap().unwrap().read().unwrap();
        answer["invite"].as_str().expect("an invite").to_owned()
    };
    let (for_carol, for_dora) = (invite(&mut adam, "carol"), invite(&mut adam, "dora"));
    let (_, rules) = RULES.split_once('\n').unwrap();
    let rules = rules.replace("[users.carol]", "[users.carol]\nrole = \"admin\"");
    house
        .stage
        .write_rights(&format!("{rules}[users.dora]\nfiles = [\"rw:~\"]\n"));
    house.server.rights_loaded(&house.stage);
    for (user, invite) in [("carol", for_carol), ("dora", for_dora)] {
        let state = house.stage.path(user).display().to_string();
        let join = ["--json", "--state", &state, "join", "-", "--as", user];
        house
            .stage
            .run_with_input(&join, invite.as_bytes())
            .fails(12, "invite-unknown");
    }
}
