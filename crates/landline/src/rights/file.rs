//! The file of a server, and the rules in force.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use landline_proto::login::UserName;
use tokio::sync::watch;
use toml_edit::{DocumentMut, Value};

use super::{Quota, Rights, RightsError};
use crate::{
    Error,
    paths::{PrivateFolder, SourceIdentity},
};

/// The file's name in the server's state folder.
const NAME: &str = "rights.toml";
/// Whoever changes the file holds this.
const LOCK: &str = "rights.lock";
/// Says that the owner's first rights were written, so that they are not written again when somebody has taken them away.
const GIVEN: &str = "rights.given";
/// Far beyond any file of rules.
const BYTES_MAX: u64 = 1 << 20;
/// How long a file that has changed has to rest: an editor may be in the middle of writing it.
pub(crate) const REST_TIME: Duration = Duration::from_millis(100);

/// What a new file begins with.
const BEGINNING: &str = r#"# Who may do what on this machine. What is not granted here is denied.
# The server reads it again when it changes, and on SIGHUP. A mistake keeps the earlier rules in force, and is reported.
# `landline check USER ACTION` says what is allowed, and by which line. All of it is told in docs/rights.md.
#
# [users.alice]
# files = ["rw:~", "r:/srv"]        # ~ is the home of the user who serves; the nearest folder counts
# exec = [["git", "..."], ["df"]]   # word by word; or "any", for every command
# chat = true
# admin = true                      # may manage users and sessions
#
# [users.alice.quota]
# bytes = "10 GiB"
# files = 1000
# sessions = 4
# rate = "50 MiB/s"
"#;

/// The rules of a server, as its file says them: read when it is opened, and whenever [`reload`](Self::reload) is called. A
/// broken file keeps the rules that were in force.
#[derive(Debug)]
pub struct RightsFile {
    folder: Arc<PrivateFolder>,
    rules: watch::Sender<Arc<Rights>>,
    /// Held from reading the file until what it says is in force, so that what was read last is what stays.
    reloading: Mutex<()>,
    /// What the file was when it was last looked at, broken or not.
    seen: Mutex<Option<SourceIdentity>>,
}

/// What a new user may do at first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirstRights {
    /// Folders, as they stand in the file: `rw:~`.
    pub files: Vec<String>,
    /// Whether to talk to people.
    pub chat: bool,
    /// Whether to manage users and sessions.
    pub admin: bool,
}

impl FirstRights {
    /// Those of the owner: to read and write the home, and to manage the others.
    pub fn of_the_owner() -> Self {
        Self { files: vec!["rw:~".into()], chat: false, admin: true }
    }

    /// Whether these can stand in the file for `user`.
    ///
    /// # Errors
    /// [`RightsError`] where a folder is malformed.
    pub fn check(&self, user: &UserName) -> Result<(), RightsError> {
        Rights::parse(&self.text(user)).map(drop)
    }

    fn text(&self, user: &UserName) -> String {
        // A quoted key may hold whatever a name may.
        let mut text = format!("[users.{}]\n", Value::from(user.as_str()).to_string().trim());
        let files: Vec<String> = self.files.iter().map(|folder| Value::from(folder.as_str()).to_string()).collect();
        if !files.is_empty() {
            text.push_str(&format!("files = [{}]\n", files.join(", ")));
        }
        for (key, is_on) in [("chat", self.chat), ("admin", self.admin)] {
            if is_on {
                text.push_str(&format!("{key} = true\n"));
            }
        }
        text
    }
}

/// Reads the rules of the server whose state is kept in `state`, without being that server. Blocking.
///
/// # Errors
/// [`Error::State`] where there are none, or they are broken.
pub fn read_rules(state: &Path) -> Result<Rights, Error> {
    let path = state.join("server");
    let rules = PrivateFolder::open_existing(&path)?.map(|folder| read(&folder)).transpose()?.flatten();
    match rules {
        Some((rights, ..)) => Ok(rights),
        None => Err(Error::state(path.join(NAME).display(), "there are no rules yet; start the server once")),
    }
}

impl RightsFile {
    /// Opens the file, making it on first use. The owner, once there is one, gets the first rights, once. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where the file is broken, others can write to it, or it is gone.
    pub fn open(folder: Arc<PrivateFolder>, owner: Option<&UserName>) -> Result<Self, Error> {
        let (rules, seen) = match read(&folder)? {
            Some((rules, _, seen)) => (rules, Some(seen)),
            None if folder.identity(GIVEN).is_some() => {
                let problem = "is gone; put it back, or make an empty file (mode 600) in which nobody may do anything";
                return Err(Error::state(folder.path_of(NAME).display(), problem));
            }
            None => {
                folder.write(NAME, BEGINNING.as_bytes())?;
                (Rights::default(), folder.identity(NAME))
            }
        };
        let file = Self {
            folder,
            rules: watch::Sender::new(Arc::new(rules)),
            reloading: Mutex::new(()),
            seen: Mutex::new(seen),
        };
        if let Some(owner) = owner {
            file.give_the_owner(owner)?;
        }
        Ok(file)
    }

    /// Where the file is.
    pub fn path(&self) -> PathBuf {
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
    pub fn knows(&self, user: &UserName) -> Result<bool, Error> {
        match read(&self.folder)? {
            Some((rules, ..)) => Ok(rules.of(user).is_some()),
            None => Err(Error::state(self.path().display(), "is gone; put it back")),
        }
    }

    /// The rules in force, and whatever comes into force later.
    pub fn watch(&self) -> watch::Receiver<Arc<Rights>> {
        self.rules.subscribe()
    }

    /// Whether a user may manage users and sessions.
    pub fn is_admin(&self, user: &UserName) -> bool {
        self.rules.borrow().is_admin(user)
    }

    /// A user's upper limits.
    pub fn quota(&self, user: &UserName) -> Quota {
        self.rules.borrow().quota(user)
    }

    /// Puts what the file says into force. Blocking.
    ///
    /// # Errors
    /// [`Error::State`], with the place where the file is broken; the earlier rules stay in force.
    pub fn reload(&self) -> Result<Arc<Rights>, Error> {
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        self.see(self.folder.identity(NAME));
        let Some((rules, _, seen)) = read(&self.folder)? else {
            return Err(Error::state(self.path().display(), "is gone; the earlier rules stay in force"));
        };
        self.see(Some(seen));
        let rules = Arc::new(rules);
        self.rules.send_if_modified(|inforce| {
            let is_new = **inforce != *rules;
            *inforce = rules.clone();
            is_new
        });
        Ok(rules)
    }

    /// Whether the file is another one than when it was last looked at. Blocking.
    pub fn has_changed(&self) -> bool {
        self.folder.identity(NAME) != *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the file stays what it is for a while. Blocking for that long.
    pub(crate) fn is_at_rest(&self, time: Duration) -> bool {
        let before = self.folder.identity(NAME);
        std::thread::sleep(time);
        self.folder.identity(NAME) == before
    }

    /// Writes a new user's first rights at the end of the file, and puts them into force. A user who stands there already keeps
    /// what is written. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where the file is broken or would be; it is as it was then.
    pub fn grant(&self, user: &UserName, first: &FirstRights) -> Result<(), Error> {
        self.change(|rules, text| match rules.of(user) {
            Some(_) => None,
            None => Some(format!("{}\n\n{}", text.trim_end(), first.text(user))),
        })
    }

    /// Takes a user out of the file, with all rights, and puts that into force; comments at its beginning and about others stay.
    /// Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where the file is broken; it is as it was then.
    pub fn withdraw(&self, user: &UserName) -> Result<(), Error> {
        self.change(|_, text| {
            let mut document: DocumentMut = text.parse().ok()?;
            let removed = document.get_mut("users")?.as_table_like_mut()?.remove(user.as_str())?;
            // What stands above the table goes with it, unless that is what the file begins with.
            let above = removed.as_table().and_then(|table| table.decor().prefix()?.as_str()).unwrap_or_default();
            let kept = if text.starts_with(above) { above } else { "" };
            Some(format!("{kept}{document}"))
        })
    }

    /// Gives the owner the first rights, if that has not happened before; whether it has happened now. Blocking.
    ///
    /// # Errors
    /// As [`grant`](Self::grant).
    pub fn give_the_owner(&self, owner: &UserName) -> Result<bool, Error> {
        if self.folder.identity(GIVEN).is_some() {
            return Ok(false);
        }
        self.grant(owner, &FirstRights::of_the_owner())?;
        self.folder.write(GIVEN, format!("{owner}\n").as_bytes())?;
        Ok(true)
    }

    /// Rewrites the file, unless `edit` says that there is nothing to do.
    fn change(&self, edit: impl FnOnce(&Rights, &str) -> Option<String>) -> Result<(), Error> {
        let _lock = self.folder.lock(LOCK)?;
        let Some((rules, text, _)) = read(&self.folder)? else {
            return Err(Error::state(self.path().display(), "is gone; put it back"));
        };
        let Some(text) = edit(&rules, &text) else { return Ok(()) };
        parse(&self.folder, &text)?;
        self.folder.write(NAME, text.as_bytes())?;
        self.reload().map(drop)
    }

    fn see(&self, identity: Option<SourceIdentity>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }
}

/// The rules, the text and what the file is; `None` where there is no file.
fn read(folder: &PrivateFolder) -> Result<Option<(Rights, String, SourceIdentity)>, Error> {
    let Some((bytes, identity)) = folder.read_rules(NAME, BYTES_MAX)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        Error::state(folder.path_of(NAME).display(), format!("line {line} is not UTF-8"))
    })?;
    Ok(Some((parse(folder, &text)?, text, identity)))
}

fn parse(folder: &PrivateFolder, text: &str) -> Result<Rights, Error> {
    Rights::parse(text).map_err(|error| Error::state(folder.path_of(NAME).display(), error))
}
