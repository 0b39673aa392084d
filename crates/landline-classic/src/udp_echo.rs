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
    codec::{DialectError, Encodings, UpperCase, python_literal},
    own_networks::OwnNetworks,
    service::REFUSED,
};
use crate::{Error, Wording, error::SOCKET};

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

/// The reason why a datagram is not sent back.
struct Refusal {
    reason: Wording,
    /// The answer that names the client's mistake.
    answer: Option<Vec<u8>>,
}

impl Refusal {
    /// A refusal that is not answered.
    fn silent(reason: Wording) -> Self {
        Self {
            reason,
            answer: None,
        }
    }
}

/// The answers to datagrams.
#[derive(Clone)]
struct Echo {
    options: UdpEchoOptions,
    budget: AnswerBudget,
    networks: OwnNetworks,
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
            Some(Excess::Repeats) => Err(Refusal::silent(Wording::new(
                "the same datagram came too often; it may be the answer of another server",
                "同一个数据报来得太多；它可能是另一台服务器的回答",
            ))),
            Some(Excess::Rate) => Err(Refusal::silent(Wording::new(
                "too many datagrams a second; some are not answered",
                "每秒的数据报太多；有些得不到回答",
            ))),
            None => self.convert(now, from, datagram),
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
        let answer = result.unwrap_or_else(|Refusal { reason, answer }| {
            (self.events)(ClassicEvent::Refused {
                peer: from.to_string(),
                message: reason,
            });
            answer
        });
        if let (Some(answer), true) = (&answer, self.options.show) {
            self.show(from, Direction::Send, answer);
        }
        answer
    }

    fn show(&self, peer: SocketAddr, direction: Direction, bytes: &[u8]) {
        (self.events)(ClassicEvent::of_wire(peer.to_string(), direction, bytes));
    }

    fn convert(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<Option<Vec<u8>>, Refusal> {
        if from.port() < SERVICE_PORTS {
            return Err(Refusal::silent(Wording::new(
                "a port of a service, which may answer the answer",
                "来自系统服务的端口，它可能会回答这个回答",
            )));
        }
        let UdpEchoOptions {
            upper, encodings, ..
        } = self.options;
        let Some(upper) = upper else {
            return Ok(Some(datagram.to_vec()));
        };
        let converted = upper.apply(encodings, datagram);
        let answer = converted.map_err(|error| Refusal {
            reason: error.wording(),
            answer: self.name_mistake(now, from, datagram, &error),
        })?;
        if answer.len() > AMPLIFICATION_MAX * datagram.len() {
            return Err(Refusal::silent(Wording::new(
                "an answer of more than three times the bytes",
                "回答超过来文字节数的三倍",
            )));
        }
        Ok(Some(answer))
    }

    /// The answer to a datagram that does not decode.
    ///
    /// The source may be forged. So outside this machine's networks the answer is at most as long
    /// as the datagram, and a short datagram gets none.
    fn name_mistake(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        error: &DialectError,
    ) -> Option<Vec<u8>> {
        let is_near = self.networks.contain(now, from.ip());
        let brief = match error {
            DialectError::Undecodable { encoding, .. } => format!("text that is not {encoding}"),
            other => other.to_string(),
        };
        [error.to_string(), brief]
            .iter()
            .map(|reason| {
                self.options
                    .encodings
                    .sent
                    .encode(&format!("{REFUSED}{reason}"))
            })
            .find(|answer| is_near || answer.len() <= datagram.len())
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
            let seconds = patience.as_secs_f64();
            Err(Error::Lost(Wording::new(
                format!("no answer within {seconds} s"),
                format!("{seconds} 秒内没有回答"),
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
        networks: OwnNetworks::default(),
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
    drained.map_err(|error| Error::io(SOCKET, error))?;
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
            networks: OwnNetworks::none(Instant::now()),
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
                    let from = SocketAddr::from(([192, 0, 2, 1], 5000));
                    if let Some(answer) = echo(label).answer(Instant::now(), from, message) {
                        prop_assert!(answer.len() <= 3 * message.len(), "{}", label);
                    }
                }
            }
        }
    }
    /// Proves `classic-mistake` in docs/faults.md.
    #[test]
    fn undecodable_datagram_is_named_within_its_length() {
        let near = SocketAddr::from(([127, 0, 0, 1], 5000));
        let stranger = SocketAddr::from(([192, 0, 2, 1], 5000));
        let answer = |from, datagram: &[u8]| echo("utf-8").answer(Instant::now(), from, datagram);
        let gbk = "gbk".parse::<Charset>().unwrap();
        let short = gbk.encode("报告");
        let named = String::from_utf8(answer(near, &short).unwrap()).unwrap();
        assert!(
            named.starts_with(REFUSED) && named.contains("--encoding gbk"),
            "{named}"
        );
        assert_eq!(answer(stranger, &short), None);
        let long = gbk.encode(&"报告".repeat(10));
        let named = answer(stranger, &long).unwrap();
        assert!(named.starts_with(REFUSED.as_bytes()) && named.len() <= long.len());
    }
}
