//! Details of a change for the audit log, which say what was changed.

use std::time::Duration;

use landline_proto::messages::Blob;

use super::{
    Request,
    messages::{AddKeys, AddUser, DisableUser, GrantRights, RemoveKey, RemoveUser, RevokeRights},
    passwords::SetPassword,
};
use crate::{
    audit::LineHash,
    keys::{CredentialId, KeyLine},
    password::password_id,
    rights::{GivenWord, Quota, Role},
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
                quota,
                words,
                ..
            }) => {
                // The most important parts come first, because a long list is cut.
                let role = (*role > Role::User).then(|| role.to_string());
                let password = password.as_ref().map(password_detail);
                let keys = keys.iter().map(|line| key_detail(line));
                join_parts(
                    role.into_iter()
                        .chain(password)
                        .chain(keys)
                        .chain(rights_details(*quota, home.as_ref(), files, words)),
                )
            }
            Self::GrantRights(GrantRights {
                role,
                home,
                files,
                quota,
                words,
                ..
            }) => join_parts(
                role.map(|role| role.to_string())
                    .into_iter()
                    .chain(rights_details(*quota, home.as_ref(), files, words)),
            ),
            Self::RevokeRights(RevokeRights {
                role,
                home,
                files,
                quota,
                words,
                ..
            }) => {
                let role = role.then(|| "role".to_owned());
                let quota = quota.iter().map(|key| format!("quota.{}", shorten(key)));
                let home = home.then(|| "home".to_owned());
                let files = files.iter().map(|file| shorten(file));
                let words = words.iter().map(|word| shorten(&word.describe()));
                let rest = home.into_iter().chain(words).chain(files);
                join_parts(role.into_iter().chain(quota).chain(rest))
            }
            Self::SetPassword(SetPassword { record, .. }) => Some(password_detail(record)),
            Self::AddKeys(AddKeys { keys, .. }) => {
                join_parts(keys.iter().map(|line| key_detail(line)))
            }
            Self::DisableUser(DisableUser { force: true, .. })
            | Self::RemoveUser(RemoveUser { force: true, .. }) => Some("force".to_owned()),
            Self::RemoveKey(RemoveKey {
                keep_jobs: true, ..
            }) => Some("its jobs continue".to_owned()),
            _ => None,
        }
    }
}

/// The details of limits, a home and folders.
fn rights_details(
    quota: Quota,
    home: Option<&String>,
    files: &[String],
    words: &[GivenWord],
) -> impl Iterator<Item = String> {
    let home = home.map(|home| format!("home {}", shorten(home)));
    let files = files.iter().map(|file| shorten(file));
    let words = words.iter().map(|word| shorten(&word.describe()));
    quota.describe().chain(home).chain(words).chain(files)
}

/// Makes the detail of an invite: its id, purpose and lifetime.
pub(crate) fn invite_detail(id: &str, purpose: Purpose, good_for: Duration) -> String {
    format!(
        "invite {id}, for {}, {} s",
        purpose.as_str(),
        good_for.as_secs()
    )
}

/// Joins parts until the detail is full. The rest is counted, and the whole is hashed.
pub(super) fn join_parts(parts: impl Iterator<Item = String>) -> Option<String> {
    let parts: Vec<String> = parts.collect();
    let (mut text, mut named) = (String::new(), 0);
    for part in &parts {
        if text.len() + part.len() >= DETAIL_BYTES_MAX {
            break;
        }
        if named > 0 {
            text.push_str(", ");
        }
        text.push_str(part);
        named += 1;
    }
    let left_out = parts.len() - named;
    if left_out > 0 {
        let hash = LineHash::of(parts.join(", ").as_bytes());
        text.push_str(&format!(", and {left_out} more; all has SHA-256 {hash}"));
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
        Some((end, _)) => format!(
            "{}... ({} bytes with SHA-256 {})",
            text.get(..end).unwrap_or_default(),
            text.len(),
            LineHash::of(text.as_bytes())
        ),
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
            words: Vec::new(),
            user,
            keys: lines,
            password: None,
            role: Role::Admin,
            home: Some("/srv/bob".into()),
            files: vec!["rw:~/in".into()],
            quota: Quota {
                files: Some(9),
                ..Quota::default()
            },
        };
        assert_eq!(
            Request::from(add).audit_detail(),
            Some(format!(
                "admin, {named}, quota.files = 9, home /srv/bob, rw:~/in"
            ))
        );
    }

    /// Proves `hidden-detail` in docs/faults.md.
    #[test]
    fn long_list_of_folders_leaves_out_neither_role_nor_key() {
        let add = AddUser {
            words: Vec::new(),
            user: "bob".parse().unwrap(),
            keys: vec![key(1).line()],
            password: None,
            role: Role::Admin,
            home: None,
            files: (0..9999)
                .map(|number| format!("rw:/srv/{number}"))
                .collect(),
            quota: Quota::default(),
        };
        let other = AddUser {
            words: Vec::new(),
            files: add.files.iter().rev().cloned().collect(),
            ..add.clone()
        };
        let detail = Request::from(add).audit_detail().unwrap();
        let beginning = format!("admin, {}, rw:/srv/0, ", key(1).fingerprint());
        assert!(detail.starts_with(&beginning), "{detail}");
        // What does not fit is not named, and cannot be denied either.
        let hash = |detail: &str| {
            let (_, hash) = detail.split_once(" more; all has SHA-256 ").unwrap();
            hash.to_owned()
        };
        let other = Request::from(other).audit_detail().unwrap();
        assert_eq!(hash(&detail).len(), 64);
        assert_ne!(hash(&detail), hash(&other));
    }

    #[test]
    fn detail_of_many_keys_is_limited() {
        let line = format!("command=\"{}\" {}", "x".repeat(5000), key(1).line());
        let one = key_detail(&line);
        assert!(
            one.starts_with(&key(1).fingerprint()) && one.contains("x... (50") && one.len() < 400,
            "{one}"
        );
        let keys = AddKeys {
            user: "bob".parse().unwrap(),
            keys: vec![line; 500],
        };
        let detail = Request::from(keys).audit_detail().unwrap();
        let (named, left_out) = detail.rsplit_once(", and ").unwrap();
        let left_out: usize = left_out.split(' ').next().unwrap().parse().unwrap();
        assert!(named.len() <= DETAIL_BYTES_MAX, "{}", named.len());
        assert_eq!(named.split(", ").count() + left_out, 500);
    }
}
