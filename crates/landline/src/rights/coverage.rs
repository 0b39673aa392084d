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
        let is_same = |own: &&Grant| own.is_same_place(grant) && includes(own);
        let is_held = || root.holder_of_grant(own, grant).is_ok_and(includes);
        own.iter().find(is_same).is_none() && !is_held()
    };
    // A folder that is granted to read, within one that is granted to write.
    let is_narrower = |grant: &Grant| {
        let holder = root.holder_of_grant(wanted, grant).ok()?;
        (holder.is_writable && !grant.is_writable).then_some(holder)
    };
    wanted
        .iter()
        .find(is_missing)
        .or_else(|| own.iter().find_map(is_narrower))
}

#[cfg(test)]
mod tests {
    use testkit::Stage;

    use super::*;
    use crate::rights::{RightWords, WORDS_WITHOUT_SERVICE};

    fn user(name: &str) -> UserName {
        name.parse().unwrap()
    }

    /// A home with folders, and a folder elsewhere with a link that leads out.
    fn stage_with_folders() -> (Stage, Root) {
        let stage = Stage::new("unused");
        for folder in ["home/a/b", "srv/in", "outside"] {
            std::fs::create_dir_all(stage.path(folder)).unwrap();
        }
        std::os::unix::fs::symlink("../outside", stage.path("srv/out")).unwrap();
        std::os::unix::fs::symlink(stage.path("home/a"), stage.path("alias")).unwrap();
        let root = Root::open(&stage.home(), &stage.path("server")).unwrap();
        (stage, root)
    }

    /// Whether an admin with the one table may make an account with the other one.
    fn may_give(stage: &Stage, root: &Root, own: &str, wanted: &str) -> bool {
        let text = format!("[users.admin]\nrole = \"admin\"\n{own}\n[users.bob]\n{wanted}\n");
        let text = text.replace('@', stage.path("").to_str().unwrap().trim_end_matches('/'));
        let words = RightWords::new(WORDS_WITHOUT_SERVICE).unwrap();
        let rights = Rights::parse(&text, &words).expect(&text);
        let wanted = rights.of(&user("bob")).unwrap();
        rights.check_grant(&user("admin"), wanted, root).is_ok()
    }

    /// Proves `role-escalation` in docs/faults.md.
    #[test]
    fn nobody_gives_a_folder_that_they_do_not_have() {
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
            // A link below a granted folder leads somewhere else.
            ("rw:@/srv", "r:@/srv/out", false),
            // The home and its path are the same folder.
            ("rw:~/a", "rw:@/home/a/b", true),
            ("rw:@/home/a", "rw:~/a/b", true),
            ("rw:~/a", "rw:~", false),
            ("rw:~/a", "rw:~/new", false),
            // What is closed within stays closed.
            ("rw:~ r:~/a", "rw:~", false),
            ("rw:~ r:~/a", "rw:~ r:~/a", true),
            ("rw:~ r:~/a", "rw:~ r:@/home/a", true),
            ("rw:~ r:@/alias", "rw:~", false),
            ("rw:~ r:~/a", "r:~", true),
            ("rw:~ r:~/a", "rw:~/a/b", false),
        ] {
            let files = |list: &str| {
                let folders: Vec<String> = list
                    .split_whitespace()
                    .map(|folder| format!("{folder:?}"))
                    .collect();
                format!("files = [{}]", folders.join(", "))
            };
            let decided = may_give(&stage, &root, &files(own), &files(wanted));
            assert_eq!(decided, is_allowed, "{own:?} gives {wanted:?}");
        }
    }

    /// Proves `role-escalation` in docs/faults.md.
    #[test]
    fn nobody_gives_a_word_quota_or_role_that_they_do_not_have() {
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
        let wanted = rights.of(&user("b")).unwrap();
        assert!(rights.check_grant(&user("o"), wanted, &root).is_ok());
        for name in ["h", "nobody"] {
            let nothing = UserRights::default();
            let refused = rights.check_grant(&user(name), wanted, &root);
            assert!(refused.is_err(), "{name}");
            let to_user = rights.check_grant(&user(name), &nothing, &root);
            assert_eq!(to_user.is_ok(), name == "h");
        }
    }
}
