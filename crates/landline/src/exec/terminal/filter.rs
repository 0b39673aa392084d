//! What of a program's output reaches a terminal.

use super::scanner::{BEL, Csi, Event, Scanner, Sequence, SequenceKind, number};

/// The answer-back request.
const ENQ: u8 = 0x05;
/// The longest link that a watcher gets, in bytes.
const LINK_BYTES_MAX: usize = 8 * 1024;

/// Passes output on to a terminal, without what the terminal must not obey.
#[derive(Debug)]
pub struct OutputFilter {
    scanner: Scanner,
    audience: Audience,
    /// Whether queries are dropped, because another party has answered them.
    drops_queries: bool,
    /// Whether the rest of a long string is passed on.
    passes_rest: bool,
}

/// Whose terminal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// That of the user who has the keyboard. It may write the clipboard, and not read it.
    Owner,
    /// That of another user who has the keyboard. It gets no clipboard.
    Guest,
    /// That of a user who only looks.
    Watcher,
}

impl OutputFilter {
    /// For the terminal that has the keyboard: it may write the clipboard, up to 1 MiB at a time,
    /// and not read it.
    pub fn for_owner() -> Self {
        Self::new(Audience::Owner)
    }

    /// For the terminal of another user who has the keyboard: all but the clipboard.
    pub(crate) fn for_guest() -> Self {
        Self::new(Audience::Guest)
    }

    /// For the terminal of a watcher: only what is seen. There are no queries, titles, bells,
    /// clipboards and no modes of keyboard and mouse.
    pub fn for_watcher() -> Self {
        Self::new(Audience::Watcher)
    }

    fn new(audience: Audience) -> Self {
        Self {
            scanner: Scanner::new(),
            audience,
            drops_queries: audience == Audience::Watcher,
            passes_rest: false,
        }
    }

    /// Sets whether queries are dropped from here on.
    pub fn set_drops_queries(&mut self, drops_queries: bool) {
        self.drops_queries = drops_queries || self.audience == Audience::Watcher;
    }

    /// Appends to `out` what of these bytes is passed on. The beginning of a sequence is held until
    /// its end has come.
    pub fn filter(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let Self {
            scanner,
            audience,
            drops_queries,
            passes_rest,
        } = self;
        let (is_watcher, drops_queries) = (*audience == Audience::Watcher, *drops_queries);
        scanner.scan(bytes, &mut |event| match event {
            Event::Text(text) if is_watcher || drops_queries => {
                let passes = |byte: &&u8| **byte != ENQ && !(is_watcher && **byte == BEL);
                out.extend(text.iter().filter(passes));
            }
            Event::Text(text) => out.extend_from_slice(text),
            Event::Sequence(sequence) => {
                let is_dropped = reads_clipboard(&sequence)
                    || *audience == Audience::Guest && is_clipboard(&sequence)
                    || drops_queries && is_query(&sequence)
                    || is_watcher && !is_seen(&sequence);
                let passes = !is_dropped;
                *passes_rest = passes;
                match sequence.csi().filter(|_| is_watcher && passes) {
                    Some(csi) => pass_modes(&csi, sequence.raw, out),
                    None if passes => out.extend_from_slice(sequence.raw),
                    None => {}
                }
            }
            Event::Rest(bytes) if *passes_rest => out.extend_from_slice(bytes),
            Event::Rest(_) => {}
        });
    }
}

/// The number at the beginning of the body of `ESC ]`, and what is behind it.
fn osc_number<'a>(sequence: &Sequence<'a>) -> Option<(u32, &'a [u8])> {
    if sequence.kind != SequenceKind::Osc {
        return None;
    }
    let body = sequence.body();
    let end = body.iter().position(|byte| *byte == b';');
    let (digits, rest) = body.split_at_checked(end.unwrap_or(body.len()))?;
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| (number(digits), rest.get(1..).unwrap_or_default()))
}

/// Whether it is about the clipboard.
fn is_clipboard(sequence: &Sequence<'_>) -> bool {
    matches!(osc_number(sequence), Some((52 | 5522, _)))
}

/// Whether it asks for what is on the clipboard, or would put too much there.
fn reads_clipboard(sequence: &Sequence<'_>) -> bool {
    match osc_number(sequence) {
        Some((52, rest)) => {
            let mut fields = rest.splitn(2, |byte| *byte == b';');
            let data = fields.nth(1).unwrap_or_default();
            data.contains(&b'?') || !sequence.is_whole
        }
        // The clipboard of kitty, which reads and writes in several steps.
        Some((5522, rest)) => !rest.starts_with(b"type=w") || !sequence.is_whole,
        _ => false,
    }
}

/// Whether a terminal would answer it.
fn is_query(sequence: &Sequence<'_>) -> bool {
    match sequence.kind {
        SequenceKind::Escape => matches!(sequence.raw, b"\x1bZ" | b"\xc2\x9a"),
        SequenceKind::Csi => sequence.csi().is_some_and(|csi| is_csi_query(&csi)),
        SequenceKind::Osc => match osc_number(sequence) {
            Some((4 | 5 | 10..=19 | 21 | 22 | 52 | 99, rest)) => rest.contains(&b'?'),
            _ => false,
        },
        SequenceKind::Dcs => {
            let is_parameter = |byte: &u8| byte.is_ascii_digit() || *byte == b';';
            let body = sequence.body();
            let count = body.iter().take_while(|byte| is_parameter(byte)).count();
            let function = body.get(count..).unwrap_or_default();
            function.starts_with(b"$q") || function.starts_with(b"+q")
        }
        // Images of kitty are answered.
        SequenceKind::Other => {
            sequence.raw.get(1) == Some(&b'_') && sequence.body().starts_with(b"G")
        }
    }
}

fn is_csi_query(csi: &Csi<'_>) -> bool {
    match (csi.prefix, csi.intermediates, csi.last) {
        // What it is; where the cursor is, and other states; its size and title.
        (_, b"", b'c' | b'n' | b'x') | (_, b"$", b'p' | b'w' | b'u') | (_, b"*", b'y') => true,
        (_, b"&", b'u') | (Some(b'>'), b"", b'q') | (Some(b'?'), b"", b'u' | b'S') => true,
        (Some(b'?'), b"", b'm' | b'g') => true,
        (None, b"", b't') => matches!(csi.first(), 11..=21),
        _ => false,
    }
}

/// Whether it changes what is seen on the screen, and nothing else.
fn is_seen(sequence: &Sequence<'_>) -> bool {
    match sequence.kind {
        SequenceKind::Escape => true,
        SequenceKind::Csi => sequence.csi().is_some_and(|csi| {
            // Sizes and titles of windows, keyboards, printers.
            let is_other = match (csi.prefix, csi.intermediates, csi.last) {
                (_, _, b't') | (_, b"", b'i' | b'u') if csi.prefix.is_some() => true,
                (None, b"", b't' | b'i') => true,
                (Some(b'>' | b'<' | b'='), ..) => true,
                _ => false,
            };
            !is_other
        }),
        SequenceKind::Osc => match osc_number(sequence) {
            Some((4 | 10..=12 | 17 | 19 | 104 | 110..=112 | 117 | 119, _)) => sequence.is_whole,
            Some((8, _)) => sequence.raw.len() <= LINK_BYTES_MAX,
            _ => false,
        },
        // Images.
        SequenceKind::Dcs => {
            let is_parameter = |byte: &u8| byte.is_ascii_digit() || *byte == b';';
            let body = sequence.body();
            body.iter().find(|byte| !is_parameter(byte)) == Some(&b'q')
        }
        SequenceKind::Other => false,
    }
}

/// Passes a sequence on to a watcher without the modes of keyboard and mouse.
fn pass_modes(csi: &Csi<'_>, raw: &[u8], out: &mut Vec<u8>) {
    let sets_modes =
        csi.prefix == Some(b'?') && csi.intermediates.is_empty() && matches!(csi.last, b'h' | b'l');
    if !sets_modes || !csi.numbers().any(is_input_mode) {
        return out.extend_from_slice(raw);
    }
    let kept: Vec<String> = csi
        .numbers()
        .filter(|mode| !is_input_mode(*mode))
        .map(|mode| mode.to_string())
        .collect();
    if !kept.is_empty() {
        out.extend_from_slice(b"\x1b[?");
        out.extend_from_slice(kept.join(";").as_bytes());
        out.push(csi.last);
    }
}

/// Whether a mode changes what the terminal sends, and not what it shows.
fn is_input_mode(mode: u32) -> bool {
    matches!(
        mode,
        1 | 9 | 66 | 1000..=1007 | 1015 | 1016 | 2004 | 2031 | 2048 | 5522 | 9001
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filtered(mut filter: OutputFilter, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        filter.filter(bytes, &mut out);
        out.escape_ascii().to_string()
    }

    /// Queries, each of which a terminal answers.
    const QUERIES: &[&[u8]] = &[
        b"\x05",
        b"\x1bZ",
        b"\x1b[c",
        b"\x1b[0c",
        b"\x1b[>c",
        b"\x1b[=c",
        b"\x1b[5n",
        b"\x1b[6n",
        b"\x1b[?6n",
        b"\x1b[?996n",
        b"\x1b[?1$p",
        b"\x1b[4$p",
        b"\x1b[>q",
        b"\x1b[>0q",
        b"\x1b[?u",
        b"\x1b[18t",
        b"\x1b[21t",
        b"\x1b[x",
        b"\x1b[1$w",
        b"\x1b[?1;1S",
        b"\x1b[1;1;1;1;1;1*y",
        b"\x1b]10;?\x07",
        b"\x1b]11;?\x1b\\",
        b"\x1b]4;1;?\x07",
        b"\x1b]4;1;red;2;?\x07",
        b"\x1bP$qm\x1b\\",
        b"\x1bP+q544e\x1b\\",
        b"\x1b_Gi=1,a=q;AAAA\x1b\\",
        b"\xc2\x9b6n",
    ];

    /// What a watcher gets none of, and an owner all.
    const OWNER_ONLY: &[&[u8]] = &[
        b"\x07",
        b"\x1b]0;title\x07",
        b"\x1b]2;title\x1b\\",
        b"\x1b]7;file:///\x07",
        b"\x1b]52;c;aGk=\x07",
        b"\x1b]9;note\x07",
        b"\x1b]777;notify;a;b\x07",
        b"\x1b[22;0t",
        b"\x1b[8;10;10t",
        b"\x1b[>4;2m",
        b"\x1b[>1u",
        b"\x1b[?1000h",
        b"\x1b[?2004;1004h",
        b"\x1b^private\x1b\\",
    ];

    /// What both get.
    const SEEN: &[&[u8]] = &[
        b"plain \xc3\xa9\r\n\t\x08",
        b"\x1b[1;38;5;200mx\x1b[m",
        b"\x1b[2J\x1b[H",
        b"\x1b[?1049h",
        b"\x1b[?25l",
        b"\x1b[2;10r",
        b"\x1b(0",
        b"\x1b7\x1b8",
        b"\x1b[4 q",
        b"\x1b]8;;http://x\x07",
        b"\x1b]4;1;red\x07",
        b"\x1bP0;1q#0\x1b\\",
        b"\x1b[u",
        b"\x1b[?2026h",
        b"\x1bM",
    ];

    #[test]
    fn owner_gets_all_but_the_clipboard() {
        for bytes in QUERIES.iter().chain(OWNER_ONLY).chain(SEEN) {
            let passed = filtered(OutputFilter::for_owner(), bytes);
            assert_eq!(passed, bytes.escape_ascii().to_string());
        }
        for bytes in [
            &b"\x1b]52;c;?\x07"[..],
            b"\x1b]52;;?\x1b\\",
            b"\x1b]52;c; ?\x07",
            b"\x1b]052;c;?\x07",
            b"\xc2\x9d52;c;?\xc2\x9c",
            b"\x1b]52;c;?\x1b[m",
            b"\x1b]5522;type=read\x07",
        ] {
            let passed = filtered(OutputFilter::for_owner(), bytes);
            assert!(
                !passed.contains('?') && !passed.contains("read"),
                "{passed}"
            );
        }
    }

    #[test]
    fn guest_gets_all_but_the_clipboard() {
        for bytes in QUERIES.iter().chain(OWNER_ONLY).chain(SEEN) {
            let passed = filtered(OutputFilter::for_guest(), bytes);
            let is_clipboard = bytes.starts_with(b"\x1b]52");
            let expected = if is_clipboard { &[] } else { *bytes };
            assert_eq!(passed, expected.escape_ascii().to_string());
        }
    }

    #[test]
    fn answered_queries_are_dropped() {
        for bytes in QUERIES {
            let mut filter = OutputFilter::for_owner();
            filter.set_drops_queries(true);
            assert_eq!(filtered(filter, bytes), "", "{}", bytes.escape_ascii());
        }
        for bytes in OWNER_ONLY.iter().chain(SEEN) {
            let mut filter = OutputFilter::for_owner();
            filter.set_drops_queries(true);
            assert_eq!(filtered(filter, bytes), bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn watcher_gets_only_visible_output() {
        for bytes in QUERIES.iter().chain(OWNER_ONLY) {
            let passed = filtered(OutputFilter::for_watcher(), bytes);
            assert_eq!(passed, "", "{}", bytes.escape_ascii());
        }
        for bytes in SEEN {
            let passed = filtered(OutputFilter::for_watcher(), bytes);
            assert_eq!(passed, bytes.escape_ascii().to_string());
        }
        let mixed = filtered(OutputFilter::for_watcher(), b"\x1b[?1049;1000;25h");
        assert_eq!(mixed, r"\x1b[?1049;25h");
    }

    #[test]
    fn clipboard_takes_a_mebibyte() {
        let put = |bytes: usize| {
            let text = vec![b'A'; bytes];
            [b"\x1b]52;c;", text.as_slice(), b"\x07after"].concat()
        };
        let (small, large) = (put(1_000_000), put(2_000_000));
        let mut out = Vec::new();
        OutputFilter::for_owner().filter(&small, &mut out);
        assert_eq!(out, small);
        out.clear();
        OutputFilter::for_owner().filter(&large, &mut out);
        assert_eq!(out, b"after");
    }

    proptest! {
        #[test]
        fn watcher_is_never_asked(parts in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..4),
                prop::sample::select([QUERIES, OWNER_ONLY, SEEN].concat()).prop_map(<[u8]>::to_vec),
            ],
            0..10,
        ), cuts in 1_usize..7) {
            let (bytes, mut out) = (parts.concat(), Vec::new());
            let mut filter = OutputFilter::for_watcher();
            for part in bytes.chunks(cuts) {
                filter.filter(part, &mut out);
            }
            // What was passed on passes again, so nothing in it is of a kind that is dropped.
            let mut again = Vec::new();
            OutputFilter::for_watcher().filter(&out, &mut again);
            let held = out.len() - again.len();
            prop_assert_eq!(again.as_slice(), &out[..out.len() - held]);
            prop_assert!(!out.contains(&ENQ) && !out.starts_with(b"\x1bZ"));
        }
    }
}
