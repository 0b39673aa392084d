//! Details of a change for the audit log, which say what was changed.

use std::time::Duration;

use landline_proto::messages::Blob;

use super::{
    Request,
    messages::{AddKeys, AddUser, DisableUser, RemoveUser},
    passwords::SetPassword,
};
use crate::{
    keys::{CredentialId, KeyLine},
    password::password_id,
    rights::Role,
    store::Purpose,
};

/// The longest detail in bytes. Further parts are only counted.
///
/// An entry of the log holds twice as much.
const DETAIL_BYTES_MAX: usize = 32 * 1024;
/// The longest text of a right, or of the options of a key, in characters.
const PART_CHARACTERS_MAX: usize = 200;

impl Request {
    /// Makes the detail of a request.
    ///
    /// [`invite_detail`] makes that of an invite, which has no id before it is made.
    pub(super) fn audit_detail(&self) -> Option<String> {
        match self {
            Self::AddUser(AddUser {
                role,
                home,
                files,
                keys,
                password,
                ..
            }) => {
                // The most important parts come first, because a long list is cut.
                let role = (*role > Role::User).then(|| role.to_string());
                let password = password.as_ref().map(password_detail);
                let keys = keys.iter().map(|line| key_detail(line));
                let home = home.iter().map(|home| format!("home {}", shorten(home)));
                let files = files.iter().map(|file| shorten(file));
                join_parts(
                    role.into_iter()
                        .chain(password)
                        .chain(keys)
                        .chain(home)
                        .chain(files),
                )
            }
            Self::SetPassword(SetPassword { record, .. }) => Some(password_detail(record)),
            Self::AddKeys(AddKeys { keys, .. }) => {
                join_parts(keys.iter().map(|line| key_detail(line)))
            }
            Self::DisableUser(DisableUser { force: true, .. })
            | Self::RemoveUser(RemoveUser { force: true, .. }) => Some("force".to_owned()),
            _ => None,
        }
    }
}

/// Makes the detail of an invite: its id, purpose and lifetime.
pub(crate) fn invite_detail(id: &str, purpose: Purpose, good_for: Duration) -> String {
    format!(
        "invite {id}, for {}, {} s",
        purpose.as_str(),
        good_for.as_secs()
    )
}

/// Joins parts until the detail is full, and counts the rest.
pub(super) fn join_parts(parts: impl Iterator<Item = String>) -> Option<String> {
    let (mut text, mut left_out) = (String::new(), 0usize);
    for part in parts {
        if left_out > 0 || text.len() + part.len() >= DETAIL_BYTES_MAX {
            left_out += 1;
        } else if text.is_empty() {
            text = part;
        } else {
            text.extend([", ", &part]);
        }
    }
    if left_out > 0 {
        text.push_str(&format!(", and {left_out} more"));
    }
    (!text.is_empty()).then_some(text)
}

/// Names a password by its id.
fn password_detail(record: &Blob) -> String {
    CredentialId::Password(password_id(&record.0)).to_string()
}

/// Names a key by its fingerprint and options.
fn key_detail(line: &str) -> String {
    match KeyLine::parse(line) {
        Ok(line) if line.options.text().is_empty() => line.key.fingerprint(),
        Ok(line) => format!(
            "{} ({})",
            line.key.fingerprint(),
            shorten(line.options.text())
        ),
        // The request is rejected after this entry.
        Err(_) => "an invalid key".to_owned(),
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(PART_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PublicKey;

    fn key(seed: u8) -> PublicKey {
        let pair = ssh_key::private::Ed25519Keypair::from_seed(&[seed; 32]);
        PublicKey::parse(
            &ssh_key::PrivateKey::from(pair)
                .public_key()
                .to_openssh()
                .unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn detail_names_keys_with_options() {
        let (user, [one, two]) = ("bob".parse().unwrap(), [1, 2].map(key));
        let lines = [
            one.line(),
            format!("from=\"192.0.2.0/24\",restrict {} bob@laptop", two.line()),
            "nonsense".into(),
        ];
        let named = format!(
            "{}, {} (from=\"192.0.2.0/24\",restrict), an invalid key",
            one.fingerprint(),
            two.fingerprint()
        );
        let keys = AddKeys {
            user,
            keys: lines.to_vec(),
        };
        let AddKeys { user, keys: lines } = keys.clone();
        assert_eq!(Request::from(keys).audit_detail(), Some(named.clone()));
        let add = AddUser {
            user,
            keys: lines,
            password: None,
            role: Role::Admin,
            home: Some("/srv/bob".into()),
            files: vec!["rw:~/in".into()],
        };
        assert_eq!(
            Request::from(add).audit_detail(),
            Some(format!("admin, {named}, home /srv/bob, rw:~/in"))
        );
    }

    #[test]
    fn long_list_of_folders_leaves_out_neither_role_nor_key() {
        let add = AddUser {
            user: "bob".parse().unwrap(),
            keys: vec![key(1).line()],
            password: None,
            role: Role::Admin,
            home: None,
            files: (0..9999)
                .map(|number| format!("rw:/srv/{number}"))
                .collect(),
        };
        let detail = Request::from(add).audit_detail().unwrap();
        let beginning = format!("admin, {}, rw:/srv/0, ", key(1).fingerprint());
        assert!(detail.starts_with(&beginning), "{detail}");
        assert!(detail.ends_with(" more"), "{detail}");
    }

    #[test]
    fn detail_of_many_keys_is_limited() {
        let line = format!("command=\"{}\" {}", "x".repeat(5000), key(1).line());
        let one = key_detail(&line);
        assert!(
            one.starts_with(&key(1).fingerprint()) && one.ends_with("x...)") && one.len() < 300,
            "{one}"
        );
        let keys = AddKeys {
            user: "bob".parse().unwrap(),
            keys: vec![line; 500],
        };
        let detail = Request::from(keys).audit_detail().unwrap();
        let (named, left_out) = detail.rsplit_once(", and ").unwrap();
        let left_out: usize = left_out.strip_suffix(" more").unwrap().parse().unwrap();
        assert!(named.len() <= DETAIL_BYTES_MAX, "{}", named.len());
        assert_eq!(named.split(", ").count() + left_out, 500);
    }
}
