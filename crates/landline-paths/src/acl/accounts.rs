//! The users and groups of this machine, by name and by number.

use std::{collections::HashMap, hash::Hash, io};

use super::{Acl, AclAccount, AclSubject};
use crate::users;

/// How many answers of each kind are kept.
const KEPT_MAX: usize = 10_000;

/// What the system's lists of users and groups say. Answers are kept.
#[derive(Debug, Default)]
pub struct Accounts {
    user_names: HashMap<u32, Option<Vec<u8>>>,
    group_names: HashMap<u32, Option<Vec<u8>>>,
    user_ids: HashMap<Vec<u8>, Option<u32>>,
    group_ids: HashMap<Vec<u8>, Option<u32>>,
}

impl Accounts {
    /// An ACL with names in place of numbers, where this machine has them.
    ///
    /// # Blocking
    /// It may read files or ask a directory service.
    pub fn name(&mut self, acl: &Acl) -> Acl {
        acl.with_accounts(|subject| {
            let named = |account: &AclAccount, name: io::Result<Option<Vec<u8>>>| match name {
                Ok(Some(name)) => AclAccount::Name(name),
                Ok(None) | Err(_) => account.clone(),
            };
            Some(match subject {
                AclSubject::User(account @ AclAccount::Number(number)) => {
                    AclSubject::User(named(account, self.user_name(*number)))
                }
                AclSubject::NamedGroup(account @ AclAccount::Number(number)) => {
                    AclSubject::NamedGroup(named(account, self.group_name(*number)))
                }
                subject => subject.clone(),
            })
        })
    }

    /// An ACL with the numbers that users and groups have on this machine, and who is left out.
    ///
    /// A number counts only if this machine has no name for it. It would give rights to a user
    /// who is another one elsewhere. An account is left out if that cannot be found out.
    ///
    /// # Blocking
    /// It may read files or ask a directory service.
    pub fn number(&mut self, acl: &Acl) -> (Acl, Vec<AclSubject>) {
        let mut left_out = Vec::new();
        let numbered = acl.with_accounts(|subject| {
            let found = match subject {
                AclSubject::User(AclAccount::Name(name)) => self.user_id(name),
                AclSubject::NamedGroup(AclAccount::Name(name)) => self.group_id(name),
                AclSubject::User(AclAccount::Number(number)) => {
                    without_name(*number, self.user_name(*number))
                }
                AclSubject::NamedGroup(AclAccount::Number(number)) => {
                    without_name(*number, self.group_name(*number))
                }
                _ => Ok(None),
            };
            let Ok(Some(number)) = found else {
                left_out.push(subject.clone());
                return None;
            };
            let account = AclAccount::Number(number);
            Some(match subject {
                AclSubject::User(_) => AclSubject::User(account),
                _ => AclSubject::NamedGroup(account),
            })
        });
        (numbered, left_out)
    }

    fn user_name(&mut self, number: u32) -> io::Result<Option<Vec<u8>>> {
        let look_up = |number: &u32| Ok(users::name_of_user(*number)?.filter(|name| is_name(name)));
        find(&mut self.user_names, &number, look_up)
    }

    fn group_name(&mut self, number: u32) -> io::Result<Option<Vec<u8>>> {
        let look_up =
            |number: &u32| Ok(users::name_of_group(*number)?.filter(|name| is_name(name)));
        find(&mut self.group_names, &number, look_up)
    }

    fn user_id(&mut self, name: &Vec<u8>) -> io::Result<Option<u32>> {
        find(&mut self.user_ids, name, |name| users::id_of_user(name))
    }

    fn group_id(&mut self, name: &Vec<u8>) -> io::Result<Option<u32>> {
        find(&mut self.group_ids, name, |name| users::id_of_group(name))
    }
}

fn is_name(name: &[u8]) -> bool {
    (1..=super::ACL_NAME_BYTES_MAX).contains(&name.len())
}

fn without_name(number: u32, name: io::Result<Option<Vec<u8>>>) -> io::Result<Option<u32>> {
    Ok(name?.is_none().then_some(number))
}

/// The answer that is kept, or a new one. An error is not kept.
fn find<K: Clone + Eq + Hash, V: Clone>(
    kept: &mut HashMap<K, Option<V>>,
    key: &K,
    look_up: impl FnOnce(&K) -> io::Result<Option<V>>,
) -> io::Result<Option<V>> {
    if let Some(found) = kept.get(key) {
        return Ok(found.clone());
    }
    if kept.len() >= KEPT_MAX {
        kept.clear();
    }
    let found = look_up(key)?;
    kept.insert(key.clone(), found.clone());
    Ok(found)
}
