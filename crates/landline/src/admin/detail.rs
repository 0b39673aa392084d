//! What the audit log says of a change beyond whom it is about, so that it can be told later what
//! was changed.

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

/// The longest detail, in bytes; what goes beyond is counted. An entry of the log holds twice as
/// much.
const DETAIL_BYTES_MAX: usize = 32 * 1024;
/// How much is said of a right or of the options in front of a key, in characters.
const PART_CHARACTERS_MAX: usize = 200;

impl Request {
    /// What else is to be said of it in the log; [`of_invite`] says it of an invite, which has no
    /// name before it is made.
    pub(super) fn detail(&self) -> Option<String> {
        match self {
            Self::AddUser(AddUser {
                role,
                home,
                files,
                keys,
                password,
                ..
            }) => {
                // What matters most comes first, as a long list is cut.
                let role = (*role > Role::User).then(|| role.to_string());
                let password = password.as_ref().map(of_password);
                let keys = keys.iter().map(|line| of_key(line));
                let home = home.iter().map(|home| format!("home {}", shortened(home)));
                let files = files.iter().map(|file| shortened(file));
                joined(
                    role.into_iter()
                        .chain(password)
                        .chain(keys)
                        .chain(home)
                        .chain(files),
                )
            }
            Self::SetPassword(SetPassword { record, .. }) => Some(of_password(record)),
            Self::AddKeys(AddKeys { keys, .. }) => joined(keys.iter().map(|line| of_key(line))),
            Self::DisableUser(DisableUser { force: true, .. })
            | Self::RemoveUser(RemoveUser { force: true, .. }) => Some("force".to_owned()),
            _ => None,
        }
    }
}

/// An invite that is about to be made: which, what for, and for how long.
pub(crate) fn of_invite(id: &str, purpose: Purpose, good_for: Duration) -> String {
    format!(
        "invite {id}, for {}, {} s",
        purpose.as_str(),
        good_for.as_secs()
    )
}

/// All of these, as far as there is room.
pub(super) fn joined(parts: impl Iterator<Item = String>) -> Option<String> {
    let (mut text, mut left_out) = (String::new(), 0usize);
    for part in parts {
        match left_out == 0 && text.len() + part.len() < DETAIL_BYTES_MAX {
            true if text.is_empty() => text = part,
            true => text.extend([", ", &part]),
            false => left_out += 1,
        }
    }
    if left_out > 0 {
        text.push_str(&format!(", and {left_out} more"));
    }
    (!text.is_empty()).then_some(text)
}

/// What a password is called by what it lets in.
fn of_password(record: &Blob) -> String {
    CredentialId::Password(password_id(&record.0)).to_string()
}

/// A key's fingerprint, and the options in front of it.
fn of_key(line: &str) -> String {
    match KeyLine::parse(line) {
        Ok(line) if line.options.text().is_empty() => line.key.fingerprint(),
        Ok(line) => format!(
            "{} ({})",
            line.key.fingerprint(),
            shortened(line.options.text())
        ),
        // It is refused behind this entry.
        Err(_) => "a line that is no key".to_owned(),
    }
}

fn shortened(text: &str) -> String {
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
    fn keys_are_named_with_their_options() {
        let (user, [one, two]) = ("bob".parse().unwrap(), [1, 2].map(key));
        let lines = [
            one.line(),
            format!("from=\"192.0.2.0/24\",restrict {} bob@laptop", two.line()),
            "nonsense".into(),
        ];
        let named = format!(
            "{}, {} (from=\"192.0.2.0/24\",restrict), a line that is no key",
            one.fingerprint(),
            two.fingerprint()
        );
        let keys = AddKeys {
            user,
            keys: lines.to_vec(),
        };
        let AddKeys { user, keys: lines } = keys.clone();
        assert_eq!(Request::from(keys).detail(), Some(named.clone()));
        let add = AddUser {
            user,
            keys: lines,
            password: None,
            role: Role::Admin,
            home: Some("/srv/bob".into()),
            files: vec!["rw:~/in".into()],
        };
        assert_eq!(
            Request::from(add).detail(),
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
        let detail = Request::from(add).detail().unwrap();
        let beginning = format!("admin, {}, rw:/srv/0, ", key(1).fingerprint());
        assert!(detail.starts_with(&beginning), "{detail}");
        assert!(detail.ends_with(" more"), "{detail}");
    }

    #[test]
    fn however_much_is_changed_the_detail_has_an_end() {
        let line = format!("command=\"{}\" {}", "x".repeat(5000), key(1).line());
        let one = of_key(&line);
        assert!(
            one.starts_with(&key(1).fingerprint()) && one.ends_with("x...)") && one.len() < 300,
            "{one}"
        );
        let keys = AddKeys {
            user: "bob".parse().unwrap(),
            keys: vec![line; 500],
        };
        let detail = Request::from(keys).detail().unwrap();
        let (named, left_out) = detail.rsplit_once(", and ").unwrap();
        let left_out: usize = left_out.strip_suffix(" more").unwrap().parse().unwrap();
        assert!(named.len() <= DETAIL_BYTES_MAX, "{}", named.len());
        assert_eq!(named.split(", ").count() + left_out, 500);
    }
}
