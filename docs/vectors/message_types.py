"""The keys of every type of message, from docs/protocol.md, and headers that are right and wrong by section 3.

make() returns the content of types.json. A kind of value has examples, and values that are wrong. A value of each other
JSON type is wrong too.
"""

import base64

OTHERS = {
    "null": None, "boolean": True, "integer": 7, "string": "x", "array": [], "object": {},
}


def b64(n):
    return base64.b64encode(bytes(range(n))).decode()


class Kind:
    """JSON types, an example, and what is wrong beside values of other JSON types."""

    def __init__(self, types, example, *wrong):
        self.types, self.example = types.split(), example
        others = [value for name, value in OTHERS.items() if name not in self.types and name != "null"]
        self.wrong, self.right = others + list(wrong), []


INTEGER = Kind("integer", 7, -1, 1.5, 2**63, "7")
SMALL = Kind("integer", 7, -1, 1.5, 2**32, "7")
TINY = Kind("integer", 7, -1, 1.5, 2**16, "7")
BYTE = Kind("integer", 7, -1, 1.5, 2**8, "7")
BOOLEAN = Kind("boolean", True, "true", 1)
STRING = Kind("string", "x")
NAME = Kind("string object", "x", {}, {"b64": 7}, {"b64": "AA"}, ["x"])
USER = Kind("string", "alice", "", "-a", "a b", "a" * 65, "é")
NONCE = Kind("string", b64(32), b64(31), b64(33), b64(32)[:-1], "x")
BYTES = Kind("string", b64(5), "A", "AA", "AAB=", " AAA=", "A-A=")
ID = Kind("string", "0123456789abcdef", "0123456789abcde", "0123456789ABCDEF", "")
TOKEN = Kind("string", "000102030405060708090a0b0c0d0e0f", "000102030405060708090A0B0C0D0E0F", "00")
DIGEST = Kind("string", "sha256:" + "0" * 64, "0" * 64, "md5:" + "0" * 32, "sha256:" + "0" * 63, "sha256:" + "A" * 64)
SOURCE = Kind("string", "0a", "", "A", "g", "0" * 65)
BINDING = Kind("string", "tls-server-end-point", "", "tls-unique", {"tls-exporter": None})
ALGORITHM = Kind("string", "sha256", "", "md5", "SHA256", {"sha256": None})
ROLE = Kind("string", "helper", "", "root", "Owner", {"admin": None})
FORM = Kind("string", "login", "", "words", "Line", {"argv": None})
STATE = Kind("string", "running", "", "gone", "Ended", {"lost": None})
PLACEMENT = Kind("string", "exact", "", "below", "Auto", {"into": None})
LINKS = Kind("string", "skip", "", "all", "Keep", {"follow": None})
COMPARE = Kind("string", "earlier", "", "all", "Replaced", {"always": None})
PORT = Kind("integer", 7, 0, -1, 1.5, 2**16, "7")
IP = Kind("string", "192.0.2.1", "192.0.2.1:80", "x", "")
ADDRESS = Kind("string", "192.0.2.1:5263", "192.0.2.1", "x")
FINGERPRINT = Kind("string", "0" * 64, "0" * 63, "A" * 64, "")


def many(kind):
    return Kind("array", [kind.example], *([value] for value in [None, *kind.wrong]))


def objects(keys):
    """An array of objects with these keys."""
    row = example(keys)
    wrong = [{**row, **change} for change in changes(keys, False)]
    kind = Kind("array", [row], *([value] for value in [None, 7, "x", list(row.values()), *wrong]))
    kind.right = [[{**row, **change}] for change in changes(keys, True)]
    return kind


def an_object(keys):
    whole = example(keys)
    empty = [] if all(key.endswith("?") for key in keys) else [{}]
    return Kind("object", whole, *empty, list(whole.values()), *({**whole, **change} for change in changes(keys, False)))


def example(keys):
    return {key.strip("?"): kind.example for key, kind in keys.items()}


def changes(keys, right):
    """Changes to an example that leave it right, or make it wrong. Null is the same as an absent key."""
    out = []
    for key, kind in keys.items():
        name, optional = key.strip("?"), key.endswith("?")
        if optional == right:
            out.append({name: None})
        out.extend({name: value} for value in (kind.right if right else kind.wrong))
    return out


KEYS_OF_LOGIN = {"version": INTEGER, "user": USER, "nonce": NONCE, "attach?": BOOLEAN}
SSH_KEY = {"key": STRING, "signature": BYTES}

CONNECTION = {"peer": ADDRESS, "since": INTEGER, "doing": STRING}
SESSION = {"session": STRING, "user": USER, "role": ROLE, "key": STRING, "method": STRING, "since": INTEGER, "connections": objects(CONNECTION)}
USER_ROW = {
    "user": USER, "created": INTEGER, "disabled?": INTEGER, "role": ROLE, "keys": SMALL, "password?": BOOLEAN, "secrets?": SMALL,
    "rights?": many(STRING),
}
KEY_ROW = {"fingerprint": STRING, "line": STRING, "created": INTEGER, "refused?": STRING}
INVITE_ROW = {"id": STRING, "purpose": STRING, "user?": STRING, "made_by?": STRING, "created": INTEGER, "expires": INTEGER}
SECRET_ROW = {"id": ID, "user": USER, "binding": BINDING, "services?": STRING, "label": STRING, "created": INTEGER}
QUOTA = {"bytes?": INTEGER, "files?": INTEGER, "sessions?": INTEGER, "rate?": INTEGER}
WORD = {"word": STRING, "any?": BOOLEAN, "item?": many(STRING)}
VIOLATION = {"file": STRING, "line": INTEGER, "seq": INTEGER, "problem": STRING}
SIZE = {"rows": TINY, "columns": TINY}
EXIT = {
    "code?": BYTE, "signal?": STRING, "number?": BYTE, "timed_out?": BOOLEAN, "stdout": INTEGER, "stderr": INTEGER,
    "user_time": INTEGER, "system_time": INTEGER, "memory": INTEGER, "left_open?": BOOLEAN,
}
ENTRY = {"stream": INTEGER, "offset?": INTEGER, "window?": INTEGER, "from?": INTEGER}


def rows(keys):
    return {"rows": objects(keys), "more": BOOLEAN}


# The service, the type, fixed keys, and the others. A key with ? is optional.
TYPES = [
    ("", "greeting", {}, {"versions": many(INTEGER), "server": STRING, "features": many(STRING), "methods": many(STRING), "nonce": NONCE}),
    ("", "login", {"method": "ssh-key"}, {**KEYS_OF_LOGIN, **SSH_KEY}),
    ("", "login", {"method": "invite"}, {**KEYS_OF_LOGIN, **SSH_KEY, "token": TOKEN}),
    ("", "login", {"method": "secret"}, {**KEYS_OF_LOGIN, "secret": ID, "binding?": BINDING, "proof": NONCE}),
    ("", "login", {"method": "password"}, {**KEYS_OF_LOGIN, "ke3": BYTES}),
    ("", "login", {"method": "attach"}, {**KEYS_OF_LOGIN, "session": ID, "proof": NONCE}),
    ("", "keys", {}, {"version": INTEGER, "user": USER, "keys": many(NONCE)}),
    ("", "choice", {}, {"key?": INTEGER}),
    ("", "signing", {}, {}),
    ("", "password", {}, {"version": INTEGER, "user": USER, "nonce": NONCE, "ke1": BYTES}),
    ("", "evaluation", {}, {"ke2": BYTES}),
    ("", "welcome", {}, {"user": USER, "key": STRING, "session": STRING, "proof?": NONCE, "attach?": NONCE}),
    ("", "open", {}, {"service": STRING}),
    ("", "bundle", {}, {"bundle": ID}),
    ("", "error", {}, {"code": STRING, "message": STRING}),
    ("ping", "ping", {}, {}),
    ("ping", "pong", {}, {}),
    ("files", "put", {}, {
        "path": NAME, "name?": NAME, "length?": INTEGER, "mode": SMALL, "replace": BOOLEAN, "source?": SOURCE, "restart?": BOOLEAN,
        "algorithm?": ALGORITHM, "compare?": COMPARE, "digest?": DIGEST, "holes?": BOOLEAN,
    }),
    ("files", "ready", {}, {"path": NAME, "offset": INTEGER, "compare?": BOOLEAN}),
    ("files", "get", {}, {
        "path": NAME, "have?": an_object({"source": SOURCE, "offset": INTEGER}), "algorithm?": ALGORITHM, "compare?": COMPARE, "holes?": BOOLEAN,
    }),
    ("files", "file-info", {}, {"length": INTEGER, "mode": SMALL, "source": SOURCE, "offset": INTEGER, "compare?": BOOLEAN}),
    ("files", "delta", {"size": None}, {}),
    ("files", "data", {"size": 3}, {"offset": INTEGER}),
    ("files", "finish", {}, {"length": INTEGER, "digest": DIGEST, "grown?": BOOLEAN}),
    ("files", "done", {}, {"length": INTEGER, "digest": DIGEST}),
    ("files", "list", {}, {"path": NAME, "pattern?": BOOLEAN, "itself?": BOOLEAN, "recursive?": BOOLEAN, "hidden?": BOOLEAN}),
    ("files", "sum", {}, {"path": NAME, "pattern?": BOOLEAN, "algorithm?": ALGORITHM}),
    ("files", "usage", {}, {"path": NAME, "pattern?": BOOLEAN, "folders?": BOOLEAN}),
    ("files", "space", {}, {"path": NAME}),
    ("files", "make-folder", {}, {"path": NAME, "parents?": BOOLEAN}),
    ("files", "move", {}, {"path": NAME, "pattern?": BOOLEAN, "to": NAME, "into?": BOOLEAN, "replace": BOOLEAN}),
    ("files", "remove", {}, {"path": NAME, "pattern?": BOOLEAN, "recursive?": BOOLEAN}),
    ("files", "records", {"size": None}, {}),
    ("files", "put-tree", {}, {
        "path": NAME, "placement?": PLACEMENT, "source": NAME, "replace": BOOLEAN, "exact_mode?": BOOLEAN, "times": BOOLEAN,
        "compare?": COMPARE, "checksum?": BOOLEAN, "atomic?": BOOLEAN, "dry_run?": BOOLEAN, "changes?": BOOLEAN, "selection?": BOOLEAN, "fill_holes?": BOOLEAN, "hard_links?": BOOLEAN, "attributes?": BOOLEAN,
        "acls?": BOOLEAN, "summaries?": BOOLEAN, "sync?": an_object({"delete?": BOOLEAN, "delete_excluded?": BOOLEAN, "max_delete?": INTEGER, "force?": BOOLEAN}), "backup?": NAME,
    }),
    ("files", "get-tree", {}, {
        "paths": many(NAME), "folders": BOOLEAN, "one_file_system?": BOOLEAN, "compare?": COMPARE, "compress?": BOOLEAN, "dry_run?": BOOLEAN,
        "hard_links?": BOOLEAN, "attributes?": BOOLEAN, "acls?": BOOLEAN, "links?": LINKS, "skip_special?": BOOLEAN, "selection?": BOOLEAN,
        "summaries?": BOOLEAN, "exact_mode?": BOOLEAN,
    }),
    ("files", "tree", {"size": None}, {"path?": NAME, "placement?": PLACEMENT, "packed?": BOOLEAN}),
    ("admin", "who", {}, {}),
    ("admin", "kick", {}, {"target": STRING}),
    ("admin", "sessions", {}, rows(SESSION)),
    ("admin", "list-users", {}, {"user?": USER}),
    ("admin", "users", {}, rows(USER_ROW)),
    ("admin", "add-user", {}, {
        "user": USER, "keys?": many(STRING), "password?": BYTES, "files?": many(STRING), "role?": ROLE, "home?": STRING,
        "quota?": an_object(QUOTA), "words?": objects(WORD),
    }),
    ("admin", "disable-user", {}, {"user": USER, "force?": BOOLEAN}),
    ("admin", "enable-user", {}, {"user": USER}),
    ("admin", "remove-user", {}, {"user": USER, "force?": BOOLEAN}),
    ("admin", "list-keys", {}, {"user": USER}),
    ("admin", "keys", {}, rows(KEY_ROW)),
    ("admin", "add-keys", {}, {"user": USER, "keys": many(STRING)}),
    ("admin", "remove-key", {}, {"user": USER, "key": STRING, "keep_jobs?": BOOLEAN}),
    ("admin", "make-invite", {}, {"user?": USER, "seconds": INTEGER}),
    ("admin", "invite", {}, {"invite": STRING, "purpose": STRING}),
    ("admin", "list-invites", {}, {}),
    ("admin", "invites", {}, rows(INVITE_ROW)),
    ("admin", "revoke-invite", {}, {"id": STRING}),
    ("admin", "register-password", {}, {"user?": USER, "request": BYTES}),
    ("admin", "registration", {}, {"response": BYTES}),
    ("admin", "set-password", {}, {"user?": USER, "record": BYTES}),
    ("admin", "remove-password", {}, {"user?": USER}),
    ("admin", "list-secrets", {}, {"user?": USER}),
    ("admin", "secrets", {}, rows(SECRET_ROW)),
    ("admin", "add-secret", {}, {"user": USER, "binding": BINDING, "key": BYTES, "services?": STRING, "label": STRING}),
    ("admin", "remove-secret", {}, {"id": ID, "force?": BOOLEAN}),
    ("admin", "grant-rights", {}, {"user": USER, "role?": ROLE, "home?": STRING, "files?": many(STRING), "quota?": an_object(QUOTA), "words?": objects(WORD)}),
    ("admin", "revoke-rights", {}, {"user": USER, "role?": BOOLEAN, "home?": BOOLEAN, "files?": many(STRING), "quota?": many(STRING), "words?": objects(WORD)}),
    ("admin", "check-right", {}, {"user": USER, "right": STRING, "arguments?": many(NAME)}),
    ("admin", "verdict", {}, {"allowed": BOOLEAN, "line?": INTEGER, "reason": STRING}),
    ("admin", "show-server", {}, {}),
    ("admin", "show-audit", {}, {"user?": STRING, "since?": STRING, "last?": INTEGER}),
    ("admin", "audit-lines", {"size": None}, {"unreadable": INTEGER}),
    ("admin", "verify-audit", {}, {}),
    ("admin", "audit-report", {}, {
        "ok": BOOLEAN, "files": INTEGER, "lines": INTEGER, "first": STRING, "last": STRING, "seq": INTEGER, "hash": STRING,
        "cut_through": INTEGER, "violations": objects(VIOLATION), "more_violations?": INTEGER,
    }),
    ("admin", "changed", {}, {}),
    ("exec", "run", {"size": 3}, {
        "form?": FORM, "arguments": SMALL, "environment?": SMALL, "folder?": BOOLEAN, "terminal?": an_object(SIZE),
        "modes?": many(BYTE), "timeout?": SMALL, "detach?": BOOLEAN, "name?": STRING, "attach?": BOOLEAN, "forget?": BOOLEAN,
        "input?": BOOLEAN, "on_lost?": SMALL,
    }),
    ("exec", "started", {}, {"job": STRING, "existing?": BOOLEAN}),
    ("exec", "continue", {}, {"job": STRING}),
    ("exec", "continued", {}, {}),
    ("exec", "signal", {}, {"signal": STRING}),
    ("exec", "resize", {}, SIZE),
    ("exec", "exit", {}, EXIT),
    ("exec", "done", {}, {}),
    ("exec", "jobs", {}, {}),
    ("exec", "job", {}, {
        "job": STRING, "name?": STRING, "state": STATE, "command": NAME, "folder": NAME, "terminal?": BOOLEAN, "started": INTEGER,
        "ended?": INTEGER, "stdout": INTEGER, "stderr": INTEGER, "exit?": an_object(EXIT), "reason?": STRING, "watchers?": many(USER),
    }),
    ("exec", "logs", {}, {"job": STRING, "stdout?": INTEGER, "stderr?": INTEGER, "since?": INTEGER, "follow?": BOOLEAN}),
    ("exec", "log", {"size": 3}, {"stream": INTEGER, "offset": INTEGER, "time": INTEGER, "dropped?": INTEGER}),
    ("exec", "wait", {}, {"job": STRING}),
    ("exec", "kill", {}, {"job": STRING, "signal": STRING, "tree?": BOOLEAN}),
    ("exec", "attach", {}, {"job": STRING, "stdout?": INTEGER, "stderr?": INTEGER, "owner?": INTEGER, "exact?": BOOLEAN, "terminal?": an_object(SIZE), "user?": USER, "offer?": INTEGER}),
    ("exec", "attached", {}, {
        "job": STRING, "terminal": BOOLEAN, "input": BOOLEAN, "stdin": INTEGER, "stdout": INTEGER, "stderr": INTEGER,
        "owner?": INTEGER, "screen?": BOOLEAN, "answered?": an_object({"from": INTEGER, "to": INTEGER}),
    }),
    ("exec", "screen", {"size": 3}, {"whole": BOOLEAN}),
    ("exec", "watch", {}, {"job": STRING, "user?": USER, "terminal?": an_object(SIZE)}),
    ("exec", "hand-over", {}, {"give": BOOLEAN}),
    ("exec", "keyboard", {}, {"has": BOOLEAN, "user?": USER, "from?": INTEGER, "offer?": INTEGER, "refused?": STRING}),
    ("exec", "forget", {}, {"job": STRING}),
    ("exec", "top", {}, {}),
    ("exec", "load", {}, {"processors": SMALL, "load": INTEGER, "memory": INTEGER, "available": INTEGER}),
    ("exec", "usage", {}, {
        "job": STRING, "name?": STRING, "user": USER, "command": NAME, "detached?": BOOLEAN, "started": INTEGER, "processes": SMALL,
        "processor_time": INTEGER, "memory": INTEGER,
    }),
    ("forward", "connect", {}, {"stream": INTEGER, "host": STRING, "port": PORT}),
    ("forward", "connected", {}, {"stream": INTEGER, "address": ADDRESS}),
    ("forward", "reset", {}, {"stream": INTEGER, "code?": STRING, "message?": STRING}),
    ("forward", "listen", {}, {"listener": INTEGER, "address": IP, "port": TINY}),
    ("forward", "listening", {}, {"listener": INTEGER, "address": ADDRESS}),
    ("forward", "closed", {}, {"listener": INTEGER, "code": STRING, "message": STRING}),
    ("forward", "incoming", {}, {"stream": INTEGER, "listener": INTEGER, "peer": ADDRESS}),
    ("streams", "bytes", {"size": 3}, {"stream": INTEGER, "offset": INTEGER, "blocked?": BOOLEAN}),
    ("streams", "ack", {}, {"stream": INTEGER, "offset": INTEGER, "window": INTEGER}),
    ("streams", "end", {}, {"stream": INTEGER, "offset": INTEGER}),
    ("streams", "stop", {}, {"stream": INTEGER, "offset": INTEGER}),
    ("streams", "resume", {}, {"streams": objects(ENTRY)}),
    ("streams", "probe", {}, {}),
    ("streams", "alive", {}, {}),
    ("control", "server", {}, {"release": STRING, "fingerprint": FINGERPRINT, "addresses": many(STRING), "rights_problem?": STRING}),
]


def make():
    types = []
    for service, name, fixed, keys in TYPES:
        unknown = {"unknown": {"keys": [None, "are", {"ignored": -1.5}]}}
        types.append({
            "service": service,
            "header": {"type": name, **fixed, **example(keys)},
            "good": [{}, unknown, *changes(keys, True)],
            "bad": changes(keys, False),
        })
    return types
