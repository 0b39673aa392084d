//! Walks the sources of a tree and numbers their entries.

mod attributes;
mod entries;
mod followed;
mod held;
mod options;
mod shared_names;
mod steps;

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use landline_proto::ErrorCode;

pub use self::options::{WalkOptions, WalkedLinks};
pub(super) use self::{
    followed::FollowLink,
    held::HeldFolder,
    steps::{WalkStep, WalkedFile, failure_of},
};
use super::{
    DEPTH_MAX,
    open_folders::{FolderPlace, OpenFolders},
    records::EntryContent,
    selection::{PathNode, TreeSelection},
    summaries::SummedEntry,
    walk::{
        attributes::FoundAttributes,
        entries::FoundEntry,
        followed::{Followed, SourceBase, base_key},
        held::ReleasedFolder,
        shared_names::SharedNames,
        steps::{entry, failed},
    },
};
use crate::{
    Error,
    paths::{
        Accounts, EntryKind, EntryStat, FileTime, Folder, FolderReader, SourceFile, TreeGuard,
        TreeOrigin, TreeSource, name::check_component,
    },
};

/// How old a file must be for its size and time to tell that it is unchanged.
///
/// A file can be written twice within one step of the file system's clock.
const RECENT_TIME: Duration = Duration::from_secs(2);
/// How many folders may be found and not listed. Each takes memory.
const PENDING_MAX: usize = 200_000;

/// A source: the folder it is in, and its path for messages.
struct Source {
    base: SourceBase,
    /// The path of `base`.
    shown: PathBuf,
    guard: Arc<TreeGuard>,
    device: u64,
    /// Device and inode of a folder.
    numbers: [u64; 2],
    /// The path of `base` below the source that the user named.
    below: PathBuf,
    /// Where the link was that leads here.
    above: Option<(usize, Arc<FolderPlace>)>,
}

/// A folder whose entries are due.
struct PendingFolder {
    source: usize,
    number: u32,
    place: Arc<FolderPlace>,
    /// How many folders are above it in its source.
    depth: usize,
    /// What is taken of it, if the selection has a list.
    listed: Option<Arc<PathNode>>,
}

/// The names of a folder that are looked at.
enum Names {
    /// All of them.
    All(FolderReader),
    /// Those that the selection lists.
    Listed(std::vec::IntoIter<OsString>),
}

impl Names {
    fn next(&mut self) -> Option<std::io::Result<OsString>> {
        match self {
            Self::All(reader) => reader.next().map(|entry| entry.map(|(name, _)| name)),
            Self::Listed(names) => names.next().map(Ok),
        }
    }
}

/// A folder whose entries are being listed.
struct Listing {
    due: PendingFolder,
    folder: Arc<Folder>,
    names: Names,
    /// The folders found so far.
    folders: Vec<PendingFolder>,
    /// The files and links found so far, if they are held back.
    held: Option<Vec<SummedEntry>>,
    is_incomplete: bool,
}

/// A source, with the folders that may be entered; or why it cannot be read.
pub(super) type WalkedSource = Result<(TreeSource, Arc<TreeGuard>), Error>;

/// The walk over all sources of a copy.
pub(super) struct Walk {
    options: WalkOptions,
    selection: TreeSelection,
    /// Sources that are left, the next one first.
    sources: VecDeque<WalkedSource>,
    started: Vec<Source>,
    /// Folders that are left, the next one last.
    due: Vec<PendingFolder>,
    listing: Option<Listing>,
    next: u32,
    open: OpenFolders,
    /// Files that were modified later may change without a sign.
    recent: FileTime,
    found: VecDeque<WalkStep>,
    shared: SharedNames,
    /// Names the users and groups of ACLs.
    accounts: Accounts,
    follow: Option<FollowLink>,
    /// The memory of followed links to folders.
    followed_bytes: usize,
    /// Whether an entry was left out since this was last looked at.
    has_left_out: bool,
    /// Whether the files and links of the next folder are held back.
    holds: bool,
    /// Folders that were held back and are sent after all.
    released: VecDeque<ReleasedFolder>,
}

impl Walk {
    /// A walk over these sources.
    pub(super) fn new(sources: Vec<WalkedSource>, options: WalkOptions) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .saturating_sub(RECENT_TIME);
        Self {
            options,
            selection: TreeSelection::default(),
            sources: sources.into(),
            started: Vec::new(),
            due: Vec::new(),
            listing: None,
            next: 0,
            open: OpenFolders::default(),
            recent: FileTime {
                seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
                nanoseconds: now.subsec_nanos(),
            },
            found: VecDeque::new(),
            shared: SharedNames::default(),
            accounts: Accounts::default(),
            follow: None,
            followed_bytes: 0,
            has_left_out: false,
            holds: false,
            released: VecDeque::new(),
        }
    }

    /// Takes only what is selected.
    pub(super) fn select(&mut self, selection: TreeSelection) {
        self.selection = selection;
    }

    /// How many entries were numbered.
    pub(super) fn entries(&self) -> u32 {
        self.next
    }

    /// The next thing that the walk finds; `None` at the end.
    ///
    /// # Errors
    /// `limit` if there are more entries than can be numbered.
    pub(super) fn next(&mut self) -> Result<Option<WalkStep>, Error> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Ok(Some(found));
            }
            if self.next == u32::MAX - 1 {
                let message = "the tree has more entries than one copy can have; copy it in parts";
                return Err(Error::here(ErrorCode::Limit, message));
            }
            if let Some(released) = self.released.pop_front() {
                self.number_released(released);
            } else if let Some(listing) = self.listing.take() {
                self.list(listing);
            } else if let Some(due) = self.due.pop() {
                self.open(due);
            } else if let Some(source) = self.sources.pop_front() {
                let first = self.next;
                match source {
                    Ok((source, guard)) => self.start(source, guard),
                    Err(error) => self.leave_out(None, &error),
                }
                self.has_left_out = false;
                if self.next == first {
                    self.found.push_back(WalkStep::Skipped);
                }
            } else {
                return Ok(None);
            }
        }
    }

    /// Numbers a source.
    fn start(&mut self, source: TreeSource, guard: Arc<TreeGuard>) {
        let index = self.started.len();
        let (base, name, stat, shown) = match source.origin {
            // The folder itself is the base, so that it need not be found by its name again.
            TreeOrigin::Folder(folder, stat) => (folder, OsString::new(), stat, source.shown),
            TreeOrigin::Entry(folder, name, stat) => {
                let shown = source.shown.parent().map(ToOwned::to_owned);
                (folder, name, stat, shown.unwrap_or_default())
            }
        };
        let place = Arc::new(FolderPlace::base(base_key(index)));
        self.started.push(Source {
            base: SourceBase::Open(Arc::new(base)),
            shown,
            guard,
            device: stat.numbers()[0],
            numbers: stat.numbers(),
            below: PathBuf::new(),
            above: None,
        });
        let own_name = source.name.into_vec();
        if stat.kind == EntryKind::Folder {
            let stat = match self.find_own_attributes(index, &stat) {
                Ok(stat) => stat,
                Err(error) => {
                    self.found.push_back(failed(u32::MAX, &error));
                    return;
                }
            };
            let number = self.number();
            self.found.push_back(WalkStep::Entry(
                entry(None, own_name, EntryContent::Folder, &stat),
                None,
            ));
            self.due.push(PendingFolder {
                source: index,
                number,
                place,
                depth: 0,
                listed: self.selection.paths(),
            });
        } else if self.selection.has_list() {
            let message = format!(
                "{} is not a folder, as a list needs it",
                self.shown(index, &place, &name).display()
            );
            self.leave_out(None, &Error::here(ErrorCode::NotAFolder, message));
        } else {
            self.entry(FoundEntry {
                source: index,
                parent: None,
                folder: &place,
                name: &name,
                own_name,
                stat: &stat,
                followed: None,
            });
        }
    }

    fn number(&mut self) -> u32 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Opens a folder to list it.
    fn open(&mut self, due: PendingFolder) {
        let opened = self.open_to_list(&due);
        match opened {
            Ok((folder, names)) => {
                self.listing = Some(Listing {
                    due,
                    folder,
                    held: self.begins_to_hold(&names).then(Vec::new),
                    names,
                    folders: Vec::new(),
                    is_incomplete: false,
                });
            }
            Err(error) => {
                self.found.push_back(failed(due.number, &error));
                self.found.push_back(WalkStep::FolderEnd {
                    folder: due.number,
                    is_incomplete: true,
                });
            }
        }
    }

    fn open_to_list(&mut self, due: &PendingFolder) -> Result<(Arc<Folder>, Names), Error> {
        let source = self.source(due.source)?;
        let guard = source.guard.clone();
        let base = self.base(due.source)?;
        let opened = self.open.get(&base, &due.place);
        let folder = opened.map_err(|error| self.failure(due, &error))?;
        // The folder where the copy begins was checked when it was found.
        if due.place.parent.is_some() {
            guard.enter(guard.start(), &folder)?;
        }
        if let Some(names) = due.listed.as_ref().and_then(|listed| listed.names()) {
            return Ok((folder, Names::Listed(names.into_iter())));
        }
        let names = folder.reader();
        let names = names.map_err(|error| self.failure(due, &error))?;
        Ok((folder, Names::All(names)))
    }

    fn source(&self, index: usize) -> Result<&Source, Error> {
        let missing = || Error::here(ErrorCode::NotFound, "the source is gone");
        self.started.get(index).ok_or_else(missing)
    }

    fn failure(&self, due: &PendingFolder, error: &std::io::Error) -> Error {
        Error::io(
            self.shown(due.source, &due.place, OsStr::new("")).display(),
            error,
        )
    }

    /// The path of an entry, for messages.
    fn shown(&self, source: usize, folder: &FolderPlace, name: &OsStr) -> PathBuf {
        let below = folder.path_of(name);
        match self.started.get(source) {
            Some(source) => source.shown.join(below),
            None => below,
        }
    }

    /// Numbers the next entry of a folder.
    fn list(&mut self, mut listing: Listing) {
        let Some(name) = listing.names.next() else {
            if !self.end_held(&mut listing) {
                self.found.push_back(WalkStep::FolderEnd {
                    folder: listing.due.number,
                    is_incomplete: listing.is_incomplete,
                });
            }
            // The first folder found is the next one.
            self.due.extend(listing.folders.into_iter().rev());
            return;
        };
        let found = name.and_then(|name| {
            let stat = listing.folder.stat(&name)?;
            Ok((name, stat))
        });
        match found {
            Ok((name, Some(stat)))
                if stat.kind == EntryKind::Link && self.options.links == WalkedLinks::Follow =>
            {
                self.follow_listed(&mut listing, &name);
            }
            Ok((name, Some(stat))) => self.listed(&mut listing, &name, &stat, None),
            Ok((name, None)) if matches!(listing.names, Names::Listed(_)) => {
                self.list_missing(&mut listing, &name);
            }
            // It was removed meanwhile.
            Ok((_, None)) => {}
            Err(error) => {
                listing.is_incomplete = true;
                let error = self.failure(&listing.due, &error);
                self.found.push_back(failed(listing.due.number, &error));
            }
        }
        self.listing = Some(listing);
    }

    /// Reports an entry that the selection lists, and that does not exist.
    fn list_missing(&mut self, listing: &mut Listing, name: &OsStr) {
        listing.is_incomplete = true;
        let shown = self.shown(listing.due.source, &listing.due.place, name);
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        let error = Error::io(shown.display(), &error);
        self.found.push_back(failed(listing.due.number, &error));
    }

    fn listed(
        &mut self,
        listing: &mut Listing,
        name: &OsStr,
        stat: &EntryStat,
        followed: Option<Followed>,
    ) {
        // Staging files, also those of this copy.
        if check_component(name.as_bytes()).is_err() {
            return;
        }
        let is_folder = stat.kind == EntryKind::Folder;
        if !self.selection.takes_all() {
            let due = &listing.due;
            let below = self.below(due.source, &due.place, name);
            if self.selection.excludes(&below, is_folder) {
                return;
            }
        }
        let child = match &listing.names {
            // What is not listed is not missing.
            Names::Listed(_) => {
                listing.is_incomplete = true;
                listing
                    .due
                    .listed
                    .as_ref()
                    .and_then(|listed| listed.child(name))
            }
            Names::All(_) => None,
        };
        if child
            .as_ref()
            .is_some_and(|child| !is_folder && !child.is_whole())
        {
            // Something below it is listed.
            return self.list_missing(listing, name);
        }
        if stat.kind != EntryKind::Folder {
            if followed.is_some() || !self.hold(listing, name, stat) {
                let left_out = self.entry_of(&listing.due, name, stat, followed.as_ref());
                listing.is_incomplete |= left_out;
            }
            return;
        }
        self.listed_folder(listing, name, stat, followed, child);
    }

    /// Numbers a folder, and lists it later.
    fn listed_folder(
        &mut self,
        listing: &mut Listing,
        name: &OsStr,
        stat: &EntryStat,
        followed: Option<Followed>,
        listed: Option<Arc<PathNode>>,
    ) {
        let due = &listing.due;
        let parent = due.number;
        if self.options.links == WalkedLinks::Follow && self.is_loop(due, stat) {
            let shown = self.shown(due.source, &due.place, name);
            let message = format!("{} leads to a folder that it is in", shown.display());
            self.leave_out(Some(parent), &Error::here(ErrorCode::NameRefused, message));
            listing.is_incomplete |= std::mem::take(&mut self.has_left_out);
            return;
        }
        if followed
            .as_ref()
            .is_some_and(|followed| self.has_too_many_followed(followed))
        {
            let shown = self.shown(due.source, &due.place, name);
            let message = format!(
                "{}: too many links to folders are followed",
                shown.display()
            );
            self.leave_out(Some(parent), &Error::here(ErrorCode::Limit, message));
            listing.is_incomplete |= std::mem::take(&mut self.has_left_out);
            return;
        }
        let found = match &followed {
            Some(followed) => FoundAttributes::of_folder(&followed.folder, &self.options),
            None => FoundAttributes::of(&listing.folder, name, &self.options),
        };
        let shown = self.shown(due.source, &due.place, name);
        let sent_as = match found {
            Ok(found) => {
                let sent_as = found.limit(stat);
                self.found_attributes(found, Some(parent), &shown);
                sent_as
            }
            Err(error) => {
                self.leave_out(Some(parent), &Error::io(shown.display(), &error));
                listing.is_incomplete |= std::mem::take(&mut self.has_left_out);
                return;
            }
        };
        let number = self.number();
        self.found.push_back(WalkStep::Entry(
            entry(
                Some(parent),
                name.as_bytes().to_vec(),
                EntryContent::Folder,
                &sent_as,
            ),
            None,
        ));
        let is_elsewhere = self
            .started
            .get(due.source)
            .is_some_and(|source| source.device != stat.numbers()[0]);
        if is_elsewhere && self.options.one_file_system {
            self.found.push_back(WalkStep::FolderEnd {
                folder: number,
                // What is there is left alone by the receiver too.
                is_incomplete: true,
            });
            return;
        }
        if let Some(problem) = self.limit_of(due, listing.folders.len()) {
            let shown = self.shown(due.source, &due.place, name);
            let message = format!("{}: {problem}", shown.display());
            let error = Error::here(ErrorCode::Limit, message);
            self.found.push_back(failed(number, &error));
            self.found.push_back(WalkStep::FolderEnd {
                folder: number,
                is_incomplete: true,
            });
            return;
        }
        let (source, place) = match followed {
            Some(followed) => self.add_followed(due, name, followed),
            None => {
                let place = FolderPlace {
                    parent: Some(due.place.clone()),
                    name: name.to_owned(),
                    final_name: None,
                    numbers: stat.numbers(),
                    key: u64::from(number),
                };
                (due.source, Arc::new(place))
            }
        };
        listing.folders.push(PendingFolder {
            source,
            number,
            place,
            depth: due.depth + 1,
            listed,
        });
    }

    /// The limit that a further folder in this one would exceed. `found` are in it already.
    fn limit_of(&self, due: &PendingFolder, found: usize) -> Option<String> {
        if due.depth + 1 >= DEPTH_MAX {
            Some(format!("more than {DEPTH_MAX} folders within each other"))
        } else if self.due.len() + found >= PENDING_MAX {
            Some("too many folders are waiting to be read; copy it in parts".to_owned())
        } else {
            None
        }
    }

    /// Reports an entry that is not copied. It has no number, so its folder stands for it.
    fn leave_out(&mut self, parent: Option<u32>, error: &Error) {
        self.has_left_out = true;
        self.found
            .push_back(failed(parent.unwrap_or(u32::MAX), error));
    }

    /// Opens a file that is wanted.
    ///
    /// # Errors
    /// `not-found`, `denied`, `not-a-file` or `io`, with the path.
    pub(super) fn open_file(&mut self, file: &WalkedFile) -> Result<SourceFile, Error> {
        if let Some(link) = &file.link {
            return self.open_followed(link.clone());
        }
        let shown = self.shown(file.source, &file.folder, &file.name);
        let base = self.base(file.source)?;
        let folder = self
            .open
            .get(&base, &file.folder)
            .map_err(|error| Error::io(shown.display(), &error))?;
        let source = folder.open_source(&file.name, shown.display())?;
        // Its further names would become names of another file.
        if file.is_shared && source.numbers() != file.stat.numbers() {
            let message = format!("{} was replaced while it was read", shown.display());
            return Err(Error::here(ErrorCode::SourceChanged, message));
        }
        Ok(source)
    }
}
