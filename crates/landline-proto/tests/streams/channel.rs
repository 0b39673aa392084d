//! Two sides, what is on the wire between them, and what has to come out of each stream.

use std::collections::{BTreeMap, VecDeque};

use landline_proto::{
    BodySize, Item, Limits, MessageDecoder,
    limits::STREAM_WINDOW_INITIAL,
    messages::{ErrorMessage, Open},
    streams::{Read, Side, StreamEvent, StreamOptions, Streams, is_stream_message},
};

/// Streams with fixed numbers that every simulation has.
pub(crate) const STREAMS: u64 = 3;

/// After how many steps a side sends a control message, where it does so by itself.
pub(crate) const CONTROL_EVERY: usize = 3;

/// The most that one side may hold for `streams` streams.
pub(crate) fn memory_bytes_max(streams: u64, pool: u64) -> u64 {
    2 * (streams * STREAM_WINDOW_INITIAL + pool)
}

/// How much each side wants to write to each stream by itself.
#[derive(Clone, Copy)]
pub(crate) enum Plan {
    /// Nothing: actions write.
    Endless,
    /// This much, then the end.
    Bytes(u64),
}

/// What the application on one side knows of a stream.
#[derive(Default)]
struct Application {
    written: u64,
    finished: bool,
    /// The peer reads no more.
    refused: bool,
    read: u64,
    at_end: bool,
    stopped: bool,
}

struct Endpoint {
    streams: Streams,
    decoder: MessageDecoder,
    applications: BTreeMap<u64, Application>,
    /// What is on its way to this side.
    wire: VecDeque<u8>,
    delivered_bytes: usize,
    transmitted_content: u64,
    controls_queued: usize,
    controls_sent: u64,
    controls_received: u64,
    /// Streams this side opened, and whether the peer has seen it.
    opened: BTreeMap<u64, bool>,
}

pub(crate) struct Channel {
    ends: [Endpoint; 2],
    plan: Plan,
    control_every: usize,
    steps: usize,
}

/// The byte at an offset of what `side` sends.
fn content(side: usize, stream: u64, offset: u64) -> u8 {
    let mixed = (offset + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(stream * 7 + side as u64);
    (mixed >> 32) as u8
}

fn options() -> StreamOptions {
    StreamOptions {
        window_start: 100_000,
        window_max: 1 << 20,
        ..StreamOptions::BOTH
    }
}

impl Endpoint {
    fn new(side: Side, pool: u64) -> Self {
        let mut streams = Streams::new(side, pool);
        let mut applications = BTreeMap::new();
        for stream in 0..STREAMS {
            assert!(streams.add(stream, &options()));
            applications.insert(stream, Application::default());
        }
        Self {
            streams,
            decoder: MessageDecoder::new(Limits::SESSION),
            applications,
            wire: VecDeque::new(),
            delivered_bytes: 0,
            transmitted_content: 0,
            controls_queued: 0,
            controls_sent: 0,
            controls_received: 0,
            opened: BTreeMap::new(),
        }
    }

    /// Handles one piece of input; returns the opened streams that the peer announced.
    fn handle(&mut self, mut input: &[u8]) -> Vec<u64> {
        let mut announced = Vec::new();
        while let Some(item) = self.decoder.decode(&mut input).unwrap() {
            match item {
                Item::Header(header) if is_stream_message(&header) => {
                    self.streams.handle_header(&header).unwrap();
                }
                Item::Header(header) if header.kind() == "open" => {
                    let stream = header.read::<Open>().unwrap().service.parse().unwrap();
                    self.streams.accept(stream, &options()).unwrap();
                    self.applications.insert(stream, Application::default());
                    announced.push(stream);
                }
                Item::Header(_) => self.controls_received += 1,
                Item::Data(bytes) => self.streams.handle_data(bytes).unwrap(),
                Item::BodyEnd(_) => {}
            }
            while let Some(event) = self.streams.poll_event() {
                match event {
                    StreamEvent::Stopped { stream, .. } => self.application(stream).refused = true,
                    StreamEvent::Gone { stream } => {
                        if self.opened.get(&stream) == Some(&false) {
                            self.applications.remove(&stream);
                        } else {
                            self.application(stream).refused = true;
                        }
                    }
                    StreamEvent::Readable { .. } | StreamEvent::Writable { .. } => {}
                }
            }
        }
        announced
    }

    fn application(&mut self, stream: u64) -> &mut Application {
        self.applications.get_mut(&stream).unwrap()
    }
}

impl Channel {
    pub(crate) fn new(pool: u64, plan: Plan) -> Self {
        Self {
            ends: [
                Endpoint::new(Side::Client, pool),
                Endpoint::new(Side::Server, pool),
            ],
            plan,
            control_every: usize::MAX,
            steps: 0,
        }
    }

    pub(crate) fn set_control_every(&mut self, steps: usize) {
        self.control_every = steps;
    }

    pub(crate) fn streams(&self, side: usize) -> u64 {
        self.ends[side].applications.len() as u64
    }

    pub(crate) fn memory_bytes(&self, side: usize) -> u64 {
        self.ends[side].streams.memory_bytes()
    }

    pub(crate) fn delivered_bytes(&self, side: usize) -> usize {
        self.ends[side].delivered_bytes
    }

    pub(crate) fn transmitted_content(&self, side: usize) -> u64 {
        self.ends[side].transmitted_content
    }

    pub(crate) fn received(&self, side: usize, stream: u64) -> u64 {
        self.ends[side].streams.offsets(stream).unwrap().received
    }

    pub(crate) fn write(&mut self, side: usize, stream: u64, bytes: usize) {
        let end = &mut self.ends[side];
        let Some(application) = end.applications.get_mut(&stream) else {
            return;
        };
        if application.finished {
            return;
        }
        let from = application.written;
        let bytes: Vec<u8> = (from..from + bytes as u64)
            .map(|offset| content(side, stream, offset))
            .collect();
        match end.streams.write(stream, &bytes) {
            Some(taken) => application.written += taken as u64,
            None => assert!(application.refused, "stream {stream} takes nothing"),
        }
    }

    pub(crate) fn read(&mut self, side: usize, stream: u64, bytes: usize) {
        let end = &mut self.ends[side];
        let Some(application) = end.applications.get_mut(&stream) else {
            return;
        };
        match end.streams.read(stream) {
            Read::Waiting => {}
            Read::End => application.at_end = true,
            Read::Bytes(found) => {
                let taken = found.len().min(bytes);
                for (offset, &byte) in (application.read..).zip(&found[..taken]) {
                    assert_eq!(byte, content(1 - side, stream, offset), "at {offset}");
                }
                application.read += taken as u64;
                end.streams.consume(stream, taken);
            }
        }
    }

    pub(crate) fn stop(&mut self, side: usize, stream: u64) {
        let end = &mut self.ends[side];
        if let Some(application) = end.applications.get_mut(&stream) {
            application.stopped = true;
            end.streams.stop(stream);
        }
    }

    pub(crate) fn open(&mut self, side: usize) {
        let end = &mut self.ends[side];
        if let Some(stream) = end.streams.open(&options()) {
            end.applications.insert(stream, Application::default());
            end.opened.insert(stream, false);
            let service = stream.to_string();
            end.streams.send_control(&Open { service }).unwrap();
            end.controls_queued += 1;
        }
    }

    pub(crate) fn send_control(&mut self, side: usize) {
        let end = &mut self.ends[side];
        let message = ErrorMessage::new(landline_proto::ErrorCode::Io, "a control message");
        end.streams.send_control(&message).unwrap();
        end.controls_queued += 1;
        end.controls_sent += 1;
    }

    /// Puts on the wire what one side gives out; whether it gave anything.
    pub(crate) fn transmit(&mut self, side: usize) -> bool {
        let mut bytes = Vec::new();
        let end = &mut self.ends[side];
        if !end.streams.poll_transmit(&mut bytes) {
            assert!(bytes.is_empty());
            return false;
        }
        let (mut decoder, mut input) = (MessageDecoder::new(Limits::SESSION), &bytes[..]);
        let mut controls = 0;
        while let Some(item) = decoder.decode(&mut input).unwrap() {
            if let Item::Header(header) = item {
                controls += usize::from(!is_stream_message(&header));
                if let Some(BodySize::Known(size)) = header.body() {
                    end.transmitted_content += size;
                }
            }
        }
        // Whatever else there is to send, control messages are sent first and all at once.
        assert_eq!(controls, std::mem::take(&mut end.controls_queued));
        self.ends[1 - side].wire.extend(bytes);
        true
    }

    /// Lets so many bytes arrive at one side.
    pub(crate) fn deliver(&mut self, side: usize, bytes: usize) {
        let end = &mut self.ends[side];
        let bytes = bytes.min(end.wire.len());
        end.delivered_bytes += bytes;
        let input: Vec<u8> = end.wire.drain(..bytes).collect();
        for stream in end.handle(&input) {
            self.ends[1 - side].opened.insert(stream, true);
        }
    }

    /// Loses what is on the wire; both sides go on with a new channel.
    pub(crate) fn cut(&mut self) {
        for end in &mut self.ends {
            end.wire.clear();
            end.decoder = MessageDecoder::new(Limits::SESSION);
            end.streams.reconnect();
            end.controls_queued = 0;
            // What was lost of them is not the concern of streams.
            (end.controls_sent, end.controls_received) = (0, 0);
        }
    }

    pub(crate) fn finish_everything(&mut self) {
        for end in &mut self.ends {
            for (&stream, application) in &mut end.applications {
                application.finished = true;
                end.streams.finish(stream);
            }
        }
    }

    /// Lets both sides do all they can, reading only where `reads` says so.
    pub(crate) fn run(&mut self, reads: impl Fn(usize, u64) -> bool) {
        while self.step(&reads) {}
    }

    pub(crate) fn run_steps(&mut self, steps: usize, reads: impl Fn(usize, u64) -> bool) {
        for _ in 0..steps {
            self.step(&reads);
        }
    }

    /// Runs until so many bytes have arrived at one side, and no byte more.
    pub(crate) fn run_until_delivered(&mut self, side: usize, bytes: usize) {
        loop {
            for from in 0..2 {
                self.follow_plan(from);
                self.transmit(from);
            }
            let left = bytes - self.ends[side].delivered_bytes;
            self.deliver(side, left.min(50));
            self.deliver(1 - side, 50);
            self.read_all(&|_, _| true);
            if self.ends[side].delivered_bytes == bytes {
                return;
            }
        }
    }

    pub(crate) fn has_arrived(&self, side: usize, stream: u64) -> bool {
        let (from, to) = (&self.ends[1 - side], &self.ends[side]);
        from.applications[&stream].finished
            && to.applications[&stream].at_end
            && to.applications[&stream].read == from.applications[&stream].written
    }

    pub(crate) fn all_controls_arrived(&self) -> bool {
        (0..2).all(|side| {
            let sent = self.ends[side].controls_sent;
            sent > 0 && sent == self.ends[1 - side].controls_received
        })
    }

    pub(crate) fn check_everything_arrived(&self) {
        for side in 0..2 {
            for (&stream, application) in &self.ends[side].applications {
                let arrived = application.stopped || self.has_arrived(side, stream);
                assert!(arrived, "stream {stream} did not arrive at {side}");
                assert!(
                    self.ends[side].streams.offsets(stream).is_none(),
                    "stream {stream} is still open"
                );
            }
            assert_eq!(self.memory_bytes(side), 0);
        }
    }

    /// One round of everything; whether anything changed.
    fn step(&mut self, reads: &impl Fn(usize, u64) -> bool) -> bool {
        self.steps += 1;
        let mut changed = false;
        for side in 0..2 {
            changed |= self.follow_plan(side);
            if self.steps.is_multiple_of(self.control_every) && changed {
                self.send_control(side);
            }
            changed |= self.transmit(side);
            let wire = self.ends[side].wire.len();
            changed |= wire > 0;
            self.deliver(side, wire);
        }
        self.read_all(reads) || changed
    }

    fn follow_plan(&mut self, side: usize) -> bool {
        let Plan::Bytes(total) = self.plan else {
            return false;
        };
        let mut changed = false;
        for stream in 0..STREAMS {
            let before = self.ends[side].applications[&stream].written;
            self.write(side, stream, (total - before).min(70_000) as usize);
            let end = &mut self.ends[side];
            let application = end.applications.get_mut(&stream).unwrap();
            changed |= application.written > before;
            if application.written == total && !application.finished {
                application.finished = true;
                end.streams.finish(stream);
                changed = true;
            }
        }
        changed
    }

    fn read_all(&mut self, reads: &impl Fn(usize, u64) -> bool) -> bool {
        let mut changed = false;
        for side in 0..2 {
            let streams: Vec<u64> = self.ends[side].applications.keys().copied().collect();
            for stream in streams.into_iter().filter(|&stream| reads(side, stream)) {
                let before = self.progress(side, stream);
                self.read(side, stream, usize::MAX);
                changed |= self.progress(side, stream) != before;
            }
        }
        changed
    }

    fn progress(&self, side: usize, stream: u64) -> (u64, bool) {
        let application = &self.ends[side].applications[&stream];
        (application.read, application.at_end)
    }
}
