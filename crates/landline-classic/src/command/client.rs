//! The client of the command dialects.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use landline_proto::frame::{FrameDecoder, FramePart};
use tokio::io::{AsyncRead, AsyncWrite};

use super::CommandForm;
use crate::{
    Connection, Error, Received,
    codec::{
        BodyDecoder, Charset, CommandHeader, DialectError, HeaderKeys, Part, UploadForm,
        cause_of_length, length_error,
    },
    error::STANDARD_OUTPUT,
};

/// The silence after which an answer that may have a big-endian length has ended.
const STALL_TIME: Duration = Duration::from_secs(3);

/// The result of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandResult {
    /// The exit status, if the dialect sends it.
    pub code: Option<i64>,
    /// Bytes of output.
    pub bytes: u64,
}

/// Sends one command.
///
/// # Errors
/// [`Error::Lost`].
pub async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    charset: Charset,
    command: &str,
) -> Result<(), Error> {
    connection.send(&charset.encode(command)).await
}

/// Waits for an answer in the form `Sized` or `Json`, and writes it to `output`.
///
/// `keys` are those of the form `Json`.
///
/// `None` if the server closes the connection instead.
///
/// # Errors
/// [`Error::Dialect`], [`Error::Lost`], or [`Error::Io`] if writing fails.
pub async fn receive_answer<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    charset: Charset,
    form: CommandForm,
    keys: &HeaderKeys,
    output: &mut (dyn Write + Send),
) -> Result<Option<CommandResult>, Error> {
    let mut decoder = match form {
        CommandForm::Json => Decoder::Json(Box::new(BodyDecoder::new(
            UploadForm::Framed,
            keys.clone(),
            charset,
        ))),
        _ => Decoder::Sized(FrameDecoder::default()),
    };
    let mut answered = CommandResult {
        code: None,
        bytes: 0,
    };
    let mut has_begun = false;
    let mut length = 0;
    loop {
        // A big-endian length looks like a long one. Then the answer stops at the shorter one.
        let is_suspicious =
            answered.bytes > 0 && u64::from(u32::swap_bytes(length)) == answered.bytes;
        let deadline = is_suspicious.then(|| Instant::now() + STALL_TIME);
        let bytes = match connection.read(deadline).await? {
            Received::Bytes(bytes) => bytes,
            Received::End => break,
            Received::Timeout => return Err(big_endian(length).into()),
        };
        has_begun = true;
        let mut input = bytes.as_slice();
        while let Some(step) = decoder.next(&mut input)? {
            match step {
                Step::Code(code) => answered.code = code,
                Step::Length(announced) => length = announced,
                Step::Bytes(bytes) => {
                    answered.bytes += bytes.len() as u64;
                    output
                        .write_all(bytes)
                        .map_err(|error| Error::io(STANDARD_OUTPUT, error))?;
                }
                Step::End => {
                    connection.put_back(input);
                    output
                        .flush()
                        .map_err(|error| Error::io(STANDARD_OUTPUT, error))?;
                    return Ok(Some(answered));
                }
            }
        }
    }
    if has_begun {
        Err(DialectError::Cut.into())
    } else {
        Ok(None)
    }
}

/// Waits for output in the form `Raw`, and writes it to `output`.
///
/// It waits for the first byte for `patience`, then until nothing arrives for `pause`. `false` if
/// the server has closed the connection.
///
/// # Errors
/// [`Error::Lost`], or [`Error::Io`] if writing fails.
pub async fn receive_raw<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    patience: Option<Duration>,
    pause: Option<Duration>,
    output: &mut (dyn Write + Send),
) -> Result<bool, Error> {
    let mut wait = patience;
    loop {
        match connection
            .read(wait.map(|wait| Instant::now() + wait))
            .await?
        {
            Received::Bytes(bytes) => {
                let written = output.write_all(&bytes).and_then(|()| output.flush());
                written.map_err(|error| Error::io(STANDARD_OUTPUT, error))?;
                wait = pause;
            }
            Received::Timeout => return Ok(true),
            Received::End => return Ok(false),
        }
    }
}

/// The error for a length that is big-endian.
fn big_endian(length: u32) -> DialectError {
    let length = i32::try_from(length).unwrap_or(i32::MAX);
    let limit = i32::MAX as u32;
    DialectError::Length {
        length,
        limit,
        cause: cause_of_length(length.to_le_bytes(), limit),
    }
}

enum Decoder {
    Sized(FrameDecoder),
    Json(Box<BodyDecoder>),
}

enum Step<'a> {
    Code(Option<i64>),
    Length(u32),
    Bytes(&'a [u8]),
    End,
}

impl Decoder {
    fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Step<'a>>, DialectError> {
        Ok(match self {
            Self::Sized(decoder) => match decoder.decode(input, i32::MAX as u32) {
                Ok(part) => part.map(|part| match part {
                    FramePart::Start(length) => Step::Length(length),
                    FramePart::Payload(bytes) => Step::Bytes(bytes),
                    FramePart::End => Step::End,
                }),
                Err(error) => return Err(length_error(&error)),
            },
            Self::Json(decoder) => decoder
                .next::<CommandHeader>(input)?
                .map(|part| match part {
                    Part::Header(header) => Step::Code(Some(header.code)),
                    Part::Body(bytes) => Step::Bytes(bytes),
                    Part::End => Step::End,
                }),
        })
    }
}
