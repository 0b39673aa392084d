//! Data of the client's own user: key files, an agent's answers, ssh's configuration, pins.

use std::{collections::HashMap, path::Path};

use landline::{
    keys::{AgentKey, PublicKey, UserKey},
    login::KnownServer,
    net::Target,
};
use landline_ssh_config::Query;

/// Key files. An accepted, unencrypted key signs with its own public key.
pub fn key_file(input: &[u8]) {
    let Ok(key) = UserKey::parse(input, Path::new("key")) else {
        return;
    };
    let public = key.public();
    assert_eq!(
        PublicKey::parse(&public.line()).as_ref(),
        Some(&public),
        "another key"
    );
    let signed = key.sign(&[7; 64]);
    assert_eq!(
        signed.is_ok(),
        !key.is_locked(),
        "an unencrypted key does not sign"
    );
    assert!(signed.is_ok_and(|signature| public.verifies(&[7; 64], &signature)) || key.is_locked());
}

/// An agent's list of keys. Each key round-trips.
pub fn agent(input: &[u8]) {
    for key in AgentKey::parse_list(input).unwrap_or_default() {
        assert_eq!(
            PublicKey::from_blob(key.public.blob()).as_ref(),
            Ok(&key.public)
        );
        assert_eq!(PublicKey::parse(&key.public.line()), Some(key.public));
    }
}

/// The file of known servers: an accepted one survives being written down, and each server can be
/// named by its address.
pub fn pins(input: &[u8]) {
    type File = HashMap<String, Vec<KnownServer>>;
    let Ok(file) = serde_json::from_slice::<File>(input) else {
        return;
    };
    let again = serde_json::to_vec(&file).and_then(|json| serde_json::from_slice::<File>(&json));
    assert_eq!(again.ok().as_ref(), Some(&file), "other servers");
    for server in file.values().flatten() {
        let Ok(target) = server.address().to_string().parse::<Target>() else {
            continue;
        };
        assert_eq!(
            (&target.host, target.port),
            (&server.host, Some(server.port))
        );
    }
}

/// The configuration of ssh. No value can be mistaken for an option of a command.
pub fn ssh_config(input: &[u8]) {
    let query = Query {
        host: "web.example",
        user: None,
        local_user: "me",
        home: Path::new("/home/me"),
        variable: &|_| Some("/value".into()),
    };
    let Ok(found) = landline_ssh_config::parse(input, &query) else {
        return;
    };
    let is_name = |name: &str| !name.is_empty() && !name.starts_with('-');
    assert!(
        found.host_name.as_deref().is_none_or(is_name),
        "a host that could be an option"
    );
    let hops = found.proxy_jump.map(|jump| jump.hops).unwrap_or_default();
    assert!(
        hops.iter()
            .all(|hop| is_name(&hop.host) && hop.user.as_deref().is_none_or(is_name)),
        "{hops:?}"
    );
}
