//! Frames, and the bytes of orders and reports.

use std::time::Duration;

use super::{
    Adopted, Exit, FRAME_BYTES_MAX, FrameError, InputState, Order, OutputState, OutputStream,
    Report, Size, Start, Status, Step, Store, VERSION,
};

/// How long an empty [`FrameBuffer`] may be.
const BUFFER_BYTES_KEPT: usize = 256 * 1024;

impl Order {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Start(start) => frame(out, 1, |out| {
                out.extend(VERSION.to_le_bytes());
                put_string(out, &start.program);
                put_list(out, &start.arguments);
                put_list(out, &start.environment);
                put_string(out, &start.folder);
                out.push(u8::from(start.terminal.is_some()));
                put_size(
                    out,
                    start.terminal.unwrap_or(Size {
                        rows: 0,
                        columns: 0,
                    }),
                );
                let modes = start.modes.iter().flat_map(|(mode, value)| [*mode, *value]);
                put_string(out, &modes.collect::<Vec<u8>>());
                out.push(u8::from(start.is_attended));
                out.push(u8::from(start.has_input));
                put_string(out, &start.job_folder);
                out.push(start.store as u8);
                out.extend(start.window.to_le_bytes());
                out.extend(start.bytes_max.to_le_bytes());
                put_milliseconds(out, start.timeout.unwrap_or_default());
                put_milliseconds(out, start.on_lost);
            }),
            Self::Input { offset, bytes } => frame(out, 2, |out| {
                out.extend(offset.to_le_bytes());
                out.extend(bytes);
            }),
            Self::InputEnd { offset } => frame(out, 3, |out| out.extend(offset.to_le_bytes())),
            Self::OutputAck {
                stream,
                offset,
                limit,
            } => frame(out, 4, |out| {
                out.push(*stream as u8);
                out.extend(offset.to_le_bytes());
                out.extend(limit.to_le_bytes());
            }),
            Self::OutputStop { stream } => frame(out, 5, |out| out.push(*stream as u8)),
            Self::Signal { signal } => frame(out, 6, |out| out.push(*signal)),
            Self::Resize(size) => frame(out, 7, |out| put_size(out, *size)),
            Self::End { grace } => frame(out, 8, |out| {
                let milliseconds = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
                out.extend(milliseconds.to_le_bytes());
            }),
            Self::Adopt => frame(out, 9, |out| out.extend(VERSION.to_le_bytes())),
            Self::Store => frame(out, 10, |_| {}),
            Self::Leave => frame(out, 11, |_| {}),
            Self::Screen { size, history } => frame(out, 12, |out| {
                put_size(out, *size);
                out.extend(history.to_le_bytes());
            }),
            Self::Attended(is_attended) => frame(out, 13, |out| out.push(u8::from(*is_attended))),
            Self::Confirm => frame(out, 14, |_| {}),
        }
    }

    /// Reads a frame without its length.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn decode(frame: &[u8]) -> Result<Self, FrameError> {
        let (kind, mut fields) = Fields::open(frame)?;
        let order = match kind {
            1 => {
                fields.version()?;
                Self::Start(Box::new(fields.start()?))
            }
            2 => Self::Input {
                offset: fields.u64()?,
                bytes: fields.rest(),
            },
            3 => Self::InputEnd {
                offset: fields.u64()?,
            },
            4 => Self::OutputAck {
                stream: fields.stream()?,
                offset: fields.u64()?,
                limit: fields.u64()?,
            },
            5 => Self::OutputStop {
                stream: fields.stream()?,
            },
            6 => Self::Signal {
                signal: fields.u8()?,
            },
            7 => Self::Resize(fields.size()?),
            8 => Self::End {
                grace: Duration::from_millis(fields.u32()?.into()),
            },
            9 => {
                fields.version()?;
                Self::Adopt
            }
            10 => Self::Store,
            11 => Self::Leave,
            12 => Self::Screen {
                size: fields.size()?,
                history: fields.u32()?,
            },
            13 => Self::Attended(fields.flag()?),
            14 => Self::Confirm,
            _ => return Err(FrameError::Type(kind)),
        };
        fields.end()?;
        Ok(order)
    }
}

impl Report {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Started { pid } => frame(out, 1, |out| out.extend(pid.to_le_bytes())),
            Self::Failed { step, errno } => frame(out, 2, |out| {
                out.push(*step as u8);
                out.extend(errno.to_le_bytes());
            }),
            Self::Output {
                stream,
                offset,
                bytes,
            } => {
                out.extend(output_head(*stream, *offset, bytes.len()));
                out.extend(bytes);
            }
            Self::OutputEnd { stream, offset } => frame(out, 4, |out| {
                out.push(*stream as u8);
                out.extend(offset.to_le_bytes());
            }),
            Self::InputAck { offset } => frame(out, 5, |out| out.extend(offset.to_le_bytes())),
            Self::InputStop => frame(out, 6, |_| {}),
            Self::Exited(exit) => frame(out, 7, |out| {
                let (kind, value) = match exit.status {
                    Status::Code(code) => (0, code),
                    Status::Signal { signal, has_core } => (1 + u8::from(has_core), signal),
                };
                out.extend([kind, value]);
                for time in [exit.user_time, exit.system_time] {
                    let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
                    out.extend(microseconds.to_le_bytes());
                }
                out.extend(exit.memory_bytes_max.to_le_bytes());
                out.push(u8::from(exit.timed_out));
                for number in [exit.stdout, exit.stderr, exit.started, exit.ended] {
                    out.extend(number.to_le_bytes());
                }
                // Servers of older releases do not know it.
                if exit.left_open {
                    out.push(1);
                }
            }),
            Self::Stored { stream, offset } => frame(out, 8, |out| {
                out.push(*stream as u8);
                out.extend(offset.to_le_bytes());
            }),
            Self::Adopted(adopted) => frame(out, 9, |out| {
                out.extend(VERSION.to_le_bytes());
                out.extend(adopted.pid.to_le_bytes());
                out.push(adopted.store as u8);
                for output in [adopted.stdout, adopted.stderr] {
                    out.extend(output.acknowledged.to_le_bytes());
                    out.extend(output.read.to_le_bytes());
                    out.push(u8::from(output.has_ended));
                }
                let input = adopted.input;
                out.push(u8::from(input.has_input));
                out.extend(input.received.to_le_bytes());
                out.extend(input.taken.to_le_bytes());
                out.push(u8::from(input.has_end));
                out.push(u8::from(input.has_stopped));
            }),
            Self::Screen {
                offset,
                is_whole,
                bytes,
            } => frame(out, 10, |out| {
                out.extend(offset.to_le_bytes());
                out.push(u8::from(*is_whole));
                out.extend(bytes);
            }),
            Self::Confirmed => frame(out, 11, |_| {}),
        }
    }

    /// Reads a frame without its length.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn decode(frame: &[u8]) -> Result<Self, FrameError> {
        let (kind, mut fields) = Fields::open(frame)?;
        let report = match kind {
            1 => Self::Started { pid: fields.u32()? },
            2 => Self::Failed {
                step: fields.step()?,
                errno: fields.u32()?,
            },
            3 => Self::Output {
                stream: fields.stream()?,
                offset: fields.u64()?,
                bytes: fields.rest(),
            },
            4 => Self::OutputEnd {
                stream: fields.stream()?,
                offset: fields.u64()?,
            },
            5 => Self::InputAck {
                offset: fields.u64()?,
            },
            6 => Self::InputStop,
            7 => Self::Exited(Exit {
                status: fields.status()?,
                user_time: Duration::from_micros(fields.u64()?),
                system_time: Duration::from_micros(fields.u64()?),
                memory_bytes_max: fields.u64()?,
                timed_out: fields.flag()?,
                stdout: fields.u64()?,
                stderr: fields.u64()?,
                started: fields.u64()?,
                ended: fields.u64()?,
                left_open: fields.is_followed_by_flag()?,
            }),
            8 => Self::Stored {
                stream: fields.stream()?,
                offset: fields.u64()?,
            },
            9 => {
                fields.version()?;
                Self::Adopted(Adopted {
                    pid: fields.u32()?,
                    store: fields.store()?,
                    stdout: fields.output_state()?,
                    stderr: fields.output_state()?,
                    input: fields.input_state()?,
                })
            }
            10 => Self::Screen {
                offset: fields.u64()?,
                is_whole: fields.flag()?,
                bytes: fields.rest(),
            },
            11 => Self::Confirmed,
            _ => return Err(FrameError::Type(kind)),
        };
        fields.end()?;
        Ok(report)
    }
}

/// Collects bytes and gives the frames in them.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    /// How much of `bytes` was given.
    read: usize,
}

impl FrameBuffer {
    /// Appends bytes from the socket.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        // A long frame leaves no long buffer behind.
        if self.bytes.is_empty() && self.bytes.capacity() > BUFFER_BYTES_KEPT {
            self.bytes = Vec::new();
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame without its length; `None` until it is complete.
    ///
    /// # Errors
    /// [`FrameError::Length`].
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let rest = self.bytes.get(self.read..).unwrap_or_default();
        let Some((prefix, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*prefix) as usize;
        if !(1..=FRAME_BYTES_MAX).contains(&length) {
            return Err(FrameError::Length(length));
        }
        let frame = rest.get(..length);
        if frame.is_some() {
            self.read += prefix.len() + length;
        }
        Ok(frame)
    }
}

/// What a frame of output has before its bytes.
pub(crate) fn output_head(stream: OutputStream, offset: u64, length: usize) -> [u8; 14] {
    let mut head = [0; 14];
    let length = u32::try_from(length + 10).unwrap_or(u32::MAX);
    let fields = length.to_le_bytes().into_iter();
    let fields = fields.chain([3, stream as u8]).chain(offset.to_le_bytes());
    for (byte, field) in head.iter_mut().zip(fields) {
        *byte = field;
    }
    head
}

/// Appends a frame of this type with what `content` appends.
fn frame(out: &mut Vec<u8>, kind: u8, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    out.push(kind);
    content(out);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(prefix) = out.get_mut(start..start + 4) {
        prefix.copy_from_slice(&length.to_le_bytes());
    }
}

fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    out.extend(
        u32::try_from(string.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    out.extend(string);
}

fn put_list(out: &mut Vec<u8>, list: &[Vec<u8>]) {
    out.extend(u32::try_from(list.len()).unwrap_or(u32::MAX).to_le_bytes());
    for string in list {
        put_string(out, string);
    }
}

fn put_size(out: &mut Vec<u8>, size: Size) {
    out.extend(size.rows.to_le_bytes());
    out.extend(size.columns.to_le_bytes());
}

/// Appends a time; the longest one stands for every longer one.
fn put_milliseconds(out: &mut Vec<u8>, time: Duration) {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    out.extend(milliseconds.to_le_bytes());
}

/// Reads the content of a frame.
struct Fields<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn open(frame: &'a [u8]) -> Result<(u8, Self), FrameError> {
        let (kind, rest) = frame.split_first().ok_or(FrameError::Length(0))?;
        Ok((*kind, Self { kind: *kind, rest }))
    }

    fn invalid(&self) -> FrameError {
        FrameError::Content(self.kind)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(self.invalid())?;
        self.rest = rest;
        Ok(*array)
    }

    fn u8(&mut self) -> Result<u8, FrameError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, FrameError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, FrameError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, FrameError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn flag(&mut self) -> Result<bool, FrameError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.invalid()),
        }
    }

    /// A flag that is there only if it is set.
    fn is_followed_by_flag(&mut self) -> Result<bool, FrameError> {
        if self.rest.is_empty() {
            return Ok(false);
        }
        match self.u8()? {
            1 => Ok(true),
            _ => Err(self.invalid()),
        }
    }

    fn version(&mut self) -> Result<(), FrameError> {
        match self.u16()? {
            VERSION => Ok(()),
            version => Err(FrameError::Version(version)),
        }
    }

    fn milliseconds(&mut self) -> Result<Duration, FrameError> {
        Ok(match self.u64()? {
            u64::MAX => Duration::MAX,
            milliseconds => Duration::from_millis(milliseconds),
        })
    }

    fn string(&mut self) -> Result<Vec<u8>, FrameError> {
        let length = self.u32()? as usize;
        let (string, rest) = self.rest.split_at_checked(length).ok_or(self.invalid())?;
        self.rest = rest;
        Ok(string.to_vec())
    }

    fn list(&mut self) -> Result<Vec<Vec<u8>>, FrameError> {
        let count = self.u32()?;
        (0..count).map(|_| self.string()).collect()
    }

    fn size(&mut self) -> Result<Size, FrameError> {
        Ok(Size {
            rows: self.u16()?,
            columns: self.u16()?,
        })
    }

    fn stream(&mut self) -> Result<OutputStream, FrameError> {
        match self.u8()? {
            1 => Ok(OutputStream::Stdout),
            2 => Ok(OutputStream::Stderr),
            _ => Err(self.invalid()),
        }
    }

    fn step(&mut self) -> Result<Step, FrameError> {
        match self.u8()? {
            0 => Ok(Step::Program),
            1 => Ok(Step::Folder),
            2 => Ok(Step::Resources),
            3 => Ok(Step::Store),
            _ => Err(self.invalid()),
        }
    }

    fn status(&mut self) -> Result<Status, FrameError> {
        let (kind, value) = (self.u8()?, self.u8()?);
        match kind {
            0 => Ok(Status::Code(value)),
            1 | 2 => Ok(Status::Signal {
                signal: value,
                has_core: kind == 2,
            }),
            _ => Err(self.invalid()),
        }
    }

    fn store(&mut self) -> Result<Store, FrameError> {
        Ok(if self.flag()? {
            Store::Disk
        } else {
            Store::Memory
        })
    }

    fn start(&mut self) -> Result<Start, FrameError> {
        let (program, arguments) = (self.string()?, self.list()?);
        let (environment, folder) = (self.list()?, self.string()?);
        let has_terminal = self.flag()?;
        let size = self.size()?;
        Ok(Start {
            program,
            arguments,
            environment,
            folder,
            terminal: has_terminal.then_some(size),
            modes: self.modes()?,
            is_attended: self.flag()?,
            has_input: self.flag()?,
            job_folder: self.string()?,
            store: self.store()?,
            window: self.u32()?,
            bytes_max: self.u64()?,
            timeout: Some(self.milliseconds()?).filter(|timeout| !timeout.is_zero()),
            on_lost: self.milliseconds()?,
        })
    }

    fn modes(&mut self) -> Result<Vec<(u8, u8)>, FrameError> {
        let bytes = self.string()?;
        let (pairs, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(FrameError::Content(self.kind));
        }
        Ok(pairs.iter().map(|[mode, value]| (*mode, *value)).collect())
    }

    fn output_state(&mut self) -> Result<OutputState, FrameError> {
        Ok(OutputState {
            acknowledged: self.u64()?,
            read: self.u64()?,
            has_ended: self.flag()?,
        })
    }

    fn input_state(&mut self) -> Result<InputState, FrameError> {
        Ok(InputState {
            has_input: self.flag()?,
            received: self.u64()?,
            taken: self.u64()?,
            has_end: self.flag()?,
            has_stopped: self.flag()?,
        })
    }

    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest).to_vec()
    }

    fn end(&self) -> Result<(), FrameError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.invalid())
        }
    }
}
