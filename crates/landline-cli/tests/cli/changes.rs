//! What the audit log records of a change: the key, invite or session concerned.

use serde_json::Value;
use testkit::Stage;

use crate::{login::client_key, stage};

/// Action, subject and detail of each change, without the server's own.
fn changes(stage: &Stage) -> Vec<(String, String, String)> {
    let shown = stage.run_at_server(&["audit", "show", "--json"]).ok();
    let lines = shown
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let changes = lines.filter(|line| line["event"] == "admin");
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    changes
        .map(|line| {
            (
                text(&line, "action"),
                text(&line, "subject"),
                text(&line, "detail"),
            )
        })
        .collect()
}

/// The last change in the log.
#[track_caller]
fn last(stage: &Stage) -> (String, String, String) {
    changes(stage).pop().expect("a change")
}

#[test]
fn audit_entry_identifies_the_change() {
    let stage = stage();
    let server = stage.joined();
    let key = client_key(&stage).public();
    let (print, line) = (key.fingerprint(), key.line());
    let on = ["user", "--on", &server.address];
    let user = |arguments: &[&str], input: &str| {
        stage
            .run_with_input(&[&on[..], arguments].concat(), input.as_bytes())
            .ok()
    };
    let said = |action: &str, subject: &str, detail: &str| {
        assert_eq!(
            last(&stage),
            (action.to_owned(), subject.to_owned(), detail.to_owned())
        );
    };
    let (redeemed, subject, detail) = changes(&stage).remove(1);
    assert_eq!((&redeemed[..], &subject[..]), ("invite-redeem", "alice"));
    assert!(
        detail.starts_with("invite ") && detail.ends_with(&print),
        "{detail}"
    );

    user(&["add", "bob", "--key", "-", "--files", "rw:~/bob"], &line);
    said("add-user", "bob", &format!("{print}, rw:~/bob"));
    user(
        &["keys", "add", "bob", "-"],
        &format!("from=\"192.0.2.0/24\",restrict {line} bob@laptop"),
    );
    said(
        "add-keys",
        "bob",
        &format!("{print} (from=\"192.0.2.0/24\",restrict)"),
    );
    user(&["keys", "remove", "bob", &print], "");
    said("remove-key", &format!("bob {print}"), "");

    for (name, purpose) in [("bob", "key"), ("carol", "account")] {
        user(&["invite", name, "--ttl", "2h"], "");
        let invites = user(&["invites", "list", "--json"], "");
        let invite: Value =
            serde_json::from_str(invites.lines().next().expect("one invite")).unwrap();
        let id = invite["id"].as_str().unwrap().to_owned();
        said(
            "make-invite",
            name,
            &format!("invite {id}, for {purpose}, 7200 s"),
        );
        user(&["invites", "revoke", &id], "");
        said("revoke-invite", &id, "");
    }
    user(&["remove", "bob", "--force"], "");
    said("remove-user", "bob", "force");
    stage
        .run_at_server(&["user", "add", "dora", "--invite"])
        .ok();
    let (action, subject, detail) = last(&stage);
    assert_eq!((&action[..], &subject[..]), ("make-invite", "dora"));
    assert!(detail.ends_with(", for key, 86400 s"), "{detail}");
}

#[test]
fn kick_entry_names_ended_sessions() {
    let stage = stage();
    let server = stage.joined();
    let mut client = testkit::RawClient::connect(&server.address, &server.fingerprint).unwrap();
    assert_eq!(
        client.login("alice", &client_key(&stage), None).unwrap(),
        "welcome"
    );
    server.event("login");
    let session = server.event("login")["session"]
        .as_str()
        .unwrap()
        .to_owned();
    stage.run(&["kick", "127.0.0.1", &session]).ok();
    assert_eq!(
        last(&stage),
        (
            "kick".into(),
            session.clone(),
            format!("{session} of alice")
        )
    );
}
