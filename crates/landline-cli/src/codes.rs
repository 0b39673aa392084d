//! The codes of failures, and the exit status that each leads to.

/// The exit statuses with their codes. Scripts depend on both, so none is ever renamed.
///
/// `docs/scripting.md` has the same table.
const STATUSES: &[(u8, &[&str])] = &[
    (
        1,
        &[
            "incomplete",
            "limit",
            "local",
            "no-home",
            "no-invite",
            "no-systemd",
            "not-installed",
            "not-running",
            "not-started",
            "not-whole",
            "service-failed",
            "ssh-config",
            "target-changed",
            "unknown",
        ],
    ),
    (
        2,
        &[
            "usage",
            "settings",
            "address",
            "ambiguous-server",
            "invite",
            "unknown-user",
        ],
    ),
    (
        10,
        &["connect", "lost", "open-timeout", "ssh", "unreachable"],
    ),
    (
        11,
        &[
            "unknown-server",
            "server-changed",
            "server-unproven",
            "secret-unproven",
            "not-trusted",
        ],
    ),
    (
        12,
        &[
            "login-refused",
            "login-timeout",
            "shut-out",
            "too-many-guesses",
            "invite-unknown",
            "invite-used",
            "invite-expired",
            "invite-user",
        ],
    ),
    (
        13,
        &[
            "frame-size",
            "bad-header",
            "body-size",
            "unexpected-message",
            "dialect",
        ],
    ),
    (
        14,
        &[
            "version",
            "method",
            "unknown-service",
            "tls",
            "platform",
            "no-shell",
        ],
    ),
    (20, &["not-found", "not-sent", "no-program"]),
    (21, &["not-a-file", "not-a-folder", "not-executable"]),
    (22, &["exists", "name-taken"]),
    (
        23,
        &["denied", "last-owner", "credential-limited", "name-refused"],
    ),
    (24, &["no-space", "rights-full"]),
    (25, &["digest-mismatch"]),
    (26, &["source-changed"]),
    (27, &["io", "not-empty", "not-stored", "task"]),
    (
        28,
        &["source-empty", "target-home", "mass-delete", "max-delete"],
    ),
    (30, &["listen"]),
    (31, &["state", "in-use", "no-server"]),
    (
        32,
        &[
            "key",
            "key-locked",
            "key-refused",
            "no-key",
            "agent",
            "secret",
            "password",
            "no-terminal",
        ],
    ),
    (33, &["draining"]),
    (34, &["superseded"]),
    (35, &["ended"]),
    (36, &["audit", "audit-quota"]),
    (37, &["audit-changed"]),
    (38, &["too-many-sessions", "too-many-jobs"]),
    (40, &["control"]),
    (130, &["interrupted"]),
];

/// The exit status of a failure with this code; 1 for a code of a later release.
pub(crate) fn status_of(code: &str) -> u8 {
    STATUSES
        .iter()
        .find(|(_, codes)| codes.contains(&code))
        .map_or(1, |(status, _)| *status)
}

#[cfg(test)]
mod tests {
    use landline::proto::ErrorCode;

    use super::*;
    use crate::arguments::EXIT_STATUS;

    #[test]
    fn every_code_of_the_protocol_is_in_the_table() {
        for code in ErrorCode::ALL {
            let code = code.as_str();
            let is_there = STATUSES.iter().any(|(_, codes)| codes.contains(&code));
            assert!(is_there, "{code}");
        }
    }

    #[test]
    fn statuses_and_codes_are_documented() {
        let scripting = include_str!("../../../docs/scripting.md");
        for (status, codes) in STATUSES {
            let row = format!("| {status} | `{}` |", codes.join("`, `"));
            assert!(
                scripting.lines().any(|line| line == row),
                "docs/scripting.md has no line {row}"
            );
            let words: Vec<&str> = EXIT_STATUS.split_whitespace().collect();
            assert!(words.contains(&status.to_string().as_str()), "{status}");
        }
    }
}
