//! What happens on a server, as one line for people.

use landline::{activity::Activity, proto::Name};

/// The most characters of a command that are printed.
const COMMAND_CHARACTERS_MAX: usize = 1000;

/// Describes an activity for people.
pub(crate) fn describe(activity: &Activity) -> String {
    match activity {
        Activity::Started { release } => format!("{release} started"),
        Activity::Stopped {} => "stopped".to_owned(),
        Activity::Draining { connections } => {
            format!("draining; {connections} connections are open")
        }
        Activity::Gap { problem } => format!("audit log verification failed: {problem}"),
        Activity::Cut { through, bytes, .. } => {
            format!("audit log: removed the lines up to {through} ({bytes} bytes)")
        }
        Activity::Login {
            user,
            key,
            peer,
            session,
            invited,
            ..
        } => {
            let how = if *invited { "joined" } else { "logged in" };
            format!("{session} {user} {how} from {peer} with {key}")
        }
        Activity::Attached {
            user,
            peer,
            session,
        } => format!("{session} {user} attached from {peer}"),
        Activity::Disconnected { user, session } => format!("{session} {user} lost its connection"),
        Activity::Logout { user, session } => format!("{session} {user} logged out"),
        Activity::Refused {
            peer,
            code,
            message,
            ..
        } => format!("refused {peer}: {message} ({code})"),
        Activity::TransferStart { .. }
        | Activity::Transfer { .. }
        | Activity::RunStart { .. }
        | Activity::RunEnd { .. }
        | Activity::JobSignal { .. }
        | Activity::JobAttach { .. }
        | Activity::JobHandOver { .. }
        | Activity::JobWatch { .. }
        | Activity::JobForget { .. }
        | Activity::JobUnreadable { .. } => describe_work(activity),
        Activity::FilesRead { .. }
        | Activity::FilesChange { .. }
        | Activity::FilesChanged { .. }
        | Activity::Tree { .. } => describe_files(activity),
        Activity::ForwardStart { .. }
        | Activity::ForwardEnd { .. }
        | Activity::ForwardListen { .. } => describe_forward(activity),
        Activity::Failed {
            user,
            session,
            code,
            message,
        } => format!("{session} {user} failed: {message} ({code})"),
        Activity::Admin {
            user,
            session,
            action,
            subject,
            ..
        } => {
            let who = user.as_ref().map_or("this machine", |user| user.as_str());
            let session = session.as_deref().unwrap_or("-");
            format!("{session} {who} {action} {subject}")
        }
        Activity::RightsChange { users, .. } => format!("rights change: {users} users"),
        Activity::RightsLoaded { users, .. } => format!("rights loaded: {users} users"),
        Activity::RightsRefused { message } => {
            format!("rights not loaded, the earlier ones still apply: {message}")
        }
        Activity::RevocationFailed { message } => {
            format!("cannot check which sessions are still valid: {message}")
        }
        Activity::Suppressed {
            source,
            of,
            code,
            count,
            since,
        } => format!("{count} more {of} {code} from {source} since {since}"),
        other => format!("{other:?}"),
    }
}

/// Where something was moved to.
fn describe_new_path(to: Option<&Name>) -> String {
    to.map_or_else(String::new, |to| {
        format!(" to {}", String::from_utf8_lossy(&to.0))
    })
}

/// Describes work on files for people.
fn describe_files(activity: &Activity) -> String {
    match activity {
        Activity::FilesRead {
            user,
            session,
            action,
            path,
        } => {
            let path = String::from_utf8_lossy(&path.0);
            format!("{session} {user} asks for {} {path}", action.as_str())
        }
        Activity::FilesChange {
            user,
            session,
            action,
            path,
            to,
        } => {
            let to = describe_new_path(to.as_ref());
            let path = String::from_utf8_lossy(&path.0);
            format!("{session} {user} starts {} {path}{to}", action.as_str())
        }
        Activity::FilesChanged {
            user,
            session,
            action,
            path,
            to,
            entries,
            failures,
        } => {
            let to = describe_new_path(to.as_ref());
            let (action, path) = (action.as_str(), String::from_utf8_lossy(&path.0));
            format!("{session} {user} {action} {path}{to}: {entries} entries, {failures} failures")
        }
        Activity::Tree {
            user,
            session,
            direction,
            path,
            entries,
            files,
            bytes,
            removed,
            failures,
            digest,
        } => {
            let (direction, path) = (direction.as_str(), String::from_utf8_lossy(&path.0));
            format!(
                "{session} {user} {direction} {path}: {files} of {entries} entries copied, {bytes} \
                 bytes, {removed} removed, {failures} failures, {digest}"
            )
        }
        other => format!("{other:?}"),
    }
}

/// Describes a copy or a command for people.
fn describe_work(activity: &Activity) -> String {
    match activity {
        Activity::TransferStart {
            user,
            session,
            direction,
            path,
            ..
        } => {
            let path = String::from_utf8_lossy(&path.0);
            format!("{session} {user} starts {} {path}", direction.as_str())
        }
        Activity::Transfer {
            user,
            session,
            direction,
            path,
            length,
            digest,
        } => {
            let (direction, path) = (direction.as_str(), String::from_utf8_lossy(&path.0));
            format!("{session} {user} {direction} {path}: {length} bytes, {digest}")
        }
        Activity::RunStart {
            user,
            session,
            job,
            command,
            detached,
            ..
        } => {
            let line = String::from_utf8_lossy(&command.0);
            let mut command: String = line.chars().take(COMMAND_CHARACTERS_MAX).collect();
            if command.len() < line.len() {
                command.push('…');
            }
            let detached = if *detached { " detached" } else { "" };
            format!("{session} {user} runs {job}{detached}: {command}")
        }
        Activity::RunEnd {
            user,
            session,
            job,
            status,
            ..
        } => {
            let status = status.as_deref().unwrap_or("with its session");
            format!("{session} {user} {job} ended: {status}")
        }
        Activity::JobSignal {
            user,
            session,
            job,
            signal,
            tree,
        } => {
            let whole = if *tree { " and ends all of it" } else { "" };
            format!("{session} {user} sends SIG{signal} to {job}{whole}")
        }
        Activity::JobAttach {
            user,
            session,
            job,
            owner,
        } => {
            let of = owner.as_ref().map(|owner| format!(" of {owner}"));
            let of = of.unwrap_or_default();
            format!("{session} {user} attaches to {job}{of}")
        }
        Activity::JobHandOver {
            user,
            session,
            job,
            to,
        } if user == to => format!("{session} {user} takes the keyboard of {job} back"),
        Activity::JobHandOver {
            user,
            session,
            job,
            to,
        } => format!("{session} {user} hands the keyboard of {job} to {to}"),
        Activity::JobWatch {
            user,
            session,
            job,
            owner,
        } => format!("{session} {user} watches {job} of {owner}"),
        Activity::JobForget { user, session, job } => {
            format!("{session} {user} removes {job}")
        }
        Activity::JobUnreadable { job, message } => {
            format!("the folder of job {job} cannot be used: {message}")
        }
        other => format!("{other:?}"),
    }
}

/// Describes a forwarded connection for people.
fn describe_forward(activity: &Activity) -> String {
    match activity {
        Activity::ForwardStart {
            user,
            session,
            connection,
            target,
            address,
            incoming,
        } => {
            let (from, to) = if *incoming {
                (format!(" from {address}"), format!(" at {target}"))
            } else {
                (String::new(), format!(" to {target} ({address})"))
            };
            format!("{session} {user} connection {connection}{from}{to}")
        }
        Activity::ForwardEnd {
            user,
            session,
            connection,
            sent,
            received,
            reset,
        } => {
            let how = if *reset { "reset" } else { "ended" };
            format!(
                "{session} {user} connection {connection} {how}: {sent} bytes sent, {received} received"
            )
        }
        Activity::ForwardListen {
            user,
            session,
            address,
        } => format!("{session} {user} listens on {address}"),
        other => format!("{other:?}"),
    }
}
