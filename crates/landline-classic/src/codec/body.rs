//! Headers that announce a number of bytes, each followed by those bytes.

use super::{
    Charset, DialectError, Frames, HEADER_BYTES_MAX, HeaderKeys, UploadForm, bare::BareJson,
};

/// A header that announces a number of bytes.
pub trait SizedHeader: Sized {
    /// Reads the header from its JSON.
    ///
    /// # Errors
    /// [`DialectError::Header`].
    fn parse(json: &str, keys: &HeaderKeys) -> Result<Self, DialectError>;

    /// The number of bytes that follow.
    fn size(&self) -> u64;
}

/// A part of the stream. The bytes are borrowed from the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a, H> {
    /// A header.
    Header(H),
    /// The next bytes of the announced ones; never empty.
    Body(&'a [u8]),
    /// All announced bytes were read.
    End,
}

/// Decodes headers and the bytes after them from a stream.
pub struct BodyDecoder {
    charset: Charset,
    keys: HeaderKeys,
    headers: HeaderDecoder,
    /// The announced bytes that were not read yet; `None` before a header.
    left: Option<u64>,
}

enum HeaderDecoder {
    Framed(Frames),
    Bare(BareJson),
}

impl BodyDecoder {
    /// A decoder for headers in `charset` and in this format, with these keys.
    pub fn new(form: UploadForm, keys: HeaderKeys, charset: Charset) -> Self {
        let headers = match form {
            UploadForm::Framed => HeaderDecoder::Framed(Frames::new(HEADER_BYTES_MAX)),
            UploadForm::Bare => HeaderDecoder::Bare(BareJson::new(charset)),
        };
        Self {
            charset,
            keys,
            headers,
            left: None,
        }
    }

    /// The next part in `input`; `None` if that needs more input.
    ///
    /// `input` is advanced past the bytes that were used.
    ///
    /// # Errors
    /// [`DialectError`] for a header that is malformed or too long.
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
                let json = match &mut self.headers {
                    HeaderDecoder::Framed(frames) => frames
                        .next(input)?
                        .map(|payload| self.charset.try_decode(&payload))
                        .transpose()?,
                    HeaderDecoder::Bare(bare) => bare.next(input)?,
                };
                let Some(json) = json else { return Ok(None) };
                let header = H::parse(&json, &self.keys)?;
                self.left = Some(header.size());
                Ok(Some(Part::Header(header)))
            }
        }
    }

    /// Whether the stream is within a header.
    pub fn is_in_header(&self) -> bool {
        self.left.is_none()
            && match &self.headers {
                HeaderDecoder::Framed(frames) => !frames.at_boundary(),
                HeaderDecoder::Bare(bare) => bare.has_begun(),
            }
    }

    /// Whether the stream is before a header, so that it may end.
    pub fn at_boundary(&self) -> bool {
        self.left.is_none() && !self.is_in_header()
    }
}
