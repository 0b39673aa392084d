//! The connection to a server, and how far it has been told.

use std::{
    io::{ErrorKind, IoSlice},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::io::Errno;

use crate::{
    output::Output,
    program::Program,
    protocol::{self, Adopted, FrameBuffer, FrameError, Order, OutputStream, Report, Store},
};

/// The most bytes that are read from the server at a time.
const READ_BYTES_MAX: usize = 64 * 1024;

/// How long the buffer for reports may be while it is empty.
const OUT_BYTES_KEPT: usize = 256 * 1024;

/// A connection on which a server may send orders.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    frames: FrameBuffer,
    /// How many bytes were read.
    pub(crate) received: u64,
}

impl Connection {
    /// Takes a socket that does not block.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            frames: FrameBuffer::default(),
            received: 0,
        }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what is there into `buffer` and takes it; `false` once the server has closed the
    /// socket.
    pub(crate) fn read(&mut self, buffer: &mut Vec<u8>) -> bool {
        buffer.clear();
        buffer.reserve_exact(READ_BYTES_MAX);
        match rustix::io::read(&self.socket, rustix::buffer::spare_capacity(buffer)) {
            Ok(0) => false,
            Ok(count) => {
                self.received += count as u64;
                self.frames.extend(buffer);
                true
            }
            Err(errno) => is_temporary(errno),
        }
    }

    pub(crate) fn next_order(&mut self) -> Result<Option<Order>, FrameError> {
        self.frames.next_frame()?.map(Order::decode).transpose()
    }
}

/// The server that is served.
///
/// What it has been told is compared with what there is to tell. So nothing is queued but the frame
/// that is on its way, however slowly the server reads.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) connection: Connection,
    /// Frames that the socket has not taken yet.
    out: Vec<u8>,
    /// How many bytes of `out` it has taken.
    written: usize,
    /// Whether the socket takes nothing now.
    pub(crate) is_blocked: bool,
    told: [Told; 2],
    /// The output whose turn it is.
    turn: usize,
    input_taken: u64,
    is_input_stop_told: bool,
    is_exit_told: bool,
}

/// How far the server has been told of an output.
#[derive(Debug, Default)]
struct Told {
    sent: u64,
    stored: Option<u64>,
    is_end_told: bool,
}

/// What a socket has done with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    All,
    /// Not all: it takes no more now.
    Part,
    Nothing,
    /// The server is gone.
    Gone,
}

impl Server {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            out: Vec::new(),
            written: 0,
            is_blocked: false,
            told: [Told::default(), Told::default()],
            turn: 0,
            input_taken: 0,
            is_input_stop_told: false,
            is_exit_told: false,
        }
    }

    /// Begins to serve a connection that has adopted this supervisor.
    pub(crate) fn adopt(connection: Connection, program: &Program) -> Self {
        let mut server = Self::new(connection);
        let [stdout, stderr] = program.outputs.each_ref().map(Output::state);
        let input = program.input.state();
        for (told, output) in server.told.iter_mut().zip([stdout, stderr]) {
            told.sent = output.acknowledged;
        }
        server.input_taken = input.taken;
        server.is_input_stop_told = input.has_stopped;
        server.report(&Report::Adopted(Adopted {
            pid: program.pid,
            store: program.store(),
            stdout,
            stderr,
            input,
        }));
        server
    }

    /// Sends a report before all others.
    pub(crate) fn report(&mut self, report: &Report) {
        report.encode(&mut self.out);
    }

    /// How many bytes of an output were sent.
    pub(crate) fn sent(&self, stream: OutputStream) -> u64 {
        let [stdout, stderr] = &self.told;
        match stream {
            OutputStream::Stdout => stdout.sent,
            OutputStream::Stderr => stderr.sent,
        }
    }

    /// Whether the server has been told everything, the exit too.
    pub(crate) fn is_done(&self) -> bool {
        self.is_exit_told && self.out.is_empty()
    }

    /// Sends what the socket takes; `false` if the server is gone.
    pub(crate) fn flush(&mut self, program: Option<&Program>) -> bool {
        loop {
            let mut sent = self.send_out();
            if sent == Sent::All
                && let Some(program) = program
            {
                self.report_news(program);
                if !self.out.is_empty() {
                    continue;
                }
                sent = self.send_output(program);
                if sent == Sent::All {
                    continue;
                }
            }
            self.is_blocked = sent == Sent::Part;
            return sent != Sent::Gone;
        }
    }

    /// Sends what is in `out`.
    fn send_out(&mut self) -> Sent {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match rustix::io::write(self.connection.socket(), rest) {
                Ok(count) => self.written += count,
                Err(Errno::INTR) => {}
                Err(errno) if is_temporary(errno) => return Sent::Part,
                Err(_) => return Sent::Gone,
            }
        }
        self.out.clear();
        self.written = 0;
        // A long report leaves no long buffer behind.
        self.out.shrink_to(OUT_BYTES_KEPT);
        Sent::All
    }

    /// Adds a report of each thing that the server does not know, except output.
    fn report_news(&mut self, program: &Program) {
        let input = program.input.state();
        if input.taken > self.input_taken {
            self.input_taken = input.taken;
            let offset = input.taken;
            self.report(&Report::InputAck { offset });
        }
        if input.has_stopped && !self.is_input_stop_told {
            self.is_input_stop_told = true;
            self.report(&Report::InputStop);
        }
        for (told, output) in self.told.iter_mut().zip(&program.outputs) {
            let (stream, offset) = (output.stream(), output.end());
            let is_disk = program.store() == Store::Disk;
            if is_disk && told.stored != Some(offset) {
                told.stored = Some(offset);
                Report::Stored { stream, offset }.encode(&mut self.out);
            }
            if !output.is_open() && !told.is_end_told && (is_disk || told.sent == offset) {
                told.is_end_told = true;
                Report::OutputEnd { stream, offset }.encode(&mut self.out);
            }
        }
        if let Some(exit) = program.finished
            && !self.is_exit_told
            && self.told.iter().all(|told| told.is_end_told)
        {
            self.is_exit_told = true;
            self.report(&Report::Exited(exit));
        }
    }

    /// Sends one frame of output. It goes from where it was read to the socket, and only what the
    /// socket does not take is copied.
    fn send_output(&mut self, program: &Program) -> Sent {
        if program.store() == Store::Disk {
            return Sent::Nothing;
        }
        for _ in 0..program.outputs.len() {
            self.turn = (self.turn + 1) % program.outputs.len();
            let (Some(output), Some(told)) =
                (program.outputs.get(self.turn), self.told.get_mut(self.turn))
            else {
                continue;
            };
            let room = output.sendable().saturating_sub(told.sent);
            if room == 0 {
                continue;
            }
            let bytes = output.bytes_at(told.sent);
            let length = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let bytes = bytes.get(..length).unwrap_or_default();
            let head = protocol::output_head(output.stream(), told.sent, bytes.len());
            let frame = [IoSlice::new(&head), IoSlice::new(bytes)];
            let taken = match rustix::io::writev(self.connection.socket(), &frame) {
                Ok(taken) => taken,
                Err(errno) if is_temporary(errno) => return Sent::Part,
                Err(_) => return Sent::Gone,
            };
            told.sent += length as u64;
            let head_rest = head.get(taken..).unwrap_or_default();
            let bytes_rest = bytes.get(taken.saturating_sub(head.len())..);
            self.out.extend(head_rest);
            self.out.extend(bytes_rest.unwrap_or_default());
            return Sent::All;
        }
        Sent::Nothing
    }
}

/// Whether the same call may succeed later.
pub(crate) fn is_temporary(errno: Errno) -> bool {
    matches!(errno.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
