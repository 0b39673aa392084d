//! Records the states of a connection after each action.

use std::{io, thread, time::Instant};

use socket2::Socket;

use super::{
    Action, Halt, PATIENCE, Step, TcpState,
    socket_table::{self, Ends, LOOK, SocketTable},
};

/// Records the states of the connection between two ports, and halts after each action.
pub(super) struct Recorder<'a> {
    pub(super) client_port: u16,
    pub(super) server_port: u16,
    pub(super) steps: Vec<Step>,
    halt: Halt<'a>,
}

impl<'a> Recorder<'a> {
    /// A recorder for the connection of two sockets that are bound.
    pub(super) fn new(client: &Socket, listener: &Socket, halt: Halt<'a>) -> io::Result<Self> {
        Ok(Self {
            client_port: port_of(client)?,
            server_port: port_of(listener)?,
            steps: Vec::new(),
            halt,
        })
    }

    pub(super) fn ends(&self) -> Ends {
        SocketTable::read().ends(self.client_port, self.server_port)
    }

    pub(super) fn record(
        &mut self,
        action: Action,
        Ends { client, server }: Ends,
    ) -> io::Result<()> {
        let step = Step {
            action,
            client,
            server,
        };
        self.steps.push(step);
        (self.halt)(step, self.server_port)
    }

    /// Records the states after an action, once they have stopped changing.
    pub(super) fn record_settled(&mut self, action: Action) -> io::Result<()> {
        let ends = socket_table::settled_ends(self.client_port, self.server_port);
        self.record(action, ends)
    }

    /// Records the states after an action, once neither end is in the state `passed` any more.
    ///
    /// An acknowledgement may be delayed, so a state that is passed through may look settled.
    pub(super) fn record_after(&mut self, action: Action, passed: TcpState) -> io::Result<()> {
        let start = Instant::now();
        while self.ends().contains(passed) && start.elapsed() < PATIENCE {
            thread::sleep(LOOK);
        }
        self.record_settled(action)
    }

    /// Records the state of the listener, before there is a connection.
    pub(super) fn record_listener(&mut self, action: Action) -> io::Result<()> {
        let ends = Ends {
            client: None,
            server: SocketTable::read().listener(self.server_port),
        };
        self.record(action, ends)
    }
}

pub(super) fn port_of(socket: &Socket) -> io::Result<u16> {
    let address = socket.local_addr()?.as_socket();
    address
        .map(|address| address.port())
        .ok_or_else(|| io::Error::other("a socket without a port"))
}
