//! `upload` and `upload-bare`: a header, then a file's bytes, any number of times.

use std::{sync::Arc, time::Instant};

use landline_paths::{Grant, Root, SourceFile, StagePlan, StagedFile, sweep};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    ClassicEvent, Connection, Got,
    codec::{
        BodyDecoder, Charset, DialectError, FileHeader, Frames, HEADER_BYTES_MAX, Part, Receipt,
        UploadForm, base_name,
    },
    service::{Reporter, told},
};
use crate::{Error, FileProgress};

/// What is read from a file at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// The mode of a new file, before the umask.
const MODE: u32 = 0o666;

/// How files are taken.
#[derive(Debug, Clone)]
pub struct UploadOptions {
    /// How headers are written.
    pub form: UploadForm,
    /// Where files go.
    pub folder: Arc<Root>,
    /// Whether a file may replace another.
    pub overwrite: bool,
    /// Whether the client is told how it went.
    pub ack: bool,
}

impl UploadOptions {
    /// Removes what a server that was killed has left of files in the making; those of other
    /// servers that run stay. Blocking.
    pub fn sweep(&self) {
        if let Ok(folder) = self.folder.home() {
            sweep(&folder);
        }
    }
}

/// The server's half: takes files until the client has finished.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    charset: Charset,
    options: &UploadOptions,
    report: &Reporter,
) -> Result<(), Error> {
    let mut decoder = BodyDecoder::new(options.form, charset);
    let mut header_began = None;
    let mut file = None;
    loop {
        let got = match decoder.at_boundary() || decoder.is_in_header() {
            true => line.read_header(header_began).await?,
            false => line.read(None).await?,
        };
        let bytes = match got {
            Got::Bytes(bytes) => bytes,
            _ if decoder.at_boundary() => return Ok(()),
            // What there is of a file goes with it.
            _ => return Err(DialectError::Cut.into()),
        };
        let mut input = bytes.as_slice();
        while let Some(part) = decoder.next::<FileHeader>(&mut input)? {
            match part {
                Part::Header(header) => file = Some(Incoming::begin(header, options).await),
                Part::Body(bytes) => {
                    file = match file.take() {
                        Some(incoming) => Some(incoming.write(bytes.to_vec()).await?),
                        None => None,
                    };
                }
                Part::End => {
                    let Some(incoming) = file.take() else {
                        continue;
                    };
                    let receipt = incoming.end(report).await?;
                    if options.ack {
                        line.send(&receipt.encode(charset)).await?;
                    }
                }
            }
        }
        header_began = if decoder.is_in_header() {
            header_began.or(Some(Instant::now()))
        } else {
            None
        };
    }
}

/// A file on its way in. One that is refused is read all the same, so that the next one is found
/// behind it.
struct Incoming {
    header: FileHeader,
    staging: Result<Box<StagedFile>, Error>,
}

impl Incoming {
    async fn begin(header: FileHeader, options: &UploadOptions) -> Self {
        let (folder, overwrite) = (options.folder.clone(), options.overwrite);
        let (name, size) = (header.name.clone(), header.size);
        let open = move || {
            let base = base_name(&name).map_err(|source| Error::Name {
                name: name.clone(),
                source,
            })?;
            let destination = folder.open_destination(
                &[Grant::home(true)],
                format!("./{base}").as_bytes(),
                None,
            )?;
            let plan = StagePlan {
                mode: MODE,
                replace: overwrite,
            };
            let staged = StagedFile::create(destination, plan)?;
            staged.check_space(size)?;
            Ok(Box::new(staged))
        };
        let staging = match tokio::task::spawn_blocking(open).await {
            Ok(staging) => staging,
            Err(error) => Err(error.into()),
        };
        Self { header, staging }
    }

    async fn write(mut self, bytes: Vec<u8>) -> Result<Self, Error> {
        let Ok(mut staging) = self.staging else {
            return Ok(self);
        };
        let write = move || {
            staging.write(&bytes)?;
            Ok(staging)
        };
        self.staging = tokio::task::spawn_blocking(write).await?;
        Ok(self)
    }

    /// All bytes have come: the file appears, or the reason is given why it does not.
    async fn end(self, report: &Reporter) -> Result<Receipt, Error> {
        let Self { header, staging } = self;
        let commit = move || {
            let mut staging = staging?;
            staging.commit()?;
            Ok::<_, Error>(staging.destination().path.clone())
        };
        match tokio::task::spawn_blocking(commit).await? {
            Ok(path) => {
                let FileHeader { name, size, rest } = header;
                let stored = path
                    .file_name()
                    .map(|name| name.to_string_lossy().into_owned())
                    .unwrap_or_default();
                let path = path.display().to_string();
                report.event(|peer| ClassicEvent::Stored {
                    peer,
                    path,
                    name,
                    size,
                    rest,
                });
                Ok(Receipt::Stored { name: stored, size })
            }
            Err(error) => {
                report.event(|peer| ClassicEvent::Refused {
                    peer,
                    message: error.to_string(),
                });
                Ok(Receipt::Error(told(&error, &header.name)))
            }
        }
    }
}

/// The client's half: sends one file under the name in `header`, whose size has to be that of
/// `source`. `progress` is called before the first byte and after each piece.
///
/// # Errors
/// [`Error::SourceChanged`], [`Error::Lost`], [`Error::Path`], [`Error::Io`]. The line is of no use
/// then.
pub async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    charset: Charset,
    form: UploadForm,
    header: &FileHeader,
    source: Arc<SourceFile>,
    mut progress: impl FnMut(FileProgress),
) -> Result<(), Error> {
    progress(FileProgress {
        done: 0,
        size: header.size,
    });
    line.send(&header.encode(form, charset)).await?;
    send_content(line, source, header.size, progress).await
}

/// Sends exactly `size` bytes of a file.
///
/// # Errors
/// [`Error::SourceChanged`], [`Error::Lost`], [`Error::Path`], [`Error::Io`].
pub(super) async fn send_content<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    source: Arc<SourceFile>,
    size: u64,
    mut progress: impl FnMut(FileProgress),
) -> Result<(), Error> {
    let changed = || Error::SourceChanged {
        name: source.name.clone(),
        size,
    };
    let mut offset = 0;
    while offset < size {
        let take = usize::try_from(size - offset)
            .unwrap_or(usize::MAX)
            .min(CHUNK_BYTES);
        let file = source.clone();
        let read = move || file.read_at(offset, take);
        let chunk = tokio::task::spawn_blocking(read).await??;
        if chunk.is_empty() {
            return Err(changed());
        }
        line.send(&chunk).await?;
        offset += chunk.len() as u64;
        progress(FileProgress { done: offset, size });
    }
    let is_unchanged = source
        .is_unchanged()
        .map_err(|error| Error::io(&source.name, error))?;
    if is_unchanged { Ok(()) } else { Err(changed()) }
}

/// The client's half: waits for the receipt of a file of `size` bytes.
///
/// # Errors
/// [`Error::NotStored`], [`Error::Dialect`] also where it has stored another size, [`Error::Lost`].
pub async fn receive_receipt<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    charset: Charset,
    size: u64,
) -> Result<String, Error> {
    let mut frames = Frames::new(HEADER_BYTES_MAX);
    while let Got::Bytes(bytes) = line.read(None).await? {
        let mut input = bytes.as_slice();
        let found = frames.next(&mut input)?;
        line.put_back(input);
        let Some(payload) = found else { continue };
        return match Receipt::parse(&charset.decode(&payload))? {
            Receipt::Stored { name, size: stored } if stored == size => Ok(name),
            Receipt::Stored { size: stored, .. } => Err(DialectError::Header(format!(
                "{stored} bytes were stored, and {size} were sent"
            ))
            .into()),
            Receipt::Error(message) => Err(Error::NotStored(message)),
        };
    }
    Err(Error::Lost(
        "the server closed the line without a receipt".into(),
    ))
}
