//! `upload` and `upload-bare`: the client sends headers, each with a file's bytes.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use landline_paths::{
    Destination, ErrorKind, Grant, RemotePath, Root, SourceFile, StagePlan, StagedFile, sweep,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    ClassicEvent, Connection, Received,
    codec::{
        BodyDecoder, DialectError, Encodings, FileHeader, Frames, HEADER_BYTES_MAX, HeaderKeys,
        Part, Receipt, UploadForm, upload_name,
    },
    service::{Reporter, client_message},
};
use crate::{Error, FileProgress, Wording};

/// The bytes that one read of a file takes.
const CHUNK_BYTES: usize = 256 * 1024;
/// How long to wait for the reason of a failed send.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// The mode of a new file, before the umask.
const MODE: u32 = 0o666;

/// What happens to an upload whose name exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameName {
    /// It is refused.
    Refuse,
    /// It replaces the file.
    Replace,
    /// It gets the next free number: `a-2.txt`.
    Number,
    /// Each sender has a folder, named by its address. There the file is refused.
    Folder,
}

/// The highest number of a file.
const NUMBER_MAX: u32 = 9999;

/// The options of an upload server.
#[derive(Debug, Clone)]
pub struct UploadOptions {
    /// The format of the headers.
    pub form: UploadForm,
    /// The keys of the headers.
    pub keys: HeaderKeys,
    /// The folder for the files.
    pub folder: Arc<Root>,
    /// What happens to a file whose name exists.
    pub same_name: SameName,
    /// Whether the server sends a receipt for each stored file, and not only for a refused one.
    pub ack: bool,
}

impl UploadOptions {
    /// Removes the staging files of killed servers. Those of running servers stay.
    ///
    /// # Blocking
    /// It reads the folder.
    pub fn sweep(&self) {
        if let Ok(folder) = self.folder.home() {
            sweep(&folder);
        }
    }
}

/// The server: stores files until the client has finished.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    encodings: Encodings,
    options: &UploadOptions,
    report: &Reporter,
) -> Result<(), Error> {
    let mut decoder = BodyDecoder::new(options.form, options.keys.clone(), encodings.received);
    let mut header_started_at = None;
    let mut file = None;
    loop {
        let received = if decoder.at_boundary() || decoder.is_in_header() {
            connection.read_header(header_started_at).await?
        } else {
            connection.read(None).await?
        };
        let bytes = match received {
            Received::Bytes(bytes) => bytes,
            _ if decoder.at_boundary() => return Ok(()),
            // The staging file is removed on return.
            _ => return Err(DialectError::Cut.into()),
        };
        let mut input = bytes.as_slice();
        while let Some(part) = decoder.next::<FileHeader>(&mut input)? {
            match part {
                Part::Header(header) => {
                    file = Some(IncomingFile::create(header, options, report.peer()).await);
                }
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
                    let receipt = incoming.finish(report).await?;
                    // A refusal always gets a receipt, or the client would take it for a success.
                    if options.ack || matches!(receipt, Receipt::Error(_)) {
                        connection.send(&receipt.encode(encodings.sent)).await?;
                    }
                }
            }
        }
        header_started_at = if decoder.is_in_header() {
            header_started_at.or(Some(Instant::now()))
        } else {
            None
        };
    }
}

/// A file that is being received.
///
/// The bytes of a rejected file are read too, so that the next header is found.
struct IncomingFile {
    header: FileHeader,
    staging: Result<Box<StagedFile>, Error>,
    same_name: SameName,
    /// The number in the name of the file; 1 for none.
    number: u32,
}

impl IncomingFile {
    async fn create(header: FileHeader, options: &UploadOptions, peer: &str) -> Self {
        let folder = options.folder.clone();
        let same_name = options.same_name;
        let name = header.name.clone();
        let size = header.size;
        let sender = sender_folder(peer);
        let open = move || {
            let base = upload_name(&name).map_err(|source| Error::Name {
                name: name.clone(),
                source,
            })?;
            let mut number = 1;
            let staged = loop {
                let named = numbered(base, number);
                let destination = open_destination(&folder, same_name, &sender, &named)?;
                let plan = StagePlan {
                    mode: MODE,
                    replace: same_name == SameName::Replace,
                };
                match StagedFile::create(destination, plan) {
                    Err(error) if takes_next_number(&error, same_name, number) => number += 1,
                    created => break created?,
                }
            };
            staged.check_space(size)?;
            Ok((Box::new(staged), number))
        };
        let (staging, number) = match tokio::task::spawn_blocking(open).await {
            Ok(Ok((staging, number))) => (Ok(staging), number),
            Ok(Err(error)) => (Err(error), 1),
            Err(error) => (Err(error.into()), 1),
        };
        Self {
            header,
            staging,
            same_name,
            number,
        }
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

    /// Gives the complete file its final name, or rejects it with a reason.
    async fn finish(self, report: &Reporter) -> Result<Receipt, Error> {
        let Self {
            header,
            staging,
            same_name,
            mut number,
        } = self;
        let name = header.name.clone();
        let commit = move || {
            let mut staging = staging?;
            // Another client may take the name at the same time.
            while let Err(error) = staging.commit() {
                if !takes_next_number(&error, same_name, number) {
                    return Err(error.into());
                }
                number += 1;
                let base = upload_name(&name).unwrap_or_default();
                staging.set_name(numbered(base, number).into());
            }
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
                    message: error.wording(),
                });
                Ok(Receipt::Error(client_message(&error, &header.name)))
            }
        }
    }
}

/// The name with a number before its extension.
fn numbered(base: &str, number: u32) -> String {
    match base.rsplit_once('.') {
        _ if number < 2 => base.to_owned(),
        Some((stem, extension)) => format!("{stem}-{number}.{extension}"),
        None => format!("{base}-{number}"),
    }
}

/// Whether a name is taken, and the next number is to be tried.
fn takes_next_number(error: &landline_paths::Error, same_name: SameName, number: u32) -> bool {
    let landline_paths::Error::Path { kind, .. } = error else {
        return false;
    };
    *kind == ErrorKind::Exists && same_name == SameName::Number && number < NUMBER_MAX
}

/// The name of a sender's folder: its address, without what a file system may refuse.
fn sender_folder(peer: &str) -> String {
    let address = peer.parse::<SocketAddr>().map_or_else(
        |_| "local".into(),
        |peer| peer.ip().to_canonical().to_string(),
    );
    address.replace(':', "-")
}

/// The destination of an upload. A sender's folder is created if it is needed.
fn open_destination(
    folder: &Root,
    same_name: SameName,
    sender: &str,
    name: &str,
) -> Result<Destination, Error> {
    if same_name != SameName::Folder {
        let path = format!("./{name}");
        return Ok(folder.open_destination(&[Grant::home(true)], path.as_bytes(), None)?);
    }
    let own =
        RemotePath::parse(format!("./{sender}").as_bytes()).map_err(|source| Error::Name {
            name: sender.into(),
            source,
        })?;
    let grant = Grant {
        folder: own,
        ..Grant::home(true)
    };
    let path = format!("./{sender}/{name}");
    Ok(folder.open_destination(&[grant], path.as_bytes(), None)?)
}

/// The client: sends a file under the name in `header`.
///
/// The size in `header` must be that of `source`. `progress` is called before the first byte and
/// after each piece.
///
/// # Errors
/// [`Error::SourceChanged`], [`Error::Lost`], [`Error::Path`] or [`Error::Io`]. The connection
/// cannot be used afterwards.
pub async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    encodings: Encodings,
    form: UploadForm,
    keys: &HeaderKeys,
    header: &FileHeader,
    source: Arc<SourceFile>,
    mut progress: impl FnMut(FileProgress),
) -> Result<(), Error> {
    progress(FileProgress {
        done: 0,
        size: header.size,
    });
    connection
        .send(&header.encode(form, keys, encodings.sent))
        .await?;
    send_content(connection, source, header.size, progress).await
}

/// Sends exactly `size` bytes of a file.
///
/// # Errors
/// [`Error::SourceChanged`], [`Error::Lost`], [`Error::Path`] or [`Error::Io`].
pub(super) async fn send_content<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
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
        connection.send(&chunk).await?;
        offset += chunk.len() as u64;
        progress(FileProgress { done: offset, size });
    }
    if source.identity_now()?.has_content_of(source.identity()) {
        Ok(())
    } else {
        Err(changed())
    }
}

/// The client: waits for the receipt of a file of `size` bytes, for at most `patience`.
///
/// Returns the file's name there.
///
/// # Errors
/// [`Error::NotStored`], [`Error::Lost`], or [`Error::Dialect`], also if the server stored another
/// size.
pub async fn receive_receipt<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    encodings: Encodings,
    size: u64,
    patience: Duration,
) -> Result<String, Error> {
    let deadline = Instant::now() + patience;
    let lost = |english: String, chinese: String| {
        Error::Lost(Wording::new(
            format!("no receipt: {english} (is it served with --ack?)"),
            format!("没有回执：{chinese}（服务器用了 --ack 吗？）"),
        ))
    };
    match next_receipt(connection, encodings, deadline).await? {
        Ok(Receipt::Stored { name, size: stored }) if stored == size => Ok(name),
        Ok(Receipt::Stored { size: stored, .. }) => Err(DialectError::Header(Wording::new(
            format!("{stored} bytes were stored, and {size} were sent"),
            format!("存下了 {stored} 字节，而发送了 {size} 字节"),
        ))
        .into()),
        Ok(Receipt::Error(message)) => Err(Error::NotStored(message)),
        Err(Received::Timeout) => {
            let seconds = patience.as_secs_f64();
            Err(lost(
                format!("none came for {seconds} s"),
                format!("{seconds} 秒内没有收到"),
            ))
        }
        Err(_) => Err(lost(
            "the server closed the connection".into(),
            "服务器关闭了连接".into(),
        )),
    }
}

/// The client: finishes sending, and waits until the server has read everything.
///
/// # Errors
/// [`Error::NotStored`] if the server sends a refusal, or [`Error::Lost`], also if it does not
/// finish within `patience`.
pub async fn settle<S: AsyncRead + AsyncWrite + Unpin>(
    mut connection: Connection<S>,
    encodings: Encodings,
    patience: Duration,
) -> Result<(), Error> {
    connection.finish().await?;
    let deadline = Instant::now() + patience;
    loop {
        match next_receipt(&mut connection, encodings, deadline).await {
            Ok(Ok(Receipt::Error(message))) => return Err(Error::NotStored(message)),
            Ok(Err(Received::End)) => return Ok(()),
            Ok(Err(_)) => {
                let seconds = patience.as_secs_f64();
                return Err(Error::Lost(Wording::new(
                    format!("the server has not finished within {seconds} s"),
                    format!("服务器在 {seconds} 秒内没有结束"),
                )));
            }
            Err(error @ Error::Lost(_)) => return Err(error),
            // Another server may send what it likes.
            Ok(Ok(_)) | Err(_) => {}
        }
    }
}

/// The client, after a send that failed: the refusal that the server sent before, if there is one.
pub async fn find_refusal<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    encodings: Encodings,
) -> Option<Error> {
    let deadline = Instant::now() + REFUSAL_TIME;
    match next_receipt(connection, encodings, deadline).await {
        Ok(Ok(Receipt::Error(message))) => Some(Error::NotStored(message)),
        _ => None,
    }
}

/// The next receipt, or the end of the stream or of the time.
async fn next_receipt<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    encodings: Encodings,
    deadline: Instant,
) -> Result<Result<Receipt, Received>, Error> {
    let mut frames = Frames::new(HEADER_BYTES_MAX);
    loop {
        let bytes = match connection.read(Some(deadline)).await? {
            Received::Bytes(bytes) => bytes,
            end => return Ok(Err(end)),
        };
        let mut input = bytes.as_slice();
        let payload = frames.next(&mut input)?;
        connection.put_back(input);
        if let Some(payload) = payload {
            return Ok(Ok(Receipt::parse(
                &encodings.received.try_decode(&payload)?,
            )?));
        }
    }
}
