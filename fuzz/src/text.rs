//! Paths, keys, lines of keys, invites, secrets and addresses.

use landline::{
    keys::{KeyLine, PublicKey},
    login::{Invite, Secret},
    net::{HostGroups, HostPort, HostSet, Location, Target},
};
use landline_paths::{
    RemotePath,
    name::{PATH_BYTES_MAX, check_component},
};
use landline_proto::{DEFAULT_PORT, Name};

/// Paths and names. The components of an accepted path pass the rule for names, and joining them
/// gives the same path.
pub fn path(input: &[u8]) {
    let name = Name(input.to_vec());
    let again = serde_json::to_vec(&name).and_then(|json| serde_json::from_slice::<Name>(&json));
    assert_eq!(again.ok(), Some(name), "another name");

    let parsed = RemotePath::parse(input);
    if check_component(input).is_ok() {
        let own = match &parsed {
            Ok(path) if input != b"~" => {
                path.components() == [input] && !path.is_absolute() && !path.is_folder()
            }
            // The home.
            Ok(path) => path.components().is_empty(),
            Err(_) => false,
        };
        assert!(own, "a component is not a path of one component");
    }
    let Ok(path) = parsed else { return };
    assert!(input.len() <= PATH_BYTES_MAX && !input.contains(&0));
    assert_eq!(path.is_absolute(), input.starts_with(b"/"));
    for component in path.components() {
        assert_eq!(check_component(component), Ok(()));
        assert!(
            !component.contains(&b'/') && component != b"." && component != b"..",
            "a parent folder"
        );
    }
    let mut joined = if path.is_absolute() {
        b"/".to_vec()
    } else {
        b"./".to_vec()
    };
    joined.extend(path.components().join(&b'/'));
    if path.is_folder() && !path.components().is_empty() {
        joined.push(b'/');
    }
    if joined.len() <= PATH_BYTES_MAX {
        assert_eq!(RemotePath::parse(&joined), Ok(path));
    }
}

/// The test key of `docs/vectors/` with a transcript and its signature, as an input for [`key`].
const GOOD: &[u8] = include_bytes!("../corpus/key/good");

/// A key with a transcript and a claimed signature of it.
struct Signed<'a> {
    key: Option<PublicKey>,
    transcript: [u8; 64],
    blob: &'a [u8],
}

impl<'a> Signed<'a> {
    /// A line of authorized_keys, a line feed, the transcript, and the rest.
    fn parse(input: &'a [u8]) -> Self {
        let at = input
            .iter()
            .position(|&byte| byte == b'\n')
            .unwrap_or(input.len());
        let (line, rest) = input.split_at(at);
        let key = str::from_utf8(line).ok().and_then(PublicKey::parse);
        let (transcript, blob) = rest
            .get(1..)
            .and_then(<[u8]>::split_first_chunk)
            .map_or(([0; 64], &[][..]), |(first, blob)| (*first, blob));
        Self {
            key,
            transcript,
            blob,
        }
    }
}

/// A line of authorized_keys, a line feed, a transcript, and an SSHSIG blob.
///
/// A key round-trips. Exactly one blob verifies.
pub fn key(input: &[u8]) {
    let found = Signed::parse(input);
    if let Some(key) = &found.key {
        let again = PublicKey::parse(&key.line());
        let written = |key: &PublicKey| (key.line(), key.fingerprint());
        assert_eq!(
            again.as_ref().map(written),
            Some(written(key)),
            "another key"
        );
        if key.verifies(&found.transcript, found.blob) {
            let mut other = found.transcript;
            other.iter_mut().for_each(|byte| *byte = !*byte);
            assert!(
                !key.verifies(&other, found.blob),
                "a signature over two transcripts"
            );
            let longer = [found.blob, &[0]].concat();
            assert!(
                !key.verifies(&found.transcript, &longer),
                "a signature with something behind it"
            );
        }
    }
    let good = Signed::parse(GOOD);
    let Some(key) = &good.key else {
        return assert!(good.key.is_some(), "the good key");
    };
    assert!(
        key.verifies(&good.transcript, good.blob),
        "the good signature"
    );
    let forged = found.blob != good.blob && key.verifies(&good.transcript, found.blob);
    assert!(!forged, "another blob than the one that was signed");
}

/// A line of authorized_keys with options. An accepted line round-trips and keeps its restrictions.
pub fn key_line(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let Ok(line) = KeyLine::parse(text) else {
        return;
    };
    let again = KeyLine::parse(&line.to_string());
    assert_eq!(again.as_ref(), Ok(&line), "another line");
    let options = line.options.text().to_ascii_lowercase();
    assert!(
        !options.contains("command=")
            || line.options.limits().command.is_some()
            || options.contains('"'),
        "a lost command"
    );
    let peer = [192, 0, 2, 1].into();
    if options.starts_with("from=") && line.options.admit(peer, 0).is_ok() {
        assert!(
            options.contains(['1', '0', '*', '?']),
            "accepted from an address outside of from="
        );
    }
}

/// Invites. An accepted invite round-trips and has an address.
pub fn invite(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let Ok(invite) = text.parse::<Invite>() else {
        return;
    };
    assert!(!invite.addresses.is_empty(), "an invite to nowhere");
    for address in &invite.addresses {
        assert!(
            !address.host.is_empty() && !address.host.starts_with('-') && address.port != 0,
            "{address:?}"
        );
    }
    assert_eq!(
        invite.to_string().parse::<Invite>().ok().as_ref(),
        Some(&invite)
    );
}

/// The line of a secret. An accepted one round-trips, and `Debug` shows only its public part.
pub fn secret(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let Ok(secret) = text.parse::<Secret>() else {
        return;
    };
    assert!(!secret.addresses.is_empty(), "a secret for nowhere");
    let line = secret.reveal();
    let again = line.parse::<Secret>().ok();
    assert_eq!(again.as_ref().map(Secret::reveal).as_ref(), Some(&line));
    assert_eq!(again.map(|again| again.key()), Some(secret.key()));
    let (_, digits) = line.rsplit_once('.').unwrap_or_default();
    assert!(
        digits.len() == 64 && !format!("{secret:?}").contains(digits),
        "it shows"
    );
}

/// Typed addresses. An accepted server round-trips, alone and before a path, and a remote path is
/// the end of the text, with one slash in place of several.
pub fn address(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    if let Ok(target) = text.parse::<Target>() {
        check_target(&target);
    }
    match Location::parse(text.as_ref()) {
        Ok(Location::Stream) => assert_eq!(text, "-"),
        Ok(Location::Local(path)) => assert_eq!(path.to_str(), Some(text), "another local path"),
        Ok(Location::Remote { target, path }) => {
            check_target(&target);
            assert!(
                !path.windows(2).any(|pair| pair == b"//"),
                "two slashes are one"
            );
            let mut single = text.as_bytes().to_vec();
            single.dedup_by(|next, previous| (*next, *previous) == (b'/', b'/'));
            assert!(single.ends_with(&path), "the path differs from the text");
            let written = format!("landline://{target}/{}", String::from_utf8_lossy(&path));
            let written = Location::parse(written.as_ref());
            assert_eq!(written.ok(), Some(Location::Remote { target, path }));
        }
        Err(_) => {}
    }
}

/// Sets of hosts. Every host of a set is one, and names itself alone.
pub fn host_set(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    // The first line is the set. Each further one is a group: its name, a space, and a set.
    let (text, rest) = text.split_once('\n').unwrap_or((text, ""));
    let groups: HostGroups = rest
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, text)| (name.to_owned(), vec![text.to_owned()]))
        .collect();
    let mut set = HostSet::default();
    if set.add(text, &groups).is_err() {
        return;
    }
    let hosts = set.into_hosts();
    assert!(!hosts.is_empty() && hosts.len() <= 10_000);
    for (name, target) in hosts.into_iter().take(100) {
        check_target(&target);
        assert!(!name.contains(['/', ',']), "{name:?} is no file name");
        let mut alone = HostSet::default();
        let added = alone.add(&name, &HostGroups::new());
        assert!(added.is_ok(), "{name:?} is not accepted alone");
        assert_eq!(alone.into_hosts(), [(name, target)]);
    }
}

fn check_target(target: &Target) {
    assert!(
        !target.host.is_empty() && !target.host.starts_with('-'),
        "a host that could be an option"
    );
    assert_ne!(target.port, Some(0));
    assert!(
        !target.host.contains(['/', '@', '[', ']', ' ', '\0', '\n']),
        "a host with more than a name: {target:?}"
    );
    assert_eq!(
        target.to_string().parse::<Target>().ok().as_ref(),
        Some(target)
    );
    let address = HostPort {
        host: target.host.clone(),
        port: DEFAULT_PORT,
    };
    let again = address
        .to_string()
        .parse::<Target>()
        .map(|again| (again.host, again.port));
    assert_eq!(again.ok(), Some((target.host.clone(), Some(DEFAULT_PORT))));
}
