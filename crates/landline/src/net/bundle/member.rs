//! One connection of a bundle, with the pieces that it brings and takes.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use landline_proto::bundle::{PieceDecoder, PiecePart, piece_header};

use super::share::BundleShare;
use crate::net::SecureStream;

/// What a piece costs beside its content, in bytes of memory.
pub(super) const PIECE_COST: usize = 256;

/// One connection of a bundle.
pub(super) struct BundledConnection {
    pub(super) stream: Box<dyn SecureStream>,
    decoder: PieceDecoder,
    /// Pieces that have begun to arrive, in order.
    pub(super) pieces: VecDeque<BundlePiece>,
    /// What the pieces cost in memory.
    pub(super) held: usize,
    pub(super) has_finished: bool,
    /// What it has to send, and how much of it was sent.
    out: Vec<u8>,
    sent: usize,
}

pub(super) struct BundlePiece {
    pub(super) position: u64,
    pub(super) length: usize,
    pub(super) content: Vec<u8>,
}

impl BundledConnection {
    pub(super) fn new(stream: Box<dyn SecureStream>) -> Self {
        Self {
            stream,
            decoder: PieceDecoder::default(),
            pieces: VecDeque::new(),
            held: 0,
            has_finished: false,
            out: Vec::new(),
            sent: 0,
        }
    }

    /// Receives what there is. Ready if something arrived, or the connection has finished.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        length: &mut Option<u64>,
        share: &BundleShare,
    ) -> Poll<io::Result<()>> {
        let filled = ready!(Pin::new(&mut *self.stream).poll_fill_buf(cx))?;
        if filled.is_empty() {
            self.has_finished = true;
            let is_whole = self.decoder.at_boundary();
            return Poll::Ready(is_whole.then_some(()).ok_or_else(cut));
        }
        let mut input = filled;
        while let Some(part) = self.decoder.decode(&mut input).map_err(bad_piece)? {
            match part {
                PiecePart::Start { position, length } => {
                    self.held += PIECE_COST;
                    share.take(PIECE_COST);
                    self.pieces.push_back(BundlePiece {
                        position,
                        length: length as usize,
                        content: Vec::new(),
                    });
                }
                PiecePart::Content(content) => {
                    if let Some(piece) = self.pieces.back_mut() {
                        piece.content.reserve_exact(content.len());
                        piece.content.extend_from_slice(content);
                        self.held += content.len();
                        share.take(content.len());
                    }
                }
                PiecePart::End { position } => {
                    if length.replace(position).is_some() {
                        return Poll::Ready(Err(bad("a bundle has two ends")));
                    }
                }
            }
        }
        let used = filled.len();
        Pin::new(&mut *self.stream).consume(used);
        Poll::Ready(Ok(()))
    }

    /// Whether it holds a whole piece, which is then the next one that it brings.
    pub(super) fn has_whole(&self) -> bool {
        self.pieces.front().is_some_and(BundlePiece::is_whole)
    }

    /// Sends what it has.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        self.out.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    pub(super) fn queue(&mut self, position: u64, content: &[u8]) {
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        self.out.extend_from_slice(&piece_header(length, position));
        self.out.extend_from_slice(content);
    }
}

impl BundlePiece {
    pub(super) fn is_whole(&self) -> bool {
        self.content.len() == self.length
    }
}

/// The peer breaks the rules of bundles.
pub(super) fn bad(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.to_owned())
}

fn bad_piece(error: landline_proto::ProtocolError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A connection has finished, and its stream has not ended.
pub(super) fn cut() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}
