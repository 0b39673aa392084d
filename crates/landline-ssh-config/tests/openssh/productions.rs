//! What the generator makes: hosts, values, conditions and damages.

pub(crate) const HOSTS: &[&str] = &[
    "web",
    "WEB",
    "web.example.org",
    "db1",
    "db2.example.org",
    "nas",
    "10.0.0.5",
];
pub(crate) const HOST_PATTERNS: &[&str] = &[
    "web",
    "WEB",
    "Web",
    "w*",
    "*",
    "?eb",
    "web*",
    "*.example.org",
    "*.Example.ORG",
    "db?",
    "db[12]",
    "nas",
    "10.0.0.*",
    "other",
    "real.example.org",
];
pub(crate) const USER_PATTERNS: &[&str] = &[
    "bob", "BOB", "b*", "*", "carol", "@LOCAL@", "@UPPER@", "?ob",
];
pub(crate) const VALUES: &[(&str, &[&str])] = &[
    (
        "HostName",
        &[
            "real.example.org",
            "%h.example.org",
            "%%h",
            "Real.Example.ORG",
            "127.0.0.1",
            "127.1",
            "0::1",
            "%n",
            "none",
        ],
    ),
    ("User", &["bob", "BOB", "carol", "none", "b.o-b"]),
    (
        "IdentityFile",
        &[
            "~/.ssh/id_one",
            "/keys/two",
            "keys/three",
            "none",
            "NONE",
            "~/keys/%h_%r_%u",
            "%d/key",
            "/k/%n-%p-%i-%l-%L-%k",
            "/k/%%x",
            "${LANDLINE_KEYS}/k",
            "/k/${LANDLINE_KEYS}",
            "${LANDLINE_UNSET}/k",
            "${LANDLINE_KEYS",
            "${}/k",
            "$LANDLINE_KEYS/k",
            "/k/%z",
            "/k/%",
            "/k/%C",
            "~",
            "~//x",
            "~no-such-user/x",
        ],
    ),
    (
        "IdentitiesOnly",
        &["yes", "no", "YES", "true", "False", "none"],
    ),
    (
        "IdentityAgent",
        &[
            "none",
            "NONE",
            "SSH_AUTH_SOCK",
            "$SSH_AUTH_SOCK",
            "$LANDLINE_KEYS",
            "${LANDLINE_KEYS}/a",
            "${LANDLINE_UNSET}",
            "$bad-name",
            "~/agent",
            "/a/%h-%r-%p",
            "relative",
            "/a/%z",
        ],
    ),
    (
        "ProxyJump",
        &[
            "none",
            "NONE",
            "gate",
            "bob@gate:2200",
            "one,two",
            "a@one:1,[::2]:3,four",
            "ssh://x@gate:22",
            "ssh://gate:22/path",
            "gate-%h",
            "%r@gate",
            "10.9.9.9",
            "::1",
            "gate:0",
            "gate:ssh",
            "gate:",
            "@gate",
            "one,,two",
            "one, two",
            "one two",
            "%z",
        ],
    ),
    (
        "ProxyCommand",
        &[
            "none",
            "NONE",
            "nc -q0 %h %p",
            "sh -c 'exit 1' # not a comment",
        ],
    ),
    ("Port", &["22", "2222", "0", "65536", "ssh", "x", "+22"]),
    ("HostKeyAlias", &["alias", "ALIAS", "none"]),
    (
        "IgnoreUnknown",
        &["Landline*", "*", "none", "landlinekey,other"],
    ),
    ("CanonicalizeHostname", &["no", "none", "yes", "always"]),
    ("CanonicalDomains", &["none", "example.org", "-x"]),
    ("CanonicalizeMaxDots", &["0", "1", "x"]),
    ("LandlineKey", &["x"]),
    ("Compression", &["yes", "no"]),
    ("ForwardAgent", &["no"]),
    ("AddressFamily", &["any", "ipv4"]),
    ("StrictHostKeyChecking", &["ask", "accept-new", "maybe"]),
    ("LogLevel", &["debug2", "QUIET", "maybe"]),
    ("NumberOfPasswordPrompts", &["3", "maybe"]),
    ("PubkeyAuthentication", &["yes", "maybe"]),
    ("BatchMode", &["yes", "false", "maybe"]),
    ("Tag", &["blue", "red"]),
    ("SetEnv", &["A=b"]),
    ("LocalCommand", &["echo \"%h\" # x"]),
    ("Protocol", &["2"]),
];
/// The ways to write a value.
pub(crate) const STYLES: [&str; 6] = ["bare", "double", "single", "inner", "escaped", "comment"];
pub(crate) const INCLUDES: &[&str] = &[
    "a.conf",
    "@HOME@/.ssh/a.conf",
    "~/.ssh/a.conf",
    "d/*.conf",
    "d/[0-9]*",
    "d/[!0-9]*.conf",
    "d/[[:digit:]]0-x.conf",
    "d/?0-x.conf",
    "d/*",
    "*/10-x.conf",
    "d",
    "missing",
    "missing/*",
    "d/.*",
    "a.con[f",
    "a.conf d/*.conf",
    "~no-such-user/x",
    "~root/.landline-is-not-there",
    "d/\\*.conf",
    "%d/.ssh/a.conf",
    "${LANDLINE_KEYS}/a.conf",
    "none",
];
pub(crate) const EXECS: &[&str] = &[
    "true",
    "false",
    "test %h = web",
    "test %n = web",
    "test %r = bob",
    "test %u = x -o %p = 22",
    "exit 1",
    "test -d %d",
    "echo %z",
    "test %k = web",
];

/// The first version of ssh with `Tag` and `Match tagged`.
pub(crate) const TAGS_SINCE: (u32, u32) = (9, 4);

/// The conditions of `Match`, and the version of ssh in which each appeared.
pub(crate) const CONDITIONS: &[(&str, (u32, u32))] = &[
    ("all", (0, 0)),
    ("final", (0, 0)),
    ("canonical", (0, 0)),
    ("host", (0, 0)),
    ("host", (0, 0)),
    ("originalhost", (0, 0)),
    ("user", (0, 0)),
    ("localuser", (0, 0)),
    ("exec", (0, 0)),
    ("tagged", TAGS_SINCE),
    ("localnetwork", TAGS_SINCE),
    ("command", (10, 0)),
    ("version", (10, 0)),
    ("sessiontype", (10, 0)),
];

/// The conditions of `Match` that this crate does not support.
pub(crate) const UNSUPPORTED: [&str; 4] = ["localnetwork", "command", "version", "sessiontype"];

pub(crate) const DAMAGES: [&str; 12] = [
    "byte order mark",
    "open quote",
    "open quote in keyword",
    "no value",
    "second value",
    "unknown keyword",
    "empty value",
    "empty Match",
    "unknown condition",
    "NUL",
    "form feed",
    "endless Include",
];

/// Whether ssh reads a value.
pub(crate) fn is_usual(keyword: &str, value: &str) -> bool {
    let is_odd = match keyword {
        "HostName" => value == "%n",
        "IdentityFile" => {
            value.contains("UNSET")
                || value.contains("%z")
                || value.ends_with(['%', 'S']) && value != "/k/%n-%p-%i-%l-%L-%k"
                || value.contains("${}")
                || value.contains("no-such-user")
                || value == "/k/%C"
        }
        "IdentitiesOnly" => value == "none",
        "IdentityAgent" => value.contains("UNSET") || value.contains("bad") || value.contains("%z"),
        "ProxyJump" => {
            value.contains("path")
                || value.contains(",,")
                || value.contains(' ')
                || ["::1", "gate:0", "@gate", "%z"].contains(&value)
        }
        "Port" => ["0", "65536", "x"].contains(&value),
        "CanonicalizeHostname" => value != "no",
        "CanonicalDomains" => value != "none",
        "CanonicalizeMaxDots" => value == "x",
        _ => ["ipv4", "maybe"].contains(&value),
    };
    !is_odd
}
