//! The rights file of a server, and the rules in force.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use landline_proto::{ErrorCode, login::UserName};
use tokio::sync::watch;
use toml_edit::DocumentMut;

use super::{EXEC, GivenRights, Quota, RevokedRights, RightWords, Rights, Role};
use crate::{
    Error,
    activity::Activity,
    audit::{Audit, LineHash, Priority},
    paths::{FileWatch, PrivateFolder, SourceIdentity},
};

/// The file's name in the server's state folder.
const NAME: &str = "rights.toml";
/// The file that marks that the owner has got the initial rights.
///
/// They are not granted again after an admin has removed them.
const GIVEN: &str = "rights.given";
/// The largest file to read or write.
const BYTES_MAX: usize = 1 << 20;
/// How long a changed file must stay the same before it is read.
///
/// An editor may still be writing it.
const REST_TIME: Duration = Duration::from_millis(100);

/// The text of a new file.
const BEGINNING: &str = r#"# The rights of users on this machine. Everything that is not granted here is denied.
# The server reads this file again when it changes, and on SIGHUP. It reports an error in the file and keeps the earlier rules.
# `landline check USER ACTION` shows whether a user may do something, and by which line. See docs/rights.md.
#
# [users.alice]
# role = "admin"                    # owner, admin, helper (sees and ends sessions) or user
# home = "/srv/alice"               # what ~ means for alice
# files = ["rw:~", "r:/srv"]        # the nearest folder counts
# exec = [["git", "..."], ["df"]]   # word by word; or "any", for every command
# forward = ["db:5432"]             # hosts to connect to from here; or "any"
# chat = true
#
# [users.alice.quota]
# bytes = "10 GiB"
# files = 1000
# sessions = 4
# rate = "50 MiB/s"
"#;

/// The rights file of a server, with the rules in force.
///
/// It is read when it is opened, and by [`reload`](Self::reload). If the file is invalid, or the
/// change cannot be recorded, the earlier rules stay in force.
pub struct RightsFile {
    folder: Arc<PrivateFolder>,
    words: RightWords,
    /// Records a change before it comes into force. Only a server has it.
    audit: Option<Audit>,
    rules: watch::Sender<Arc<Rights>>,
    /// Held from reading the file until its rules are in force, so that the last read wins.
    reloading: Mutex<()>,
    /// The identity of the file when it was last read, valid or not.
    seen: Mutex<Option<SourceIdentity>>,
    /// Why the file is not in force, as of the last read.
    problem: Mutex<Option<String>>,
}

/// Reads the rules of the server that keeps its state in `state`, for a command; `None` if there is
/// no file.
///
/// # Errors
/// [`Error::State`] if the file is invalid.
///
/// # Blocking
/// Reads the disk.
pub fn read_rules(state: &Path, words: &RightWords) -> Result<Option<Rights>, Error> {
    let Some(folder) = PrivateFolder::open_existing(&state.join("server"))? else {
        return Ok(None);
    };
    Ok(read(&folder, words)?.map(|(rights, ..)| rights))
}

impl RightsFile {
    /// Opens the file for a command, while no server runs.
    ///
    /// If the file is invalid, there are no rules, and the command has to report the
    /// [problem](Self::problem). A typing error must not prevent the removal of a user.
    ///
    /// # Blocking
    /// Reads the disk.
    pub fn of_command(folder: Arc<PrivateFolder>, words: RightWords) -> Self {
        let file = Self::new(folder, words, None);
        // It is kept as the problem.
        let _ = file.reload();
        file
    }

    /// Opens the file for the server, and creates it on first use.
    ///
    /// The owner gets the initial rights once. Rules come into force only after they are in the
    /// audit log. Until then there are no rules, and the file [has changed](Self::has_changed).
    ///
    /// # Errors
    /// [`Error::State`] if the file is invalid, others can write to it, or it is gone; `audit` if
    /// the owner's initial rights cannot be recorded.
    ///
    /// # Blocking
    /// Reads and writes the disk.
    pub fn of_server(
        folder: Arc<PrivateFolder>,
        words: RightWords,
        audit: Audit,
        owner: Option<&UserName>,
    ) -> Result<Self, Error> {
        match read(&folder, &words)? {
            Some(_) => {}
            None if folder.identity(GIVEN).is_some() => {
                let problem =
                    "is gone; put it back, or make an empty file (mode 600), which gives no rights";
                return Err(Error::state(folder.path_of(NAME).display(), problem));
            }
            // If an admin puts one there at this moment, that one counts.
            None => drop(folder.write_new(NAME, BEGINNING.as_bytes())?),
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
            file.grant_owner(owner)?;
        }
        Ok(file)
    }

    /// The words that the file may hold.
    pub(crate) fn words(&self) -> &RightWords {
        &self.words
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

    /// Why the file is not in force, if the last read failed.
    ///
    /// A server then keeps the earlier rules; a command has none.
    pub fn problem(&self) -> Option<String> {
        self.problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Starts to watch the file for changes.
    ///
    /// # Errors
    /// Errors of the system, and `Unsupported` if it cannot watch files.
    ///
    /// # Blocking
    /// Reads the disk.
    pub(crate) fn watch_file(&self) -> io::Result<FileWatch> {
        FileWatch::new(&self.folder, NAME)
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path_of(NAME)
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<Rights> {
        self.rules.borrow().clone()
    }

    /// Whether the current file names this user.
    ///
    /// # Errors
    /// [`Error::State`] if the file is invalid or gone.
    ///
    /// # Blocking
    /// Reads the disk.
    pub(crate) fn knows(&self, user: &UserName) -> Result<bool, Error> {
        match self.read()? {
            Some((rules, ..)) => Ok(rules.of(user).is_some()),
            None => Err(Error::state(self.path().display(), "is gone; put it back")),
        }
    }

    /// Watches the rules in force.
    pub fn watch(&self) -> watch::Receiver<Arc<Rights>> {
        self.rules.subscribe()
    }

    /// A user's role.
    pub fn role(&self, user: &UserName) -> Role {
        self.rules.borrow().role(user)
    }

    /// A user's limits.
    pub(crate) fn quota(&self, user: &UserName) -> Quota {
        self.rules.borrow().quota(user)
    }

    /// Reads the file and puts its rules into force, after it has recorded the change.
    ///
    /// # Errors
    /// [`Error::State`], with the place where the file is invalid; `audit` if the change cannot be
    /// recorded. The file [has changed](Self::has_changed) still then. The earlier rules stay in
    /// force.
    ///
    /// # Blocking
    /// Reads the disk and waits for the audit log.
    pub fn reload(&self) -> Result<Arc<Rights>, Error> {
        let _reloading = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.load(None)
    }

    /// As [`reload`](Self::reload), while the caller holds the lock.
    ///
    /// Rules with the hash `recorded` are in the log already.
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

    /// Records durably which rules are about to come into force.
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

    /// Whether the file has changed since it was last read.
    ///
    /// # Blocking
    /// Reads the disk.
    pub fn has_changed(&self) -> bool {
        self.folder.identity(NAME) != *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the file has not changed for [`REST_TIME`].
    ///
    /// # Blocking
    /// Sleeps.
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

    /// Appends a new user's initial rights to the file, and puts them into force.
    ///
    /// A user whom the file names already keeps their rights.
    ///
    /// # Errors
    /// [`Error::State`] if the file is invalid; `name-refused` if it would be; `rights-full`,
    /// `audit`. The file is unchanged then.
    ///
    /// # Blocking
    /// Writes to the disk.
    pub fn grant(&self, user: &UserName, initial: &GivenRights) -> Result<(), Error> {
        let edit = |rules: &Rights, text: &str| {
            let is_new = rules.of(user).is_none();
            Ok(is_new.then(|| initial.edit(text, user)))
        };
        self.change(edit, |_, _| Ok(()))
    }

    /// Gives a user further rights, and puts them into force.
    ///
    /// `check` gets the rules before and after the change, and may refuse it.
    ///
    /// # Errors
    /// As [`grant`](Self::grant), and those of `check`.
    ///
    /// # Blocking
    /// Writes to the disk.
    pub(crate) fn give(
        &self,
        user: &UserName,
        given: &GivenRights,
        check: impl FnOnce(&Rights, &Rights) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.change(|_, text| Ok(Some(given.edit(text, user))), check)
    }

    /// Takes rights from a user, and puts that into force.
    ///
    /// # Errors
    /// As [`give`](Self::give); `not-found` if the user does not have one of them.
    ///
    /// # Blocking
    /// Writes to the disk.
    pub(crate) fn revoke(
        &self,
        user: &UserName,
        revoked: &RevokedRights,
        check: impl FnOnce(&Rights, &Rights) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.change(|_, text| revoked.edit(text, user).map(Some), check)
    }

    /// Removes a user from the file, and puts that into force.
    ///
    /// Comments at its beginning and about other users stay.
    ///
    /// # Errors
    /// [`Error::State`] if the file is invalid; `audit`. The file is unchanged then.
    ///
    /// # Blocking
    /// Writes to the disk.
    pub fn withdraw(&self, user: &UserName) -> Result<(), Error> {
        let edit = |_: &Rights, text: &str| Ok(without_user(text, user));
        self.change(edit, |_, _| Ok(()))
    }

    /// Grants the owner the initial rights, unless that has been done before.
    ///
    /// # Errors
    /// As [`grant`](Self::grant).
    ///
    /// # Blocking
    /// Writes to the disk.
    pub fn grant_owner(&self, owner: &UserName) -> Result<(), Error> {
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
        let initial = GivenRights {
            commands: self.words.find(EXEC.name).is_some(),
            ..GivenRights::owner_default()
        };
        self.grant(owner, &initial)?;
        Ok(self.folder.write(GIVEN, format!("{owner}\n").as_bytes())?)
    }

    /// Rewrites the file if `edit` returns a new text that `check` accepts, and puts it into force.
    ///
    /// Changes that other programs have made to the file come into force, too. The change is in
    /// the audit log before it is in the file, so that a change reported as failed is not made
    /// later.
    fn change(
        &self,
        edit: impl FnOnce(&Rights, &str) -> Result<Option<String>, Error>,
        check: impl FnOnce(&Rights, &Rights) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let _reloading = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some((rules, text, _)) = self.read()? else {
            return Err(Error::state(self.path().display(), "is gone; put it back"));
        };
        let Some(text) = edit(&rules, &text)? else {
            return Ok(());
        };
        if text.len() > BYTES_MAX {
            let problem = format!(
                "{} would be larger than 1 MiB, and then it could not be read",
                self.path().display()
            );
            return Err(Error::here(ErrorCode::RightsFull, problem));
        }
        let changed = Rights::parse(&text, &self.words).map_err(|error| {
            let problem = format!("the rights are not valid: {error}");
            Error::here(ErrorCode::NameRefused, problem)
        })?;
        check(&rules, &changed)?;
        self.record_change(&changed, &text)?;
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

/// Why the file could not be read.
enum Unread {
    /// The file is invalid.
    Broken(Error),
    /// The file could not be read, for a reason that may pass, such as too many open files.
    ForNow(Error),
}

impl From<Unread> for Error {
    fn from(unread: Unread) -> Self {
        let (Unread::Broken(error) | Unread::ForNow(error)) = unread;
        error
    }
}

/// Reads the rules, the text and the file's identity; `None` if there is no file.
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

/// The text without the table of a user; `None` if there is none.
fn without_user(text: &str, user: &UserName) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    let users = document.get_mut("users")?.as_table_like_mut()?;
    let is_meant = |name: &str| name.eq_ignore_ascii_case(user.as_str());
    let name = users.iter().find(|(name, _)| is_meant(name))?.0.to_owned();
    let removed = users.remove(&name)?;
    // Comments above the table are removed with it, unless they begin the file.
    let above = removed
        .as_table()
        .and_then(|table| table.decor().prefix()?.as_str())
        .unwrap_or_default();
    let kept = if text.starts_with(above) { above } else { "" };
    Some(format!("{kept}{document}"))
}

fn parse(folder: &PrivateFolder, text: &str, words: &RightWords) -> Result<Rights, Error> {
    Rights::parse(text, words).map_err(|error| Error::state(folder.path_of(NAME).display(), error))
}
