//! The ports on which a server listens for one channel.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    io,
    net::SocketAddr,
    task::{Context, Poll},
};

use landline_proto::ErrorCode;
use landline_socketserver::Bind;
use tokio::net::{TcpListener, TcpStream};

use super::{connect::unreachable, messages::Listen};
use crate::{
    Error,
    activity::Activity,
    rights::{ListenTarget, Rights},
    session::ServiceContext,
};

/// How many ports one channel may ask for, so that the answers to it are few.
const REQUESTS_MAX: usize = 64;

/// The listeners of a channel.
#[derive(Default)]
pub(super) struct Listeners {
    requests: usize,
    open: BTreeMap<u64, OpenPort>,
}

struct OpenPort {
    listener: TcpListener,
    target: ListenTarget,
}

impl Listeners {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn has(&self, listener: u64) -> bool {
        self.open.contains_key(&listener)
    }

    /// Counts a request to listen.
    ///
    /// # Errors
    /// `too-many-sessions`, with which the channel ends.
    pub(super) fn count_request(&mut self) -> Result<(), Error> {
        self.requests += 1;
        if self.requests > REQUESTS_MAX {
            let message = format!("a channel asks for at most {REQUESTS_MAX} ports");
            return Err(Error::here(ErrorCode::TooManySessions, message));
        }
        Ok(())
    }

    /// Listens as a client asks.
    ///
    /// # Errors
    /// `denied`, `unreachable`, `name-refused` for a number that is taken, `audit`.
    pub(super) async fn listen(
        &mut self,
        context: &ServiceContext,
        request: &Listen,
    ) -> Result<SocketAddr, Error> {
        if self.open.contains_key(&request.listener) {
            let message = format!("the listener {} already exists", request.listener);
            return Err(Error::here(ErrorCode::NameRefused, message));
        }
        let target = ListenTarget {
            address: request.address,
            port: request.port,
        };
        let address = SocketAddr::new(request.address, request.port);
        let verdict = context
            .rights()
            .rules()
            .check_listen(context.user(), target);
        if !verdict.allowed {
            let message = format!("you may not listen on {address}: {}", verdict.reason);
            return Err(Error::here(ErrorCode::Denied, message));
        }
        context
            .record(|user, session| Activity::ForwardListen {
                user,
                session,
                address,
            })
            .await?;
        let failed = |error: io::Error| unreachable(&address.to_string(), &error);
        // With tokio's own call, the system decides whether `[::]` takes IPv4 too.
        let bound = Bind::new().tcp(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        });
        let listener = bound.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        self.open
            .insert(request.listener, OpenPort { listener, target });
        Ok(address)
    }

    /// Waits for a connection, and returns the number of its listener.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn accept(&self) -> (u64, TcpStream, SocketAddr) {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<(u64, TcpStream, SocketAddr)> {
        for (number, OpenPort { listener, .. }) in &self.open {
            // A connection that is gone already is not worth an error.
            if let Poll::Ready(Ok((socket, peer))) = listener.poll_accept(cx) {
                return Poll::Ready((*number, socket, peer));
            }
        }
        Poll::Pending
    }

    /// Closes the listeners that the user has no right to any more, and returns their numbers.
    pub(super) fn retain_allowed(&mut self, context: &ServiceContext, rules: &Rights) -> Vec<u64> {
        let denied: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, listener)| !rules.check_listen(context.user(), listener.target).allowed)
            .map(|(number, _)| *number)
            .collect();
        for number in &denied {
            self.open.remove(number);
        }
        denied
    }
}
