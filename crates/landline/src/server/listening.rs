//! Accepts connections on the listener until the server drains.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use landline_socketserver::{
    self as socketserver, Limits, Stopper,
    tasks::{TaskConnection, TaskTimed},
};
use tokio::net::{TcpListener, TcpStream};

use super::{connection::serve_if_admitted, state::ServerState};
use crate::{activity::Activity, audit::Priority, net::tcp};

/// How long terminated connections may take to send their errors.
const ENDING_TIME: Duration = Duration::from_secs(2);

/// Serves connections until `shutdown`, then drains.
pub(super) async fn accept(
    state: Arc<ServerState>,
    listener: TcpListener,
    drain_time: Duration,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let limits = Limits {
        // The admission sets these limits, because it knows how far each login is.
        connections_max: usize::MAX,
        connections_per_address_max: usize::MAX,
        idle_timeout: None,
        drain_time,
        ending_time: ENDING_TIME,
        ..Limits::default()
    };
    let audit = state.audit.clone();
    let handler = async move |connection: &mut TaskConnection<Option<TcpStream>>| {
        let (peer, drain) = (connection.peer().socket_addr(), connection.drain().clone());
        let (Some(peer), Some(stream)) = (peer, connection.stream_mut().take()) else {
            return Ok(());
        };
        serve_if_admitted(Box::new(stream), peer, state, drain).await;
        Ok(())
    };
    let prepared = async |timed: TaskTimed<TcpStream>| {
        let stream = timed.into_socket();
        tcp::prepare(&stream).map(|()| Some(stream))
    };
    let server = socketserver::Server::new(listener.into_std()?, handler)
        .wrap(prepared)
        .limits(limits);
    let server = server.on_event(move |event| {
        if let socketserver::Event::Draining { open } = event {
            let connections = *open;
            audit.note(Activity::Draining { connections }, Priority::Exempt);
        }
    });
    let (stopper, stop) = Stopper::new()?;
    let mut serving = pin!(server.tasks(&stop));
    tokio::select! {
        served = &mut serving => served.map(drop),
        () = shutdown => {
            stopper.stop();
            serving.await.map(drop)
        }
    }
}
