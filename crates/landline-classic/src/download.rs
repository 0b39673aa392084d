//! `download`: the client asks for a file by its name.

use std::{path::Path, sync::Arc, time::Instant};

use landline_paths::{Grant, Root, StagePlan, StagedFile, local};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    ClassicEvent, Connection, Received,
    codec::{
        BodyDecoder, DialectError, DownloadResponse, Encodings, FileHeader, Frames,
        HEADER_BYTES_MAX, HeaderKeys, Part, UploadForm, base_name, encode_download_request,
        parse_download_request,
    },
    service::{Reporter, client_message},
    upload::send_content,
};
use crate::{Error, FileProgress};

/// The mode of a new file, before the umask.
const MODE: u32 = 0o666;

/// The server: answers requests until the client has finished.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    encodings: Encodings,
    folder: &Arc<Root>,
    report: &Reporter,
) -> Result<(), Error> {
    let mut frames = Frames::new(HEADER_BYTES_MAX);
    let mut started_at = None;
    loop {
        let bytes = match connection.read_header(started_at).await? {
            Received::Bytes(bytes) => bytes,
            _ if frames.at_boundary() => return Ok(()),
            _ => return Err(DialectError::Cut.into()),
        };
        let mut input = bytes.as_slice();
        let payload = frames.next(&mut input)?;
        connection.put_back(input);
        match payload {
            Some(payload) => {
                started_at = None;
                let name = parse_download_request(&encodings.received.try_decode(&payload)?)?;
                answer(connection, encodings, folder, name, report).await?;
            }
            None => started_at = started_at.or(Some(Instant::now())),
        }
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    encodings: Encodings,
    folder: &Arc<Root>,
    name: String,
    report: &Reporter,
) -> Result<(), Error> {
    let root = folder.clone();
    let path = name.clone();
    let open = move || {
        if path.starts_with(['/', '~']) {
            return Err(Error::OutsideFolder);
        }
        Ok(root.open_source(&[Grant::home(false)], path.as_bytes())?)
    };
    let source = match tokio::task::spawn_blocking(open).await? {
        Ok(source) => Arc::new(source),
        Err(error) => {
            let message = error.wording();
            let response = DownloadResponse::Error(client_message(&error, &name));
            connection.send(&response.encode(encodings.sent)).await?;
            report.event(|peer| ClassicEvent::Refused { peer, message });
            return Ok(());
        }
    };
    let size = source.length;
    let response = DownloadResponse::File(FileHeader::new(name.clone(), size));
    connection.send(&response.encode(encodings.sent)).await?;
    send_content(connection, source, size, |_| {}).await?;
    report.event(|peer| ClassicEvent::Sent { peer, name, size });
    Ok(())
}

/// The client: asks for `name` and stores the file.
///
/// Returns its path and length in bytes.
///
/// If `target` is a folder, the file gets the last component of `name` there. Otherwise `target` is
/// the path of the file. `progress` is called when the size is known and after each piece.
///
/// # Errors
/// [`Error::NotSent`], [`Error::Name`], [`Error::Dialect`], [`Error::Lost`], or [`Error::Path`],
/// also if the file exists and must not be replaced. Nothing is stored then.
pub async fn fetch<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    encodings: Encodings,
    name: &str,
    target: &Path,
    overwrite: bool,
    mut progress: impl FnMut(FileProgress),
) -> Result<(String, u64), Error> {
    let base = base_name(name)
        .map_err(|source| Error::Name {
            name: name.to_owned(),
            source,
        })?
        .to_owned();
    connection
        .send(&encode_download_request(name, encodings.sent))
        .await?;
    let form = UploadForm::Framed;
    let mut decoder = BodyDecoder::new(form, HeaderKeys::of_upload(form), encodings.received);
    let mut staging: Option<Box<StagedFile>> = None;
    let mut total = FileProgress { done: 0, size: 0 };
    while let Received::Bytes(bytes) = connection.read(None).await? {
        let mut input = bytes.as_slice();
        while let Some(part) = decoder.next::<DownloadResponse>(&mut input)? {
            match part {
                Part::Header(DownloadResponse::Error(message)) => {
                    return Err(Error::NotSent(message));
                }
                Part::Header(DownloadResponse::File(header)) => {
                    total.size = header.size;
                    progress(total);
                    staging =
                        Some(stage(target.to_owned(), base.clone(), header.size, overwrite).await?);
                }
                Part::Body(bytes) => {
                    let Some(mut open) = staging.take() else {
                        continue;
                    };
                    let bytes = bytes.to_vec();
                    total.done += bytes.len() as u64;
                    progress(total);
                    let write = move || open.write(&bytes).map(|()| open);
                    staging = Some(tokio::task::spawn_blocking(write).await??);
                }
                Part::End => {
                    connection.put_back(input);
                    let Some(mut done) = staging.take() else {
                        continue;
                    };
                    let path = done.destination().path.display().to_string();
                    tokio::task::spawn_blocking(move || done.commit()).await??;
                    return Ok((path, total.done));
                }
            }
        }
    }
    Err(DialectError::Cut.into())
}

async fn stage(
    target: std::path::PathBuf,
    base: String,
    size: u64,
    overwrite: bool,
) -> Result<Box<StagedFile>, Error> {
    let open = move || {
        let destination = local::open_destination(&target, base.as_bytes())?;
        let plan = StagePlan {
            mode: MODE,
            replace: overwrite,
        };
        let staged = StagedFile::create(destination, plan)?;
        staged.check_space(size)?;
        Ok(Box::new(staged))
    };
    tokio::task::spawn_blocking(open).await?
}
