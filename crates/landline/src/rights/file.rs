//! The file of a server, and the rules in force.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use landline_proto::{ErrorCode, login::UserName};
use tokio::sync::watch;
use toml_edit::DocumentMut;

use super::{FirstRights, Quota, RightWords, Rights, Role};
use crate::{
    Error,
    activity::Activity,
    audit::{Audit, LineHash, Priority},
    paths::{FileWatch, PrivateFolder, SourceIdentity},
};

/// The file's name in the server's state folder.
const NAME: &str = "rights.toml";
/// Says that the owner's first rights were written, so that they are not written again when
/// somebody has taken them away.
const GIVEN: &str = "rights.given";
/// The largest file that is read. No larger one is written.
const BYTES_MAX: usize = 1 << 20;
/// How long a file that has changed has to rest: an editor may be in the middle of writing it.
const REST_TIME: Duration = Duration::from_millis(100);

/// What a new file begins with.
const BEGINNING: &str = r#"# Who may do what on this machine. What is not granted here is denied.
# The server reads it again when it changes, and on SIGHUP. A mistake keeps the earlier rules in force, and is reported.
# `landline check USER ACTION` says what is allowed, and by which line. All of it is told in docs/rights.md.
#
# [users.alice]
# role = "admin"                    # owner, admin, helper (sees and ends sessions) or user
# home = "/srv/alice"               # what ~ means for alice
# files = ["rw:~", "r:/srv"]        # the nearest folder counts
# exec = [["git", "..."], ["df"]]   # word by word; or "any", for every command
# chat = true
#
# [users.alice.quota]
# bytes = "10 GiB"
# files = 1000
# sessions = 4
# rate = "50 MiB/s"
"#;

/// The rules of a server, as its file says them: read when it is opened, and whenever
/// [`reload`](Self::reload) is called. A broken file keeps the rules that were in force, and so
/// does a change that cannot be written down.
pub struct RightsFile {
    folder: Arc<PrivateFolder>,
    /// The words that users may have.
    words: RightWords,
    /// Where a change is written down before it comes into force: the server's alone, since only
    /// its rules are in force.
    audit: Option<Audit>,
    rules: watch::Sender<Arc<Rights>>,
    /// Held from reading the file until what it says is in force, or was written: what was read
    /// last is what stays, and one change at a time is made.
    reloading: Mutex<()>,
    /// What the file was when it was last looked at, broken or not.
    seen: Mutex<Option<SourceIdentity>>,
    /// Why the file, as it was when it was last read, is not in force.
    problem: Mutex<Option<String>>,
}

/// Reads the rules of the server whose state is kept in `state`, without being that server. Users
/// have these words. Blocking.
///
/// # Errors
/// [`Error::State`] where there are none, or they are broken.
pub fn read_rules(state: &Path, words: &RightWords) -> Result<Rights, Error> {
    let path = state.join("server");
    let rules = PrivateFolder::open_existing(&path)?
        .map(|folder| read(&folder, words))
        .transpose()?
        .flatten();
    match rules {
        Some((rights, ..)) => Ok(rights),
        None => Err(Error::state(
            path.join(NAME).display(),
            "there are no rules yet; start the server once",
        )),
    }
}

impl RightsFile {
    /// Opens the file while no server runs, to look at it and to write to it. Where the file cannot
    /// be used, there are no rules, and the [problem](Self::problem) is to be reported: a typing
    /// error must not keep a user from being removed. Blocking.
    pub fn of_command(folder: Arc<PrivateFolder>, words: RightWords) -> Self {
        let file = Self::new(folder, words, None);
        // It is kept as the problem.
        let _ = file.reload();
        file
    }

    /// Opens the file for the server, making it on first use. The owner, once there is one, gets
    /// the first rights, once. No rules come into force that are not in the audit log, durably.
    /// Until the first are, there are none, and the file [has changed](Self::has_changed).
    /// Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where the file is broken, others can write to it, or it is gone; `audit`
    /// where the owner's first rights cannot be written down.
    pub fn of_server(
        folder: Arc<PrivateFolder>,
        words: RightWords,
        audit: Audit,
        owner: Option<&UserName>,
    ) -> Result<Self, Error> {
        match read(&folder, &words)? {
            Some(_) => {}
            None if folder.identity(GIVEN).is_some() => {
                let problem = "is gone; put it back, or make an empty file (mode 600) in which nobody may do anything";
                return Err(Error::state(folder.path_of(NAME).display(), problem));
            }
            None => folder.write(NAME, BEGINNING.as_bytes())?,
        }
        let file = Self::new(folder, words, Some(audit));
        match file.reload() {
            Err(Error::Failed {
                code: ErrorCode::Audit,
                ..
            }) => {}
            loaded => drop(loaded?),
        }
        if let Some(owner) = owner {
            file.give_the_owner(owner)?;
        }
        Ok(file)
    }

    fn new(folder: Arc<PrivateFolder>, words: RightWords, audit: Option<Audit>) -> Self {
        let (rules, _) = watch::channel(Arc::default());
        Self {
            folder,
            words,
            audit,
            rules,
            reloading: Mutex::new(()),
            seen: Mutex::new(None),
            problem: Mutex::new(None),
        }
    }

    /// Why the rules of the file are not in force, where it was read in vain. Then the earlier
    /// rules are; a command has none.
    pub fn problem(&self) -> Option<String> {
        self.problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reports changes of the file, whoever makes them. Blocking.
    ///
    /// # Errors
    /// What the system says, and `Unsupported` where it reports none.
    pub(crate) fn watch_file(&self) -> io::Result<FileWatch> {
        FileWatch::new(&self.folder, NAME)
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path_of(NAME)
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<Rights> {
        self.rules.borrow().clone()
    }

    /// Whether the file, as it is now, names this user. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where it is broken or gone.
    pub(crate) fn knows(&self, user: &UserName) -> Result<bool, Error> {
        match self.read()? {
            Some((rules, ..)) => Ok(rules.of(user).is_some()),
            None => Err(Error::state(self.path().display(), "is gone; put it back")),
        }
    }

    /// The rules in force, and whatever comes into force later.
    pub fn watch(&self) -> watch::Receiver<Arc<Rights>> {
        self.rules.subscribe()
    }

    /// A user's role.
    pub fn role(&self, user: &UserName) -> Role {
        self.rules.borrow().role(user)
    }

    /// A user's upper limits.
    pub(crate) fn quota(&self, user: &UserName) -> Quota {
        self.rules.borrow().quota(user)
    }

    /// Puts what the file says into force, once that is written down. Blocking.
    ///
    /// # Errors
    /// [`Error::State`], with the place where the file is broken; `audit` where the change cannot
    /// be written down, and then the file [has changed](Self::has_changed) still. The earlier
    /// rules stay in force.
    pub fn reload(&self) -> Result<Arc<Rights>, Error> {
        let _reloading = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.load(None)
    }

    /// As [`reload`](Self::reload), which the caller keeps others from. What is `recorded` is
    /// written down already.
    fn load(&self, recorded: Option<&str>) -> Result<Arc<Rights>, Error> {
        let loaded = self.try_load(recorded);
        let problem = loaded.as_ref().err().map(ToString::to_string);
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
        loaded
    }

    fn try_load(&self, recorded: Option<&str>) -> Result<Arc<Rights>, Error> {
        let looked_at = self.folder.identity(NAME);
        let read = self.read();
        // What is wrong with the file stays wrong until it changes; what kept it from being read
        // does not.
        self.see(if matches!(read, Err(Unread::ForNow(_))) {
            None
        } else {
            looked_at
        });
        let Some((rules, text, seen)) = read? else {
            return Err(Error::state(
                self.path().display(),
                "is gone; the earlier rules stay in force",
            ));
        };
        let is_new = **self.rules.borrow() != rules;
        if is_new && recorded != Some(&*text) {
            // It was not looked at, then: it is tried again.
            self.record_change(&rules, &text)
                .inspect_err(|_| self.see(None))?;
        }
        self.see(Some(seen));
        let rules = Arc::new(rules);
        if is_new {
            let loaded = Activity::RightsLoaded {
                users: rules.user_count(),
                hash: LineHash::of(text.as_bytes()).to_string(),
            };
            self.rules.send_modify(|current| {
                current.clone_from(&rules);
                // Here it is after the change, and before what the change ends.
                if let Some(audit) = &self.audit {
                    audit.note(loaded, Priority::Exempt);
                }
            });
        }
        Ok(rules)
    }

    /// Records which rules are about to come into force, durably.
    fn record_change(&self, rules: &Rights, text: &str) -> Result<(), Error> {
        self.record(Activity::RightsChange {
            users: rules.user_count(),
            hash: LineHash::of(text.as_bytes()).to_string(),
        })
    }

    fn record(&self, activity: Activity) -> Result<(), Error> {
        match &self.audit {
            Some(audit) => audit.record_blocking(activity, Priority::Exempt),
            None => Ok(()),
        }
    }

    /// Whether the file is another one than when it was last looked at. Blocking.
    pub fn has_changed(&self) -> bool {
        self.folder.identity(NAME) != *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the file has not changed for [`REST_TIME`]. Blocking.
    pub(crate) fn wait_for_rest(&self) {
        let mut before = self.folder.identity(NAME);
        loop {
            std::thread::sleep(REST_TIME);
            let now = self.folder.identity(NAME);
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// Writes a new user's first rights at the end of the file, and puts them into force. A user
    /// who stands there already keeps what is written. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where the file is broken or would be; `rights-full`, `audit`; it is as it
    /// was then.
    pub fn grant(&self, user: &UserName, first: &FirstRights) -> Result<(), Error> {
        self.change(|rules, text| match rules.of(user) {
            Some(_) => None,
            None => Some(format!("{}\n\n{}", text.trim_end(), first.text(user))),
        })
    }

    /// Takes a user out of the file, with all rights, and puts that into force; comments at its
    /// beginning and about others stay. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where the file is broken; `audit`; it is as it was then.
    pub fn withdraw(&self, user: &UserName) -> Result<(), Error> {
        self.change(|_, text| {
            let mut document: DocumentMut = text.parse().ok()?;
            let users = document.get_mut("users")?.as_table_like_mut()?;
            let is_meant = |name: &str| name.eq_ignore_ascii_case(user.as_str());
            let name = users.iter().find(|(name, _)| is_meant(name))?.0.to_owned();
            let removed = users.remove(&name)?;
            // What stands above the table goes with it, unless that is what the file begins with.
            let above = removed
                .as_table()
                .and_then(|table| table.decor().prefix()?.as_str())
                .unwrap_or_default();
            let kept = if text.starts_with(above) { above } else { "" };
            Some(format!("{kept}{document}"))
        })
    }

    /// Gives the owner the first rights, if that has not happened before. Blocking.
    ///
    /// # Errors
    /// As [`grant`](Self::grant).
    pub fn give_the_owner(&self, owner: &UserName) -> Result<(), Error> {
        if self.folder.identity(GIVEN).is_some() {
            return Ok(());
        }
        self.record(Activity::Admin {
            user: None,
            session: None,
            action: "rights-give".to_owned(),
            subject: owner.to_string(),
            detail: None,
        })?;
        self.grant(owner, &FirstRights::of_the_owner())?;
        Ok(self.folder.write(GIVEN, format!("{owner}\n").as_bytes())?)
    }

    /// Rewrites the file, unless `edit` says that there is nothing to do, and puts it into force
    /// with whatever somebody else has changed there. It is in the audit log before it is in the
    /// file: nobody hears of a failure and has the right all the same, later.
    fn change(&self, edit: impl FnOnce(&Rights, &str) -> Option<String>) -> Result<(), Error> {
        let _reloading = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some((rules, text, _)) = self.read()? else {
            return Err(Error::state(self.path().display(), "is gone; put it back"));
        };
        let Some(text) = edit(&rules, &text) else {
            return Ok(());
        };
        if text.len() > BYTES_MAX {
            let problem = format!(
                "{} would be larger than 1 MiB, and then it could not be read",
                self.path().display()
            );
            return Err(Error::here(ErrorCode::RightsFull, problem));
        }
        self.record_change(&parse(&self.folder, &text, &self.words)?, &text)?;
        self.folder.write(NAME, text.as_bytes())?;
        self.load(Some(&text)).map(drop)
    }

    fn read(&self) -> Result<Option<(Rights, String, SourceIdentity)>, Unread> {
        read(&self.folder, &self.words)
    }

    fn see(&self, identity: Option<SourceIdentity>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }
}

impl fmt::Debug for RightsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RightsFile")
            .field("folder", &self.folder)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// Why there are no rules.
enum Unread {
    /// The file is what is wrong.
    Broken(Error),
    /// Something keeps it from being read, such as too many open files. It may pass.
    ForNow(Error),
}

impl From<Unread> for Error {
    fn from(unread: Unread) -> Self {
        let (Unread::Broken(error) | Unread::ForNow(error)) = unread;
        error
    }
}

/// The rules, the text and what the file is; `None` where there is no file.
fn read(
    folder: &PrivateFolder,
    words: &RightWords,
) -> Result<Option<(Rights, String, SourceIdentity)>, Unread> {
    let bad = |problem: &dyn fmt::Display| Error::state(folder.path_of(NAME).display(), problem);
    let read = folder
        .read_trusted(NAME, BYTES_MAX as u64)
        .map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => Unread::Broken(bad(&error)),
            _ => Unread::ForNow(bad(&error)),
        })?;
    let Some((bytes, identity)) = read else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error
            .as_bytes()
            .iter()
            .take(at)
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Unread::Broken(bad(&format!("line {line} is not UTF-8")))
    })?;
    Ok(Some((
        parse(folder, &text, words).map_err(Unread::Broken)?,
        text,
        identity,
    )))
}

fn parse(folder: &PrivateFolder, text: &str, words: &RightWords) -> Result<Rights, Error> {
    Rights::parse(text, words).map_err(|error| Error::state(folder.path_of(NAME).display(), error))
}
