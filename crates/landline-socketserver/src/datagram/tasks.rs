//! The model `tasks`: a tokio task for each datagram.

use std::{io, pin::pin, sync::Arc};

use tokio::{io::Interest, task::JoinSet};

use super::{Datagram, DatagramServer, DatagramSocket, Outlet, TaskDatagramHandler, batch::Intake};
use crate::{
    DrainOutcome, Event, Failure, Refusal, Shutdown,
    acceptor::ACCEPT_PAUSE,
    gate::{AddressSlot, Gate},
    platform::{self, BATCH_MAX},
    tasks::{all_end_within, catch_panic, run_and_report},
};

impl<S, H> DatagramServer<S, H> {
    /// Handles each datagram with its own task, until `shutdown`.
    ///
    /// At most [`Limits::connections_max`](crate::Limits::connections_max) datagrams are handled at
    /// a time, and
    /// [`Limits::connections_per_address_max`](crate::Limits::connections_per_address_max) from one
    /// address. Further ones are dropped ([`Refusal::Busy`]). To drain, the server waits for
    /// [`Limits::drain_time`](crate::Limits::drain_time), then cuts off the tasks that still run.
    ///
    /// Call it in a tokio runtime with I/O and time enabled.
    ///
    /// ```
    /// use landline_socketserver::{Bind, Stopper, datagram::{Datagram, DatagramServer, Outlet}};
    /// use tokio::net::UdpSocket;
    ///
    /// # #[tokio::main] async fn main() -> std::io::Result<()> {
    /// let socket = Bind::new().udp("127.0.0.1:0")?;
    /// let address = socket.local_addr()?;
    /// let echo = async |datagram: Datagram<'static>, outlet: Outlet| outlet.send(datagram.peer(), datagram.bytes()).await;
    /// let (stopper, shutdown) = Stopper::new()?;
    /// let serving = tokio::spawn(async move { DatagramServer::new(socket, echo).tasks(&shutdown).await });
    ///
    /// let client = UdpSocket::bind("127.0.0.1:0").await?;
    /// client.send_to(b"ping", address).await?;
    /// let mut answer = [0; 16];
    /// let (length, _) = client.recv_from(&mut answer).await?;
    /// assert_eq!(&answer[..length], b"ping");
    /// stopper.stop();
    /// serving.await??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The system's error if the socket cannot be waited for. An error of one datagram, or one that
    /// may pass, is none. [`io::ErrorKind::BrokenPipe`] if the last
    /// [`Stopper`](crate::Stopper) was dropped without [`stop`](crate::Stopper::stop).
    ///
    /// # Cancel safety
    /// A dropped call closes the socket and cuts off all handlers at once.
    pub async fn tasks(self, shutdown: &Shutdown) -> io::Result<DrainOutcome>
    where
        S: DatagramSocket,
        H: TaskDatagramHandler + Send + Sync + 'static,
    {
        let Self { socket, parts } = self;
        let parts = Arc::new(parts);
        let limits = &parts.limits;
        let hooks = &parts.hooks;
        let watch = Arc::new(platform::watch(
            socket.as_fd().try_clone_to_owned()?,
            Interest::READABLE | Interest::WRITABLE,
        )?);
        let outlet = Outlet::new(watch.clone());
        let mut intake = Intake::new(&socket, limits, hooks, BATCH_MAX)?;
        let gate = Gate::new(limits, hooks.clone());
        let mut tasks = JoinSet::new();
        let mut stopped = pin!(shutdown.wait());
        loop {
            tokio::select! {
                biased;
                waited = &mut stopped => {
                    waited?;
                    break;
                }
                Some(_) = tasks.join_next(), if !tasks.is_empty() => while tasks.try_join_next().is_some() {},
                ready = watch.readable() => {
                    let mut ready = ready?;
                    let taken = intake.receive(|datagram| {
                        if tasks.len() >= limits.connections_max.max(1) {
                            return hooks.report(&Event::Refused { peer: datagram.peer(), reason: Refusal::Busy });
                        }
                        let Some(slot) = gate.take_slot(datagram.peer()) else { return };
                        let peer = datagram.peer().clone();
                        let handler = parts.handler.clone();
                        let datagram = datagram.into_owned();
                        let outlet = outlet.clone();
                        let serve = move || handle(handler, datagram, outlet, slot);
                        tasks.spawn(run_and_report(serve, peer, hooks.clone()));
                    });
                    match taken {
                        Ok(true) => {}
                        Ok(false) => ready.clear_ready(),
                        Err(error) => {
                            hooks.report(&Event::AcceptFailed { error: &error });
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            }
        }
        while tasks.try_join_next().is_some() {}
        hooks.report(&Event::Draining { open: tasks.len() });
        all_end_within(limits.drain_time, &mut tasks).await;
        let cut_off = tasks.len();
        tasks.shutdown().await;
        shutdown.conclude(DrainOutcome { cut_off })
    }
}

async fn handle<H: TaskDatagramHandler>(
    mut handler: H,
    datagram: Datagram<'static>,
    outlet: Outlet,
    _slot: AddressSlot,
) -> Result<(), Failure> {
    let body = pin!(async {
        handler
            .handle(datagram, outlet)
            .await
            .map_err(Failure::Handler)
    });
    catch_panic(body).await
}
