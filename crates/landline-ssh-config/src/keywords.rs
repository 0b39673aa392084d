//! The keywords that some version of ssh knows.

use super::{
    error::Problem,
    options::{number, one_word, yes_or_no},
};

/// Checks a keyword that this crate does not use, and as much of its value as all versions of ssh
/// check alike.
///
/// An unknown keyword may be a misspelled `Host`, so the lines after it could be meant for another
/// host.
///
/// # Errors
/// An unknown keyword, or a value that ssh rejects.
pub(super) fn check(keyword: &str, words: &[Vec<u8>]) -> Result<(), Problem> {
    if FLAGS.contains(&keyword) {
        yes_or_no(one_word(words)?).map(drop)
    } else if let Some((_, choices)) = CHOICES.iter().find(|(name, _)| *name == keyword) {
        let value = one_word(words)?.to_ascii_lowercase();
        let is_choice = choices.iter().any(|choice| choice.as_bytes() == value);
        if is_choice {
            Ok(())
        } else {
            Err(format!("one of these is needed: {}", choices.join(", ")).into())
        }
    } else if NUMBERS.contains(&keyword) {
        number(one_word(words)?).map(drop)
    } else if SINGLE.contains(&keyword) {
        one_word(words).map(drop)
    } else if OTHERS.contains(&keyword) || VENDORS.contains(&keyword) {
        Ok(())
    } else {
        Err(
            format!("{keyword:?} is not a keyword of ssh (IgnoreUnknown lists those to ignore)")
                .into(),
        )
    }
}

/// Whether some version of ssh knows a keyword.
pub(super) fn is_known(keyword: &str) -> bool {
    let is_choice = CHOICES.iter().any(|(name, _)| *name == keyword);
    let lists = [FLAGS, NUMBERS, SINGLE, OTHERS, VENDORS];
    is_choice || lists.iter().any(|list| list.contains(&keyword))
}

/// The keywords of OpenSSH up to 10.5 whose value is yes or no.
const FLAGS: &[&str] = &[
    "batchmode",
    "challengeresponseauthentication",
    "checkhostip",
    "clearallforwardings",
    "enableescapecommandline",
    "enablesshkeysign",
    "exitonforwardfailure",
    "forkafterauthentication",
    "forwardx11",
    "forwardx11trusted",
    "gatewayports",
    "hashknownhosts",
    "hostbasedauthentication",
    "kbdinteractiveauthentication",
    "keepalive",
    "nohostauthenticationforlocalhost",
    "passwordauthentication",
    "permitlocalcommand",
    "proxyusefdpass",
    "skeyauthentication",
    "stdinnull",
    "streamlocalbindunlink",
    "tcpkeepalive",
    "tisauthentication",
    "visualhostkey",
];

/// The keywords of OpenSSH up to 10.5 whose value is a number.
const NUMBERS: &[&str] = &[
    "connectionattempts",
    "numberofpasswordprompts",
    "serveralivecountmax",
];

/// The keywords that have one of some values, in OpenSSH 8.7 to 10.5.
const CHOICES: &[(&str, &[&str])] = &[
    ("addressfamily", &["any", "inet", "inet6"]),
    ("compression", &["yes", "no"]),
    (
        "controlmaster",
        &["yes", "no", "ask", "auto", "autoask", "true", "false"],
    ),
    ("fingerprinthash", &["md5", "sha256"]),
    (
        "loglevel",
        &[
            "quiet", "fatal", "error", "info", "verbose", "debug", "debug1", "debug2", "debug3",
        ],
    ),
    (
        "pubkeyauthentication",
        &["yes", "no", "unbound", "host-bound", "true", "false"],
    ),
    (
        "requesttty",
        &["yes", "no", "force", "auto", "true", "false"],
    ),
    ("sessiontype", &["none", "subsystem", "default"]),
    (
        "stricthostkeychecking",
        &["yes", "no", "ask", "accept-new", "off", "true", "false"],
    ),
    (
        "tunnel",
        &["yes", "no", "point-to-point", "ethernet", "true", "false"],
    ),
    ("updatehostkeys", &["yes", "no", "ask", "true", "false"]),
    ("verifyhostkeydns", &["yes", "no", "ask", "true", "false"]),
];

/// The keywords of OpenSSH up to 10.5 that have one value.
const SINGLE: &[&str] = &[
    "bindaddress",
    "bindinterface",
    "casignaturealgorithms",
    "certificatefile",
    "ciphers",
    "connecttimeout",
    "controlpath",
    "controlpersist",
    "dsaauthentication",
    "escapechar",
    "forwardagent",
    "forwardx11timeout",
    "hostbasedacceptedalgorithms",
    "hostbasedkeytypes",
    "hostkeyalgorithms",
    "kbdinteractivedevices",
    "kexalgorithms",
    "macs",
    "preferredauthentications",
    "pubkeyacceptedalgorithms",
    "pubkeyacceptedkeytypes",
    "requiredrsasize",
    "securitykeyprovider",
    "serveraliveinterval",
    "streamlocalbindmask",
    "syslogfacility",
    "tunneldevice",
    "warnweakcrypto",
    "xauthlocation",
];

/// The other keywords of OpenSSH up to 10.5, also those that it ignores.
const OTHERS: &[&str] = &[
    "addkeystoagent",
    "afstokenpassing",
    "canonicaldomains",
    "canonicalizefallbacklocal",
    "canonicalizehostname",
    "canonicalizemaxdots",
    "canonicalizepermittedcnames",
    "channeltimeout",
    "cipher",
    "compressionlevel",
    "dynamicforward",
    "fallbacktorsh",
    "globalknownhostsfile",
    "globalknownhostsfile2",
    "gssapiauthentication",
    "gssapidelegatecredentials",
    "host",
    "hostkeyalias",
    "hostname",
    "identitiesonly",
    "identityagent",
    "identityfile",
    "identityfile2",
    "ignoreunknown",
    "include",
    "ipqos",
    "kerberosauthentication",
    "kerberostgtpassing",
    "knownhostscommand",
    "localcommand",
    "localforward",
    "logverbose",
    "match",
    "obscurekeystroketiming",
    "permitremoteopen",
    "pkcs11provider",
    "port",
    "protocol",
    "proxycommand",
    "proxyjump",
    "refuseconnection",
    "rekeylimit",
    "remotecommand",
    "remoteforward",
    "revokedhostkeys",
    "rhostsauthentication",
    "rhostsrsaauthentication",
    "rsaauthentication",
    "sendenv",
    "setenv",
    "smartcarddevice",
    "tag",
    "useprivilegedport",
    "user",
    "userknownhostsfile",
    "userknownhostsfile2",
    "useroaming",
    "usersh",
    "versionaddendum",
];

/// Further keywords in the versions of Debian, Fedora, macOS and FreeBSD.
const VENDORS: &[&str] = &[
    "gssapiclientidentity",
    "gssapikexalgorithms",
    "gssapikeyexchange",
    "gssapirenewalforcesrekey",
    "gssapiserveridentity",
    "gssapitrustdns",
    "hpnbuffersize",
    "hpndisabled",
    "noneenabled",
    "noneswitch",
    "protocolkeepalives",
    "setuptimeout",
    "tcprcvbuf",
    "tcprcvbufpoll",
    "usekeychain",
];
