//! The classic dialects: files, commands, logins, messages that end at a newline, chats.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use landline_classic::codec::{
    Accounts, BodyDecoder, Bursts, Charset, ChatLine, CommandHeader, DialectError,
    DownloadResponse, Encodings, FileHeader, HeaderKeys, LoginDialog, LoginOutcome, Members, Part,
    Receipt, SizedHeader, UploadForm, UpperCase, base_name, encode_download_request,
    parse_download_request,
};
use landline_paths::name::check_component;

use crate::{controls, segmentations};

/// Encodings that compose characters in different ways.
fn charset(choice: u8) -> Charset {
    let labels = ["utf-8", "gbk", "utf-16le", "shift_jis", "iso-2022-jp"];
    labels
        .get(usize::from(choice) % labels.len())
        .and_then(|label| label.parse().ok())
        .unwrap_or_default()
}

/// Uploads with and without a length before their header.
///
/// Any segmentation gives the same files. A file has the size of its header, and its name is one
/// component.
pub fn upload(input: &[u8]) {
    let Some((choice, step, stream)) = controls(input) else {
        return;
    };
    let form = if choice % 2 == 0 {
        UploadForm::Framed
    } else {
        UploadForm::Bare
    };
    let charset = charset(choice / 2);
    let [whole, steps, bytes] =
        segmentations(stream, step).map(|pieces| files(&pieces, form, charset));
    assert_eq!(whole, steps, "in steps of {step}");
    assert_eq!(whole, bytes, "in single bytes");
    for (header, content) in &whole.0 {
        assert_eq!(content.len() as u64, header.size);
        if let Ok(name) = base_name(&header.name) {
            assert_eq!(check_component(name.as_bytes()), Ok(()));
            assert!(
                !name.contains('\\') && header.name.ends_with(name),
                "{name:?} of {:?}",
                header.name
            );
        }
        let again = [
            header.encode(form, &HeaderKeys::of_upload(form), charset),
            content.clone(),
        ]
        .concat();
        let (found, end) = files(&[&again], form, charset);
        assert_eq!(
            (found.as_slice(), end),
            (&[(header.clone(), content.clone())][..], Ok(true))
        );
    }
}

/// The complete files, and whether the stream may end here.
type Files = (Vec<(FileHeader, Vec<u8>)>, Result<bool, DialectError>);

fn files(pieces: &[&[u8]], form: UploadForm, charset: Charset) -> Files {
    let (mut decoder, mut open, mut done) = (
        BodyDecoder::new(form, HeaderKeys::of_upload(form), charset),
        None,
        Vec::new(),
    );
    for piece in pieces {
        let mut input = *piece;
        loop {
            match decoder.next::<FileHeader>(&mut input) {
                Ok(None) => break,
                Ok(Some(Part::Header(header))) => open = Some((header, Vec::new())),
                Ok(Some(Part::Body(bytes))) => {
                    assert!(!bytes.is_empty(), "an empty part of a body");
                    if let Some((_, content)) = &mut open {
                        content.extend_from_slice(bytes);
                    }
                }
                Ok(Some(Part::End)) => done.extend(open.take()),
                Err(error) => return (done, Err(error)),
            }
        }
        assert!(input.is_empty(), "the decoder waits with input left");
    }
    (done, Ok(decoder.at_boundary()))
}

/// Messages that end at a newline. Any segmentation without a pause gives the same messages.
pub fn bursts(input: &[u8]) {
    let Some((choice, step, stream)) = controls(input) else {
        return;
    };
    let charset = charset(choice);
    let [whole, steps, bytes] =
        segmentations(stream, step).map(|pieces| messages(&pieces, charset));
    assert_eq!(whole, steps, "in steps of {step}");
    assert_eq!(whole, bytes, "in single bytes");
}

/// The complete messages, and the rest at the end.
fn messages(
    pieces: &[&[u8]],
    charset: Charset,
) -> (Vec<String>, Result<Option<String>, DialectError>) {
    let now = Instant::now();
    let mut bursts = Bursts::new(charset, Duration::from_secs(1));
    let mut found = Vec::new();
    for piece in pieces {
        bursts.handle_input(now, piece);
        loop {
            match bursts.poll_message(now) {
                Ok(Some(message)) => found.push(message),
                Ok(None) => break,
                Err(error) => return (found, Err(error)),
            }
        }
    }
    (found, bursts.finish())
}

/// A chat of a few members. A datagram is a byte for its sender, a byte for its length, and its
/// bytes.
///
/// No member receives three times what it has sent before it returns its token, or its own line.
/// Lines round-trip.
pub fn chat(input: &[u8]) {
    let mut now = Instant::now();
    let idle = Duration::from_secs(60);
    let mut members = Members::new(now, idle, "886".into(), Encodings::default(), [0; 32]);
    let (mut sent, mut relayed) = (
        HashMap::<SocketAddr, usize>::new(),
        HashMap::<SocketAddr, usize>::new(),
    );
    let mut trusted = HashSet::new();
    let mut rest = input;
    while let [sender, length, tail @ ..] = rest {
        let from = SocketAddr::from(([127, 0, 0, 1], u16::from(sender % 5) + 1024));
        let (datagram, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        *sent.entry(from).or_default() += datagram.len();
        let heard = members.handle_datagram(now, from, false, datagram);
        if heard.as_ref().is_ok_and(|heard| heard.line.is_none()) {
            trusted.insert(from);
        }
        now += Duration::from_millis(10);
        while let Some((address, datagram)) = members.poll_send(now) {
            let total = relayed.entry(address).or_default();
            *total += datagram.len();
            assert!(
                trusted.contains(&address) || *total < 3 * sent.get(&address).copied().unwrap_or(0),
                "{address} received too much"
            );
        }
        let Ok(heard) = heard else {
            continue;
        };
        if heard.has_left {
            sent.remove(&from);
            relayed.remove(&from);
            trusted.remove(&from);
        }
        if let Some(ChatLine {
            name: Some(name),
            text,
        }) = heard.line
        {
            let again = ChatLine::encode(&name, &text, Charset::default());
            let again = ChatLine::parse(&Charset::default().decode(&again));
            assert!(
                again.name.is_some_and(|again| name.starts_with(&again)),
                "a line of another member"
            );
        }
    }
}

/// The headers beside those of uploads: an accepted one survives being written down.
pub fn headers(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let charset = Charset::default();
    let json = |frame: Vec<u8>| charset.decode(frame.get(4..).unwrap_or_default());
    if let Ok(name) = parse_download_request(text) {
        let again = json(encode_download_request(&name, charset));
        assert_eq!(parse_download_request(&again), Ok(name));
    }
    if let Ok(receipt) = Receipt::parse(text) {
        assert_eq!(Receipt::parse(&json(receipt.encode(charset))), Ok(receipt));
    }
    let keys = HeaderKeys::of_command();
    if let Ok(header) = CommandHeader::parse(text, &keys) {
        let again = json(header.encode(&keys, charset));
        assert_eq!(CommandHeader::parse(&again, &keys), Ok(header));
    }
    let keys = HeaderKeys::of_upload(UploadForm::Framed);
    if let Ok(response) = DownloadResponse::parse(text, &keys) {
        let again = json(response.encode(charset));
        let again = DownloadResponse::parse(&again, &keys);
        assert_eq!(again.map(|again| again.size()), Ok(response.size()));
    }
}

/// Accounts, an empty line, and the messages of a client, one on each line.
///
/// Only a client that sent a name and its password is accepted, and after three failures the
/// connection ends.
pub fn login(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let (accounts, messages) = text.split_once("\n\n").unwrap_or((text, ""));
    let Ok(accounts) = accounts.parse::<Accounts>() else {
        return;
    };
    let known: HashMap<&str, &str> = text
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(':'))
        .collect();
    let mut dialog = LoginDialog::new(accounts);
    let (start, mut sent, mut failures) = (Instant::now(), Vec::new(), 0);
    for (second, message) in (0..).zip(messages.split('\n')) {
        sent.push(message);
        let now = start + Duration::from_secs(second);
        let outcome = match dialog.handle_timeout(now) {
            Some(outcome) => Some(outcome),
            None => dialog.handle_message(now, message),
        };
        match outcome {
            None => {}
            Some(LoginOutcome::Accepted(name)) => {
                let Some(password) = known.get(name.as_str()) else {
                    return assert!(sent.is_empty(), "an account that does not exist: {name}");
                };
                let both = format!("{name}{password}");
                assert!(
                    sent.contains(password) || sent.contains(&both.as_str()),
                    "no password"
                );
                return;
            }
            Some(LoginOutcome::Rejected { is_last, .. }) => {
                failures += 1;
                assert_eq!(is_last, failures >= 3);
                if is_last {
                    return;
                }
            }
        }
    }
}

/// Text in an encoding: however it is cut, it decodes to the same and is encoded as a whole would
/// be. An echo in upper case is at most three times as long as the message, and a state more.
pub fn echo(input: &[u8]) {
    let Some((choice, step, stream)) = controls(input) else {
        return;
    };
    let charset = charset(choice);
    let [whole, steps, bytes] = segmentations(stream, step).map(|pieces| {
        let (mut decoder, mut encoder) = (charset.decoder(), charset.encoder());
        let (mut text, mut again) = (String::new(), Vec::new());
        for piece in pieces {
            let part = decoder.decode(piece, false);
            again.extend(encoder.encode(&part, false));
            text += &part;
        }
        let part = decoder.decode(&[], true);
        again.extend(encoder.encode(&part, true));
        (text + &part, again)
    });
    assert_eq!(whole, steps, "in steps of {step}");
    assert_eq!(whole, bytes, "in single bytes");
    if let Some((from, to)) = charset.newline(stream) {
        assert!(from < to && to <= stream.len());
    }
    assert_eq!(
        UpperCase::Ascii.apply(charset.into(), stream),
        Ok(stream.to_ascii_uppercase())
    );
    let _ = UpperCase::Unicode.apply(charset.into(), stream);
}
