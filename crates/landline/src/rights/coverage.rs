//! Whether one user has everything that another one would get.

use landline_proto::{ErrorCode, login::UserName};

use super::{Rights, Role, UserRights};
use crate::{
    Error,
    paths::{Grant, Root},
};

impl Rights {
    /// Checks that `user` may hand `wanted` to another account: they have a higher role, and all of
    /// it themselves. Owners have everything. Blocking.
    ///
    /// # Errors
    /// `denied`, with the first right that is missing.
    pub fn check_grant(
        &self,
        user: &UserName,
        wanted: &UserRights,
        root: &Root,
    ) -> Result<(), Error> {
        let denied = |problem: String| Err(Error::here(ErrorCode::Denied, problem));
        let role = self.role(user);
        if !role.outranks(wanted.role()) {
            return denied(format!(
                "the role {role} cannot make or change an account with the role {}",
                wanted.role()
            ));
        }
        if role == Role::Owner {
            return Ok(());
        }
        let nothing = UserRights::default();
        let own = self.of(user).unwrap_or(&nothing);
        match own.missing_for(wanted, root) {
            Some(missing) => denied(format!("{user} cannot give {missing} and has less")),
            None => Ok(()),
        }
    }
}

impl UserRights {
    /// The first right of `wanted` that these rights do not include, as the file could state it.
    fn missing_for(&self, wanted: &Self, root: &Root) -> Option<String> {
        for (name, rule) in &wanted.words {
            let is_covered = !rule.value.is_granted()
                || self
                    .words
                    .get(name)
                    .is_some_and(|own| own.value.covers(&*rule.value));
            if !is_covered {
                return Some(format!("{name} = {}", rule.value.describe()));
            }
        }
        if !wanted.quota.is_within(self.quota) {
            return Some("a quota above their own".to_owned());
        }
        let missing = missing_folder(&self.files, &wanted.files, root)?;
        Some(format!("files = [{:?}]", missing.text))
    }
}

/// The first folder of `wanted` where `own` allows less.
///
/// Folders are compared by what they are on the disk: a link below a granted folder may lead
/// anywhere.
fn missing_folder<'g>(own: &[Grant], wanted: &'g [Grant], root: &Root) -> Option<&'g Grant> {
    let is_missing = |grant: &&Grant| {
        let includes = |own: &Grant| own.is_writable || !grant.is_writable;
        let is_same = |own: &&Grant| own.is_same_folder(grant) && includes(own);
        let is_held = || {
            root.effective_grant_of_folder(own, grant)
                .is_ok_and(includes)
        };
        own.iter().find(is_same).is_none() && !is_held()
    };
    // A folder that is granted to read, within one that is granted to write.
    let is_narrower = |grant: &Grant| {
        let holder = root.effective_grant_of_folder(wanted, grant).ok()?;
        (holder.is_writable && !grant.is_writable).then_some(holder)
    };
    wanted
        .iter()
        .find(is_missing)
        .or_else(|| own.iter().find_map(is_narrower))
}
