//! Whether one user has everything that another one would get.

use std::collections::HashSet;

use landline_proto::{ErrorCode, login::UserName};

use super::{Quota, Rights, Role, UserRights};
use crate::{
    Error,
    paths::{Grant, GrantIndex, Root},
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
        match wanted.missing_in(&[own], root) {
            Some(missing) => denied(format!(
                "{user} cannot give {missing}, because {user} does not have that"
            )),
            None => Ok(()),
        }
    }
}

impl Rights {
    /// Checks that `user` may replace the rights `before` of an account by `after`. What is new in
    /// `after` must be something that `user` has, and a higher role needs one above it. Owners may
    /// change everything. Blocking.
    ///
    /// # Errors
    /// `denied`, with the first right that is missing.
    pub(crate) fn check_change(
        &self,
        user: &UserName,
        before: &UserRights,
        after: &UserRights,
        root: &Root,
    ) -> Result<(), Error> {
        let role = self.role(user);
        if role == Role::Owner {
            return Ok(());
        }
        if after.role() > before.role() && !role.outranks(after.role()) {
            let problem = format!("the role {role} cannot give the role {}", after.role());
            return Err(Error::here(ErrorCode::Denied, problem));
        }
        let nothing = UserRights::default();
        let own = self.of(user).unwrap_or(&nothing);
        match after.missing_in(&[before, own], root) {
            Some(missing) => {
                let problem =
                    format!("{user} cannot give {missing}, because {user} does not have that");
                Err(Error::here(ErrorCode::Denied, problem))
            }
            None => Ok(()),
        }
    }
}

impl UserRights {
    /// Whether these rights, or the role, go beyond those of `before`. Blocking.
    pub(crate) fn exceeds(&self, before: &Self, root: &Root) -> bool {
        self.role() > before.role() || self.missing_in(&[before], root).is_some()
    }

    /// The first of these rights that none of `held` includes, as the file could state it.
    fn missing_in(&self, held: &[&Self], root: &Root) -> Option<String> {
        for (name, rule) in &self.words {
            let covers = |held: &&Self| {
                let own = held.words.get(name);
                own.is_some_and(|own| own.value.covers(&*rule.value))
            };
            if rule.value.is_granted() && !held.iter().any(covers) {
                return Some(format!("{name} = {}", rule.value.describe()));
            }
        }
        let quotas: Vec<Quota> = held.iter().map(|held| held.quota).collect();
        if !self.quota.is_within_one(&quotas) {
            return Some("a quota above their own".to_owned());
        }
        let folders: Vec<&[Grant]> = held.iter().map(|held| &held.files[..]).collect();
        let missing = missing_folder(&folders, &self.files, root)?;
        Some(format!("files = [{:?}]", missing.text))
    }
}

/// The first folder where `wanted` allows more than each of `held`.
///
/// The right to a folder is that of the nearest rule, so it can differ only where one of the rules
/// begins. Where `wanted` and one of `held` have the same rule, it does not differ. Folders are
/// compared by what they are on the disk: a link below a granted folder may lead anywhere.
fn missing_folder<'g>(held: &[&'g [Grant]], wanted: &'g [Grant], root: &Root) -> Option<&'g Grant> {
    let wanted_rules = rules_of(wanted);
    let held_rules: Vec<_> = held.iter().map(|held| rules_of(held)).collect();
    let is_common =
        |rule| wanted_rules.contains(&rule) && held_rules.iter().any(|rules| rules.contains(&rule));
    let folders = wanted.iter().chain(held.iter().copied().flatten());
    let mut folders = folders
        .filter(|folder| !is_common(rule_of(folder)))
        .peekable();
    folders.peek()?;
    let indexed = root.index(wanted);
    let held: Vec<GrantIndex<'_>> = held.iter().map(|held| root.index(held)).collect();
    folders.find(|folder| {
        // A folder that cannot be opened now may be opened later.
        let wanted = indexed.effective_grant(folder);
        let wanted = wanted.unwrap_or_else(|_| indexed.nearest_by_path(folder));
        wanted.is_some_and(|wanted| {
            let includes = |held: &GrantIndex<'_>| {
                let held = held.effective_grant(folder).ok().flatten();
                held.is_some_and(|held| held.is_writable >= wanted.is_writable)
            };
            !held.iter().any(includes)
        })
    })
}

/// A rule: whether its folder is absolute, the folder, and whether it is writable.
type Rule<'g> = (bool, &'g [Vec<u8>], bool);

fn rule_of(grant: &Grant) -> Rule<'_> {
    let Grant {
        folder,
        is_writable,
        ..
    } = grant;
    (folder.is_absolute(), folder.components(), *is_writable)
}

fn rules_of(grants: &[Grant]) -> HashSet<Rule<'_>> {
    grants.iter().map(rule_of).collect()
}
