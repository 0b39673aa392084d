//! Activities as a user may see them.

use std::sync::Arc;

use landline_proto::login::UserName;
use tokio::sync::broadcast;

use crate::{
    activity::{Activity, Record},
    rights::{Right, RightsFile, Role},
};

/// The activities that one user may see, in the order of the log.
pub struct Subscription {
    records: broadcast::Receiver<Arc<Record>>,
    user: UserName,
    rights: Arc<RightsFile>,
}

/// The next item of a [`Subscription`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// An activity.
    Record(Arc<Record>),
    /// The subscriber was too slow and has lost so many activities, seen or not.
    Lost(u64),
}

impl Subscription {
    pub(super) fn new(
        records: broadcast::Receiver<Arc<Record>>,
        user: UserName,
        rights: Arc<RightsFile>,
    ) -> Self {
        Self {
            records,
            user,
            rights,
        }
    }

    /// Waits for the next activity that the user may see by the rights of that moment; `None` once
    /// the server stops.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Published> {
        loop {
            match self.records.recv().await {
                Ok(record) if self.may_see(&record.activity) => {
                    return Some(Published::Record(record));
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    return Some(Published::Lost(lost));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Users see their own activities, and those of others by their right.
    fn may_see(&self, activity: &Activity) -> bool {
        let rules = self.rights.rules();
        activity.user() == Some(&self.user) || rules.has(&self.user, needed_right(activity))
    }
}

/// The right to see an activity of another user, or of the server.
///
/// Helpers list and end sessions, so they see who comes and goes. Only admins see what users do and
/// who is refused. What concerns the log and the rights file is for owners.
fn needed_right(activity: &Activity) -> Right {
    Right::Role(role_to_see(activity.name()))
}

/// The role that sees activities of this name which are not its own.
pub(crate) fn role_to_see(event: &str) -> Role {
    match event {
        "started" | "stopped" | "draining" | "login" | "attached" | "disconnected" | "logout" => {
            Role::Helper
        }
        "refused" | "transfer-start" | "transfer" | "files-read" | "files-change"
        | "files-changed" | "tree" | "run-start" | "run-end" | "job-signal" | "job-attach"
        | "job-watch" | "job-hand-over" | "job-forget" | "job-unreadable" | "forward-start"
        | "forward-end" | "forward-listen" | "failed" | "admin" | "suppressed" => Role::Admin,
        _ => Role::Owner,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{Audit, AuditOptions, Priority},
        paths::{PrivateFolder, TempDir},
        rights::RightWords,
    };

    fn name(text: &str) -> UserName {
        text.parse().unwrap()
    }

    fn logout(user: &str) -> Activity {
        Activity::Logout {
            user: name(user),
            session: "1".into(),
        }
    }

    fn failed(user: &str) -> Activity {
        Activity::Failed {
            user: name(user),
            session: "1".into(),
            code: "denied".into(),
            message: String::new(),
        }
    }

    /// The table in the documentation says who sees what.
    #[test]
    fn documented_roles_see_activities() {
        let documentation = include_str!("../../../../docs/audit.md");
        let rows = documentation.lines().filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| `")?.split(" | ").collect();
            let event = cells.first()?.trim_end_matches('`');
            Some((event, *cells.get(3)?))
        });
        let mut count = 0;
        for (event, who) in rows {
            let role = match who.trim_end_matches(" |") {
                "helpers" => Role::Helper,
                "admins" => Role::Admin,
                "owners" => Role::Owner,
                _ => continue,
            };
            assert_eq!(role_to_see(event), role, "{event}");
            count += 1;
        }
        assert!(count >= 30, "{count}");
    }

    /// A changed role applies to the next activity.
    #[tokio::test]
    async fn subscribers_see_what_their_role_allows() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let folder = scratch.create_folder("state").unwrap();
        let folder = Arc::new(PrivateFolder::open_or_create(&folder).unwrap());
        let (audit, _) = Audit::open(&folder, &AuditOptions::default()).unwrap();
        let owner = name("olga");
        let words = RightWords::default();
        let rights = RightsFile::of_server(folder.clone(), words, audit.clone(), Some(&owner));
        let rights = Arc::new(rights.unwrap());
        let set = |roles: &str| {
            folder.write("rights.toml", roles.as_bytes()).unwrap();
            rights.reload().unwrap();
        };
        let roles = "[users.olga]\nrole = \"owner\"\n[users.adam]\nrole = \"admin\"\n[users.helen]\nrole = \"helper\"\n[users.bob]\n";
        set(roles);
        // The log is written in order, so the report of the rights is published before this ends.
        audit
            .record_blocking(logout("carol"), Priority::Exempt)
            .unwrap();
        let users = ["olga", "adam", "helen", "bob"];
        let mut subscriptions =
            users.map(|user| Subscription::new(audit.subscribe(), name(user), rights.clone()));
        let happens = [
            Activity::Draining { connections: 1 },
            logout("carol"),
            failed("carol"),
            failed("bob"),
            Activity::RevocationFailed {
                message: String::new(),
            },
            // Everybody sees this one of their own.
            logout("bob"),
        ];
        for activity in &happens {
            audit
                .record_blocking(activity.clone(), Priority::Exempt)
                .unwrap();
        }
        // The last one that each may see tells that there are no more.
        let seen: [&[usize]; 4] = [&[0, 1, 2, 3, 4, 5], &[0, 1, 2, 3, 5], &[0, 1, 5], &[3, 5]];
        for (subscription, seen) in subscriptions.iter_mut().zip(seen) {
            for index in seen {
                let Some(Published::Record(record)) = subscription.next().await else {
                    panic!("a record");
                };
                assert_eq!(record.activity, happens[*index], "{}", subscription.user);
                assert!(record.seq.is_some());
            }
        }

        set(&roles.replace("admin", "user"));
        let [_, adam, ..] = &mut subscriptions;
        for activity in [failed("carol"), logout("carol"), failed("adam")] {
            audit.record_blocking(activity, Priority::Exempt).unwrap();
        }
        let Some(Published::Record(record)) = adam.next().await else {
            panic!("a record");
        };
        assert_eq!(record.activity, failed("adam"), "an admin no more");
    }
}
