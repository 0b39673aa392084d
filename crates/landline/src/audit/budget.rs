//! How many bytes of log each user may cause in a day.

use std::collections::HashMap;

use super::Priority;

/// The payer of activities that no logged-in user causes, such as refused logins.
const STRANGERS: &str = "*";

/// What the users have used up of a day, in UTC.
#[derive(Debug)]
pub(super) struct Budgets {
    bytes_per_day: u64,
    day: i64,
    used: HashMap<String, u64>,
}

impl Budgets {
    /// Nothing is used up.
    pub(super) fn new(bytes_per_day: u64) -> Self {
        Self {
            bytes_per_day,
            day: 0,
            used: HashMap::new(),
        }
    }

    /// Whether this user, or `None` for strangers, may cause another line. `day` counts since any
    /// fixed day.
    pub(super) fn admits(&mut self, user: Option<&str>, priority: Priority, day: i64) -> bool {
        if day != self.day {
            self.day = day;
            self.used.clear();
        }
        let used = self.used.get(user.unwrap_or(STRANGERS));
        priority == Priority::Exempt || used.is_none_or(|used| *used < self.bytes_per_day)
    }

    /// Counts a line that was written.
    pub(super) fn charge(&mut self, user: Option<&str>, priority: Priority, bytes: u64) {
        if priority == Priority::Exempt {
            return;
        }
        let user = user.unwrap_or(STRANGERS);
        match self.used.get_mut(user) {
            Some(used) => *used = used.saturating_add(bytes),
            None => drop(self.used.insert(user.to_owned(), bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves `audit-growth` in docs/faults.md.
    #[test]
    fn budget_ends_with_its_bytes_and_begins_with_the_day() {
        let mut budgets = Budgets::new(100);
        let mut write = |user: Option<&'static str>, priority, day| {
            let is_admitted = budgets.admits(user, priority, day);
            if is_admitted {
                budgets.charge(user, priority, 60);
            }
            is_admitted
        };
        let (alice, limited) = (Some("alice"), Priority::Limited);
        assert_eq!(
            [1, 1, 1].map(|day| write(alice, limited, day)),
            [true, true, false]
        );
        assert!(
            write(Some("bob"), limited, 1),
            "bob has a budget of his own"
        );
        assert_eq!(
            [1, 1, 1].map(|day| write(None, limited, day)),
            [true, true, false]
        );
        assert!(write(alice, Priority::Exempt, 1));
        assert!(!write(alice, Priority::Admin, 1));
        assert!(write(alice, limited, 2), "it is another day");
    }
}
