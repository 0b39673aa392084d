//! The beginning of the content, which comes with `put` in one flight.

use landline_proto::{BodySize, Header, Message, ProtocolError};

use super::{
    Algorithm, ContentHasher, Digest, Input,
    messages::{EARLY_BYTES_MAX, Put},
};
use crate::Error;

/// The beginning of the content, and the digest if that is all of it.
#[derive(Default)]
pub(super) struct Early {
    pub(super) content: Vec<u8>,
    pub(super) digest: Option<Digest>,
}

impl Early {
    /// Reads the beginning of a file.
    ///
    /// `None` for a stream, an empty file, and one that has changed since it was opened.
    ///
    /// # Errors
    /// `io`.
    ///
    /// # Blocking
    /// Reads the disk.
    pub(super) fn read(input: &Input) -> Result<Option<Self>, Error> {
        let Some(source) = input.source().filter(|source| source.length > 0) else {
            return Ok(None);
        };
        let count = source.length.min(EARLY_BYTES_MAX);
        let mut content = vec![0; usize::try_from(count).unwrap_or(0)];
        let read = match input.shared() {
            Some(shared) => shared.read_at(0, &mut content)?,
            None => source.read_into(0, &mut content)?,
        };
        let is_unchanged = read == content.len() && source.identity_now()? == source.identity();
        let digest = (count == source.length).then(|| {
            let mut hasher = ContentHasher::new(Algorithm::Blake3);
            hasher.update(&content);
            hasher.finish()
        });
        Ok(is_unchanged.then_some(Self { content, digest }))
    }
}

/// What a request says of the content that comes with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AnnouncedEarly {
    pub(super) length: u64,
    /// The digest, if that is all of the content.
    pub(super) digest: Option<Digest>,
}

impl AnnouncedEarly {
    /// Reads what `header` says, which is that of `put`.
    ///
    /// # Errors
    /// [`Error::Protocol`] if the body does not fit the request.
    pub(super) fn of(header: &Header, put: &Put) -> Result<Self, Error> {
        let Some(BodySize::Known(found)) = header.body() else {
            return Ok(Self::default());
        };
        let bad = |what: &str| {
            let problem = format!("in {:?}: {what}", Put::TYPE);
            Err(ProtocolError::BadHeader(problem).into())
        };
        match (put.length, put.digest) {
            (None, _) => bad("\"size\" without \"length\""),
            (Some(declared), _) if found > declared => {
                Err(ProtocolError::BodySize { declared, found }.into())
            }
            (Some(length), None) if found == length => bad("all of the content, and no \"digest\""),
            (Some(length), Some(_)) if found != length => {
                bad("\"digest\" without all of the content")
            }
            (_, Some(digest)) if digest.algorithm() != put.algorithm => {
                bad("\"digest\" by another algorithm")
            }
            (_, digest) => Ok(Self {
                length: found,
                digest,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        files::SharedSource,
        paths::{TempDir, local},
    };

    fn read(length: usize, is_shared: bool) -> Option<(usize, bool)> {
        let folder = TempDir::create(&std::env::temp_dir()).unwrap();
        let path = folder.path().join("file");
        local::write(&path, &vec![7; length]).unwrap();
        let source = Arc::new(local::open_source(&path).unwrap());
        let input = if is_shared {
            Input::Shared(Arc::new(SharedSource::new(source)))
        } else {
            Input::File(source)
        };
        let early = Early::read(&input).unwrap();
        folder.remove();
        early.map(|early| (early.content.len(), early.digest.is_some()))
    }

    #[test]
    fn short_file_is_read_whole_and_long_one_in_part() {
        for is_shared in [false, true] {
            assert_eq!(read(0, is_shared), None);
            assert_eq!(read(1, is_shared), Some((1, true)));
            assert_eq!(read(65_536, is_shared), Some((65_536, true)));
            assert_eq!(read(65_537, is_shared), Some((65_536, false)));
        }
    }

    #[test]
    fn changed_file_and_stream_are_not_sent_early() {
        let folder = TempDir::create(&std::env::temp_dir()).unwrap();
        let path = folder.path().join("file");
        local::write(&path, b"content").unwrap();
        let source = Arc::new(local::open_source(&path).unwrap());
        local::write(&path, b"changed!").unwrap();
        assert!(Early::read(&Input::File(source)).unwrap().is_none());
        let stream = Input::Stream(Box::new(&b"content"[..]), "a stream");
        assert!(Early::read(&stream).unwrap().is_none());
        folder.remove();
    }
}
