//! `download`: a file that is asked for by its name.

use std::{path::Path, sync::Arc, time::Instant};

use landline_paths::{Grant, Root, StagePlan, StagedFile, local};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    ClassicEvent, Connection, Got,
    codec::{
        Answer, BodyDecoder, Charset, DialectError, FileHeader, Frames, HEADER_BYTES_MAX, Part,
        UploadForm, base_name, download_answer, download_request, parse_download_request,
    },
    service::{Reporter, told},
    upload::send_content,
};
use crate::{Error, FileProgress};

/// The mode of a new file, before the umask.
const MODE: u32 = 0o666;

/// The server's half: answers requests until the client has finished.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    charset: Charset,
    folder: &Arc<Root>,
    report: &Reporter,
) -> Result<(), Error> {
    let mut frames = Frames::new(HEADER_BYTES_MAX);
    let mut began = None;
    loop {
        let bytes = match line.read_header(began).await? {
            Got::Bytes(bytes) => bytes,
            _ if frames.at_boundary() => return Ok(()),
            _ => return Err(DialectError::Cut.into()),
        };
        let mut input = bytes.as_slice();
        let found = frames.next(&mut input)?;
        line.put_back(input);
        match found {
            Some(payload) => {
                began = None;
                let name = parse_download_request(&charset.decode(&payload))?;
                answer(line, charset, folder, name, report).await?;
            }
            None => began = began.or(Some(Instant::now())),
        }
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    charset: Charset,
    folder: &Arc<Root>,
    name: String,
    report: &Reporter,
) -> Result<(), Error> {
    let (root, wanted) = (folder.clone(), name.clone());
    let open = move || {
        if wanted.starts_with(['/', '~']) {
            return Err(Error::OutsideFolder);
        }
        Ok(root.open_source(&[Grant::home(false)], wanted.as_bytes())?)
    };
    let source = match tokio::task::spawn_blocking(open).await? {
        Ok(source) => Arc::new(source),
        Err(error) => {
            let message = error.to_string();
            line.send(&download_answer(
                &Answer::Error(told(&error, &name)),
                charset,
            ))
            .await?;
            report.event(|peer| ClassicEvent::Refused { peer, message });
            return Ok(());
        }
    };
    let size = source.length;
    line.send(&download_answer(
        &Answer::File(FileHeader::new(name.clone(), size)),
        charset,
    ))
    .await?;
    send_content(line, source, size, |_| {}).await?;
    report.event(|peer| ClassicEvent::Sent { peer, name, size });
    Ok(())
}

/// The client's half: asks for `name`, and stores it under its own base name in `folder`, or as
/// `folder` says if that is no folder. Gives the path and the bytes stored. `progress` is called
/// when the size is known, and for each piece that is stored.
///
/// # Errors
/// [`Error::NotSent`], [`Error::Name`], [`Error::Path`], also where the file exists and may not be
/// overwritten, [`Error::Dialect`], [`Error::Lost`]. Nothing is stored then.
pub async fn fetch<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    charset: Charset,
    name: &str,
    folder: &Path,
    overwrite: bool,
    mut progress: impl FnMut(FileProgress),
) -> Result<(String, u64), Error> {
    let base = base_name(name)
        .map_err(|source| Error::Name {
            name: name.to_owned(),
            source,
        })?
        .to_owned();
    line.send(&download_request(name, charset)).await?;
    let mut decoder = BodyDecoder::new(UploadForm::Framed, charset);
    let mut staging: Option<Box<StagedFile>> = None;
    let mut moved = FileProgress { done: 0, size: 0 };
    while let Got::Bytes(bytes) = line.read(None).await? {
        let mut input = bytes.as_slice();
        while let Some(part) = decoder.next::<Answer>(&mut input)? {
            match part {
                Part::Header(Answer::Error(message)) => {
                    return Err(Error::NotSent(message));
                }
                Part::Header(Answer::File(header)) => {
                    moved.size = header.size;
                    progress(moved);
                    staging =
                        Some(stage(folder.to_owned(), base.clone(), header.size, overwrite).await?);
                }
                Part::Body(bytes) => {
                    let (Some(mut open), bytes) = (staging.take(), bytes.to_vec()) else {
                        continue;
                    };
                    moved.done += bytes.len() as u64;
                    progress(moved);
                    let write = move || open.write(&bytes).map(|()| open);
                    staging = Some(tokio::task::spawn_blocking(write).await??);
                }
                Part::End => {
                    line.put_back(input);
                    let Some(mut done) = staging.take() else {
                        continue;
                    };
                    let path = done.destination().path.display().to_string();
                    tokio::task::spawn_blocking(move || done.commit()).await??;
                    return Ok((path, moved.done));
                }
            }
        }
    }
    Err(DialectError::Cut.into())
}

async fn stage(
    folder: std::path::PathBuf,
    base: String,
    size: u64,
    overwrite: bool,
) -> Result<Box<StagedFile>, Error> {
    let open = move || {
        let destination = local::open_destination(&folder, base.as_bytes())?;
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
