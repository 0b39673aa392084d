//! The channels that several connections carry.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use landline_proto::{
    ErrorCode,
    bundle::BUNDLE_CONNECTIONS_MAX,
    login::{BundleId, UserName},
};
use tokio::sync::oneshot;

use crate::{
    Error,
    net::{BundleHandle, BundleShare, BundledStream, Channel},
    session::Departure,
};

/// The bundles of a server. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Bundles(Arc<Mutex<BundleTable>>);

#[derive(Default)]
struct BundleTable {
    /// By session and id.
    open: HashMap<(String, BundleId), OpenBundle>,
    /// What the bundles of each user share.
    shares: HashMap<UserName, BundleShare>,
    /// What those of all users share.
    shared: BundleShare,
}

struct OpenBundle {
    handle: BundleHandle,
    /// Tell the further connections how it ended.
    ends: Vec<oneshot::Sender<Departure>>,
}

/// What a connection is in its bundle.
pub(super) enum BundleRole {
    /// The first one: its channel uses all of them.
    First(FirstOfBundle),
    /// A further one, which waits for the end of the bundle.
    Further(oneshot::Receiver<Departure>),
}

/// The bundle of a channel. Unless it [ends](Self::end), it was lost.
pub(super) struct FirstOfBundle {
    bundles: Bundles,
    key: (String, BundleId),
    has_ended: bool,
}

impl FirstOfBundle {
    /// Tells the further connections how the channel ended.
    pub(super) fn end(mut self, departure: Departure) {
        self.has_ended = true;
        let open = self.bundles.table().open.remove(&self.key);
        for end in open.into_iter().flat_map(|open| open.ends) {
            // The connection may be gone.
            let _ = end.send(departure);
        }
    }
}

impl Drop for FirstOfBundle {
    fn drop(&mut self) {
        // A bundle that begins with the same id has its own entry.
        if !self.has_ended {
            self.bundles.table().open.remove(&self.key);
        }
    }
}

impl Bundles {
    /// Takes the stream of `channel` into the bundle `id` of a session of `user`. The first one
    /// gets that of the bundle in its place.
    ///
    /// # Errors
    /// `too-many-sessions` if the bundle has the most connections. The channel keeps its stream.
    pub(super) fn join(
        &self,
        session: &str,
        user: &UserName,
        id: BundleId,
        channel: &mut Channel,
    ) -> Result<BundleRole, Error> {
        let mut table = self.table();
        let key = (session.to_owned(), id);
        if let Some(open) = table.open.get_mut(&key) {
            if let Err(stream) = open.handle.add(channel.take_stream()) {
                channel.set_stream(stream);
                let message = format!("a channel has at most {BUNDLE_CONNECTIONS_MAX} connections");
                return Err(Error::here(ErrorCode::TooManySessions, message));
            }
            let (end, ended) = oneshot::channel();
            open.ends.push(end);
            return Ok(BundleRole::Further(ended));
        }
        table.shares.retain(|_, share| share.is_used());
        let another = table.shared.of_another();
        let share = table.shares.entry(user.clone()).or_insert(another).clone();
        let stream = BundledStream::new(channel.take_stream(), 0, share);
        let open = OpenBundle {
            handle: stream.handle(),
            ends: Vec::new(),
        };
        channel.set_stream(Box::new(stream));
        table.open.insert(key.clone(), open);
        Ok(BundleRole::First(FirstOfBundle {
            bundles: self.clone(),
            key,
            has_ended: false,
        }))
    }

    fn table(&self) -> MutexGuard<'_, BundleTable> {
        // Every change to the table is one step, so a panic leaves it consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until the bundle of a further connection has ended.
///
/// # Errors
/// [`Error::Lost`].
pub(super) async fn wait(ended: oneshot::Receiver<Departure>) -> Result<(), Error> {
    match ended.await {
        Ok(Departure::Finished) => Ok(()),
        Ok(Departure::Lost) | Err(_) => Err(Error::Lost("the channel was lost".into())),
    }
}

#[cfg(test)]
mod tests {
    use landline_proto::{Limits, MessageDecoder};

    use super::*;
    use crate::net::memory_pair;

    /// A connection of the session, and what it is in the bundle.
    fn join(bundles: &Bundles, session: &str) -> (Channel, Result<BundleRole, Error>) {
        let decoder = MessageDecoder::new(Limits::SESSION);
        let mut channel = Channel::new(memory_pair(1 << 10).0, decoder);
        let user = "alice".parse().unwrap();
        let role = bundles.join(session, &user, BundleId([7; 8]), &mut channel);
        (channel, role)
    }

    fn first(bundles: &Bundles, session: &str) -> (Channel, FirstOfBundle) {
        match join(bundles, session) {
            (channel, Ok(BundleRole::First(first))) => (channel, first),
            _ => panic!("it is not the first one"),
        }
    }

    fn further(bundles: &Bundles, session: &str) -> oneshot::Receiver<Departure> {
        match join(bundles, session) {
            (_, Ok(BundleRole::Further(ended))) => ended,
            _ => panic!("it is the first one, or refused"),
        }
    }

    #[tokio::test]
    async fn further_connections_end_as_the_first_one() {
        for departure in [Departure::Finished, Departure::Lost] {
            let bundles = Bundles::default();
            let (_channel, begun) = first(&bundles, "s");
            let ends = [further(&bundles, "s"), further(&bundles, "s")];
            begun.end(departure);
            for ended in ends {
                assert_eq!(wait(ended).await.is_ok(), departure == Departure::Finished);
            }
            assert!(bundles.table().open.is_empty());
        }
    }

    #[tokio::test]
    async fn bundle_that_is_dropped_was_lost() {
        let bundles = Bundles::default();
        let (_channel, begun) = first(&bundles, "s");
        let ended = further(&bundles, "s");
        drop(begun);
        assert!(matches!(wait(ended).await, Err(Error::Lost(_))));
    }

    #[tokio::test]
    async fn bundles_of_other_sessions_are_others() {
        let bundles = Bundles::default();
        let (one, other) = (first(&bundles, "s"), first(&bundles, "t"));
        drop(one);
        assert_eq!(bundles.table().open.len(), 1);
        drop(other);
        assert!(bundles.table().open.is_empty());
    }

    #[tokio::test]
    async fn ninth_connection_is_refused() {
        let bundles = Bundles::default();
        let (_channel, _begun) = first(&bundles, "s");
        let ends: Vec<_> = (1..8).map(|_| further(&bundles, "s")).collect();
        let (_, refused) = join(&bundles, "s");
        assert!(matches!(
            refused,
            Err(Error::Failed {
                code: ErrorCode::TooManySessions,
                ..
            })
        ));
        drop(ends);
    }
}
