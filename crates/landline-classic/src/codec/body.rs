//! A header that says how many bytes follow, then the bytes; any number of times.

use super::{Charset, DialectError, Frames, HEADER_BYTES_MAX, UploadForm, bare::BareJson};

/// A header that is followed by bytes.
pub trait SizedHeader: Sized {
    /// Reads it from its JSON.
    ///
    /// # Errors
    /// [`DialectError::Header`].
    fn parse(json: &str, form: UploadForm) -> Result<Self, DialectError>;

    /// How many bytes follow.
    fn size(&self) -> u64;
}

/// A part of what was sent, the bytes being borrowed from the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a, H> {
    /// A header.
    Header(H),
    /// The next of the bytes that it announced; never empty.
    Body(&'a [u8]),
    /// All of them have come.
    End,
}

/// Decodes headers and the bytes behind them from a stream that is cut anywhere.
pub struct BodyDecoder {
    charset: Charset,
    form: Form,
    left: Option<u64>,
}

enum Form {
    Framed(Frames),
    Bare(BareJson),
}

impl BodyDecoder {
    /// For headers in `charset`, written as `form` says.
    pub fn new(form: UploadForm, charset: Charset) -> Self {
        let form = match form {
            UploadForm::Framed => Form::Framed(Frames::new(HEADER_BYTES_MAX)),
            UploadForm::Bare => Form::Bare(BareJson::new(charset)),
        };
        Self {
            charset,
            form,
            left: None,
        }
    }

    /// The next part in `input`, which is advanced past what was used; `None` when it takes more.
    ///
    /// # Errors
    /// [`DialectError`] for a header that is none.
    pub fn next<'a, H: SizedHeader>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<Part<'a, H>>, DialectError> {
        match self.left {
            Some(0) => {
                self.left = None;
                Ok(Some(Part::End))
            }
            Some(_) if input.is_empty() => Ok(None),
            Some(left) => {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let (bytes, rest) = input.split_at(take);
                *input = rest;
                self.left = Some(left - take as u64);
                Ok(Some(Part::Body(bytes)))
            }
            None => {
                let (json, form) = match &mut self.form {
                    Form::Framed(frames) => (
                        frames
                            .next(input)?
                            .map(|payload| self.charset.decode(&payload)),
                        UploadForm::Framed,
                    ),
                    Form::Bare(bare) => (bare.next(input)?, UploadForm::Bare),
                };
                let Some(json) = json else { return Ok(None) };
                let header = H::parse(&json, form)?;
                self.left = Some(header.size());
                Ok(Some(Part::Header(header)))
            }
        }
    }

    /// Whether a header has begun and is not complete.
    pub fn is_in_header(&self) -> bool {
        self.left.is_none()
            && match &self.form {
                Form::Framed(frames) => !frames.at_boundary(),
                Form::Bare(bare) => bare.is_begun(),
            }
    }

    /// Whether the stream may end here.
    pub fn at_boundary(&self) -> bool {
        self.left.is_none() && !self.is_in_header()
    }
}
