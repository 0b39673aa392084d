//! `udp-echo`: the server sends the same datagram back, or in upper case.

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use landline_socketserver::{
    Shutdown,
    datagram::{Datagram, DatagramServer, Outbox},
};

use super::{
    ClassicEvent, ClassicSink, DatagramConnection, Direction,
    budget::{AnswerBudget, Excess, SERVICE_PORTS},
    codec::{Encodings, UpperCase, python_literal},
};
use crate::Error;

/// An answer is at most so many times as long as its datagram.
const AMPLIFICATION_MAX: usize = 3;

/// The options of a server.
#[derive(Debug, Clone, Copy)]
pub struct UdpEchoOptions {
    /// The conversion to upper case.
    pub upper: Option<UpperCase>,
    /// The encodings of text.
    pub encodings: Encodings,
    /// Whether each datagram is reported as bytes.
    pub show: bool,
}

/// The answers to datagrams.
#[derive(Clone)]
struct Echo {
    options: UdpEchoOptions,
    budget: AnswerBudget,
    /// Whether the latest datagram had no answer for want of a budget.
    is_flooded: bool,
    events: ClassicSink,
}

impl Echo {
    /// The answer to a datagram, if it gets one.
    fn answer(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        let excess = self.budget.take(now, from, datagram).err();
        let was_flooded = std::mem::replace(&mut self.is_flooded, excess.is_some());
        let result = match excess {
            Some(_) if was_flooded => return None,
            Some(Excess::Repeats) => Err(
                "the same datagram came too often; it may be the answer of another server".into(),
            ),
            Some(Excess::Rate) => Err("too many datagrams a second; some are not answered".into()),
            None => self.convert(from, datagram),
        };
        if excess.is_none() && self.options.show {
            self.show(from, Direction::Recv, datagram);
        } else if excess.is_none() {
            (self.events)(ClassicEvent::Text {
                peer: from.to_string(),
                text: self
                    .options
                    .encodings
                    .received
                    .try_decode(datagram)
                    .unwrap_or_else(|_| python_literal(datagram)),
            });
        }
        if let (Ok(answer), true) = (&result, self.options.show) {
            self.show(from, Direction::Send, answer);
        }
        result
            .map_err(|message| {
                (self.events)(ClassicEvent::Refused {
                    peer: from.to_string(),
                    message,
                });
            })
            .ok()
    }

    fn show(&self, peer: SocketAddr, direction: Direction, bytes: &[u8]) {
        (self.events)(ClassicEvent::of_wire(peer.to_string(), direction, bytes));
    }

    fn convert(&self, from: SocketAddr, datagram: &[u8]) -> Result<Vec<u8>, String> {
        if from.port() < SERVICE_PORTS {
            return Err("a port of a service, which may answer the answer".into());
        }
        let UdpEchoOptions {
            upper, encodings, ..
        } = self.options;
        let Some(upper) = upper else {
            return Ok(datagram.to_vec());
        };
        let answer = upper
            .apply(encodings, datagram)
            .map_err(|error| error.to_string())?;
        if answer.len() > AMPLIFICATION_MAX * datagram.len() {
            return Err("an answer of more than three times the bytes".into());
        }
        Ok(answer)
    }
}

/// The client: sends one datagram and waits for the answer.
///
/// # Errors
/// [`Error::Lost`] if no answer arrives within `patience`, or nothing receives datagrams there.
pub async fn ask(
    connection: &DatagramConnection,
    datagram: &[u8],
    patience: Duration,
) -> Result<Vec<u8>, Error> {
    let deadline = Instant::now() + patience;
    connection.send(datagram).await?;
    tokio::time::timeout_at(deadline.into(), connection.receive())
        .await
        .unwrap_or_else(|_| {
            Err(Error::Lost(format!(
                "no answer within {} s",
                patience.as_secs_f64()
            )))
        })
}

/// The server: answers datagrams on the calling thread until `shutdown`.
///
/// # Errors
/// [`Error::Io`] if the socket cannot be waited for.
pub fn serve(
    socket: UdpSocket,
    options: UdpEchoOptions,
    shutdown: &Shutdown,
    events: &ClassicSink,
) -> Result<(), Error> {
    let mut echo = Echo {
        options,
        budget: AnswerBudget::new(Instant::now()),
        is_flooded: false,
        events: events.clone(),
    };
    let handler = move |datagram: &Datagram<'_>, outbox: &mut Outbox<'_>| {
        let peer = datagram.peer();
        match peer
            .socket_addr()
            .and_then(|from| echo.answer(Instant::now(), from, datagram.bytes()))
        {
            Some(answer) => outbox.send(peer, &answer),
            None => Ok(()),
        }
    };
    // An answer that cannot be sent is lost, as any datagram may be.
    let server = DatagramServer::new(socket, handler).on_error(|_, _| {});
    let drained = server.inline(shutdown);
    drained.map_err(|error| Error::io("the socket", error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::codec::Charset;

    fn echo(label: &str) -> Echo {
        Echo {
            options: UdpEchoOptions {
                upper: Some(UpperCase::Unicode),
                encodings: label.parse::<Charset>().unwrap().into(),
                show: false,
            },
            budget: AnswerBudget::new(Instant::now()),
            is_flooded: false,
            events: Arc::new(|_| {}),
        }
    }

    proptest! {
        /// Proves `amplification` in docs/faults.md.
        #[test]
        fn answer_is_at_most_three_times_as_long(
            message in proptest::collection::vec(any::<u8>(), 0..40),
            text in "[ß-ﬆa-zｦ-ﾝ]{0,20}",
        ) {
            for label in ["utf-8", "gbk", "gb18030", "big5", "shift_jis", "euc-jp", "iso-2022-jp", "utf-16le", "latin1"] {
                for message in [&message, &echo(label).options.encodings.sent.encode(&text)] {
                    let from = SocketAddr::from(([127, 0, 0, 1], 5000));
                    if let Some(answer) = echo(label).answer(Instant::now(), from, message) {
                        prop_assert!(answer.len() <= 3 * message.len(), "{}", label);
                    }
                }
            }
        }
    }
}
