"""ECDSA, RSA and security keys in plain Python, for generate.py: keys, and signatures over a login transcript that are good,
or bad in one way. Every nonce comes from a fixed label, so a re-run writes the same bytes. Not for any other use."""

import base64
import hashlib
import os
import struct
import subprocess
import tempfile

NAMESPACE = b"landline-auth-v1"


def det(label, n):
    out, i = b"", 0
    while len(out) < n:
        out += hashlib.sha512(b"landline signature %d " % i + label.encode()).digest()
        i += 1
    return out[:n]


def st(x):
    return struct.pack(">I", len(x)) + x


def mpint(n):
    return st(n.to_bytes((n.bit_length() + 8) // 8, "big") if n else b"")


def signed(message, namespace=NAMESPACE, hashalg=b"sha512"):
    return b"SSHSIG" + st(namespace) + st(b"") + st(hashalg) + st(hashlib.new(hashalg.decode(), message).digest())


def blob(key, inner, version=1, namespace=NAMESPACE, reserved=b"", hashalg=b"sha512"):
    return b"SSHSIG" + struct.pack(">I", version) + st(key) + st(namespace) + st(reserved) + st(hashalg) + st(inner)


# ---------------------------------------------------------------- ECDSA (FIPS 186, SEC 2)

CURVES = {
    "nistp256": (
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
        0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
        "sha256",
    ),
    "nistp384": (
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
        0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
        0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
        "sha384",
    ),
    "nistp521": (
        2**521 - 1,
        0x51953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
        0xC6858E06B70404E9CD9E3ECB662395B4429C648139053FB521F828AF606B4D3DBAA14B5E77EFE75928FE1DC127A2FFA8DE3348B3C1856A429BF97E7E31C2E5BD66,
        0x11839296A789A3BC0045C8A5FB42C7D1BD998F54449579B446817AFBD17273E662C97EE72995EF42640C550B9013FAD0761353C7086A272C24088BE94769FD16650,
        0x1FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409,
        "sha512",
    ),
}


def ec_add(p, a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % p == 0:
            return None
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, p)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, p)
    x = (slope * slope - a[0] - b[0]) % p
    return x, (slope * (a[0] - x) - a[1]) % p


def ec_mul(p, k, a):
    out = None
    while k:
        if k & 1:
            out = ec_add(p, out, a)
        a, k = ec_add(p, a, a), k >> 1
    return out


class Ecdsa:
    def __init__(self, curve, label, d=None):
        self.curve = curve
        self.p, b, gx, gy, self.n, self.hash = CURVES[curve]
        self.g = (gx, gy)
        assert (gy * gy - gx**3 + 3 * gx - b) % self.p == 0 and ec_mul(self.p, self.n, self.g) is None
        self.size = (self.p.bit_length() + 7) // 8
        self.d = d or int.from_bytes(det(label, self.size + 8), "big") % (self.n - 1) + 1
        self.q = ec_mul(self.p, self.d, self.g)
        self.name = b"ecdsa-sha2-" + curve.encode()

    def point(self, q=None):
        x, y = q or self.q
        return b"\x04" + x.to_bytes(self.size, "big") + y.to_bytes(self.size, "big")

    def key(self, point=None):
        return st(self.name) + st(self.curve.encode()) + st(point or self.point())

    def digest(self, text):
        e = int.from_bytes(hashlib.new(self.hash, text).digest(), "big")
        return e >> max(0, hashlib.new(self.hash).digest_size * 8 - self.n.bit_length())

    def rs(self, text, label="k"):
        k = int.from_bytes(det(label + text.hex(), self.size + 8), "big") % (self.n - 1) + 1
        r = ec_mul(self.p, k, self.g)[0] % self.n
        s = pow(k, -1, self.n) * (self.digest(text) + r * self.d) % self.n
        assert r and s and self.verifies(text, r, s)
        return r, s

    def verifies(self, text, r, s):
        if not (0 < r < self.n and 0 < s < self.n):
            return False
        w = pow(s, -1, self.n)
        u, v = self.digest(text) * w % self.n, r * w % self.n
        x = ec_add(self.p, ec_mul(self.p, u, self.g), ec_mul(self.p, v, self.q))
        return x is not None and x[0] % self.n == r

    def inner(self, text, **other):
        r, s = self.rs(text)
        raw = other.get("raw", mpint(other.get("r", r)) + mpint(other.get("s", s)))
        return st(other.get("name", self.name)) + st(raw) + other.get("extra", b"")


def openssh_private(k):
    """openssh-key-v1 of an ECDSA key, not encrypted"""
    inner = struct.pack(">II", 1, 1) + k.key() + mpint(k.d) + st(b"vector")
    inner += bytes(range(1, 1 + -len(inner) % 8))
    text = b"openssh-key-v1\0" + st(b"none") + st(b"none") + st(b"") + struct.pack(">I", 1) + st(k.key()) + st(inner)
    body = base64.b64encode(text).decode()
    lines = [body[i : i + 70] for i in range(0, len(body), 70)]
    return "\n".join(["-----BEGIN OPENSSH PRIVATE KEY-----", *lines, "-----END OPENSSH PRIVATE KEY-----", ""])


# ---------------------------------------------------------------- RSA (RFC 8017, PKCS #1 v1.5)


def is_prime(n):
    if any(n % p == 0 for p in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)):
        return False
    d, r = n - 1, 0
    while d % 2 == 0:
        d, r = d // 2, r + 1
    for i in range(20):
        x = pow(int.from_bytes(det(f"witness {i}", 32), "big"), d, n)
        if x in (1, n - 1):
            continue
        for _ in range(r - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def prime(label, bits):
    n = int.from_bytes(det(label, bits // 8), "big") | 3 << bits - 2 | 1
    while not is_prime(n) or (n - 1) % 65537 == 0:
        n += 2
    return n


PREFIX = {  # DigestInfo
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}


class Rsa:
    def __init__(self, bits, label):
        p, q = prime(label + " p", bits // 2), prime(label + " q", bits // 2)
        self.n, self.e = p * q, 65537
        self.d = pow(self.e, -1, (p - 1) * (q - 1))
        self.size = bits // 8
        assert self.n.bit_length() == bits

    def key(self):
        return st(b"ssh-rsa") + mpint(self.e) + mpint(self.n)

    def padded(self, text, alg="sha512", fill=b"\xff", first=b"\x00\x01", behind=b""):
        info = PREFIX[alg] + hashlib.new(alg, text).digest() + behind
        return first + fill * (self.size - len(info) - 3) + b"\0" + info

    def raw(self, text, alg="sha512", **other):
        n = pow(int.from_bytes(self.padded(text, alg, **other), "big"), self.d, self.n)
        return n.to_bytes(self.size, "big")

    def inner(self, text, alg="sha512", name=None, raw=None, extra=b""):
        name = name or b"rsa-sha2-" + alg[3:].encode()
        return st(name) + st(raw if raw is not None else self.raw(text, alg)) + extra


# ---------------------------------------------------------------- security keys (PROTOCOL.u2f)


def presented(application, text, flags, counter=7):
    return hashlib.sha256(application).digest() + bytes([flags]) + struct.pack(">I", counter) + hashlib.sha256(text).digest()


class SkEcdsa(Ecdsa):
    APPLICATION = b"ssh:"

    def key(self):
        return st(b"sk-ecdsa-sha2-nistp256@openssh.com") + st(b"nistp256") + st(self.point()) + st(self.APPLICATION)

    def sk_inner(self, text, flags=1, says=None, counter=7, application=APPLICATION, extra=b"", trailer=True):
        r, s = self.rs(presented(application, text, flags, counter))
        tail = bytes([flags if says is None else says]) + struct.pack(">I", counter) if trailer else b""
        return st(b"sk-ecdsa-sha2-nistp256@openssh.com") + st(mpint(r) + mpint(s)) + tail + extra


class SkEd25519:
    APPLICATION = b"ssh:"

    def __init__(self, label, public, sign):
        self.seed, self.sign = det(label, 32), sign
        self.public = public(self.seed)

    def key(self):
        return st(b"sk-ssh-ed25519@openssh.com") + st(self.public) + st(self.APPLICATION)

    def sk_inner(self, text, flags=1, says=None, counter=7, application=APPLICATION, extra=b"", trailer=True):
        raw = self.sign(self.seed, presented(application, text, flags, counter))
        tail = bytes([flags if says is None else says]) + struct.pack(">I", counter) if trailer else b""
        return st(b"sk-ssh-ed25519@openssh.com") + st(raw) + tail + extra


# ---------------------------------------------------------------- the file


def line(key):
    (n,) = struct.unpack(">I", key[:4])
    return key[4 : 4 + n].decode() + " " + base64.b64encode(key).decode()


def make_keys(transcript, other_transcript, ed_public, ed_sign, transcript_lp):
    ecdsa = [Ecdsa(curve, curve) for curve in CURVES]
    rsa = [Rsa(2048, "rsa 2048"), Rsa(3072, "rsa 3072")]
    sks = [SkEd25519("sk ed25519", ed_public, ed_sign), SkEcdsa("nistp256", "sk ecdsa")]
    other_rsa, other_ec = Rsa(2048, "another rsa"), Ecdsa("nistp256", "another")
    names = {id(k): n for k, n in zip([*ecdsa, *rsa, *sks], ["p256", "p384", "p521", "rsa2048", "rsa3072", "sk-ed25519", "sk-ecdsa"])}
    keys = [{"name": names[id(k)], "line": line(k.key()),
             "fingerprint": "SHA256:" + base64.b64encode(hashlib.sha256(k.key()).digest()).decode().rstrip("=")}
            for k in [*ecdsa, *rsa, *sks]]
    cases = []
    text = signed(transcript)

    with tempfile.TemporaryDirectory() as tmp:

        def keygen(key, signature):
            allowed, path = os.path.join(tmp, "allowed"), os.path.join(tmp, "sig")
            with open(allowed, "w") as f:
                f.write("user " + line(key.key()) + "\n")
            body = base64.b64encode(signature).decode()
            body = "\n".join(body[i : i + 70] for i in range(0, len(body), 70))
            with open(path, "w") as f:
                f.write(f"-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----\n")
            args = ["ssh-keygen", "-Y", "verify", "-f", allowed, "-I", "user", "-n", NAMESPACE.decode(), "-s", path]
            return subprocess.run(args, input=transcript, capture_output=True, check=False).returncode == 0

        def case(key, name, signature, ok, stricter=False):
            # ssh-keygen agrees, but where the document is stricter.
            assert keygen(key, signature) == ok or (stricter and not ok), (names[id(key)], name)
            cases.append({"key": names[id(key)], "name": name, "signature": base64.b64encode(signature).decode(), "ok": ok})

        for k in ecdsa:
            r, s = k.rs(text)
            n = k.n
            good = lambda **o: blob(k.key(), k.inner(text, **o))  # noqa: E731
            case(k, "good", good(), True)
            case(k, "good: s negated, which ECDSA allows", good(s=n - s), True)
            for what, o in (("r is 0", {"r": 0}), ("s is 0", {"s": 0}), ("both are 0", {"r": 0, "s": 0}), ("r is the order", {"r": n}),
                            ("s is the order", {"s": n}), ("r plus the order", {"r": r + n}), ("s plus the order", {"s": s + n}),
                            ("r and s exchanged", {"r": s, "s": r}), ("r is 1", {"r": 1}), ("both are 1", {"r": 1, "s": 1}),
                            ("s is the order less 1", {"s": n - 1})):
                case(k, what, good(**o), False)
            for what, raw in (("fixed length in place of mpints", r.to_bytes(k.size, "big") + s.to_bytes(k.size, "big")),
                              ("r negative", st((r - 2 ** (8 * k.size)).to_bytes(k.size + 1, "big", signed=True)) + mpint(s)),
                              ("r with another zero in front", st(b"\0" + mpint(r)[4:]) + mpint(s)),
                              ("s with another zero in front", mpint(r) + st(b"\0" + mpint(s)[4:])),
                              ("a byte behind s", mpint(r) + mpint(s) + b"\0"), ("r alone", mpint(r)), ("nothing", b"")):
                case(k, what, good(raw=raw), False, stricter=True)
            case(k, "a byte behind the signature", good(extra=b"\0"), False, stricter=True)
            case(k, "named for another curve", good(name=b"ecdsa-sha2-nistp" + (b"384" if k.size == 32 else b"256")), False)
            case(k, "named ssh-ed25519", good(name=b"ssh-ed25519"), False)
            theirs = Ecdsa(k.curve, "another")
            case(k, "by another key, naming this one", blob(k.key(), theirs.inner(text)), False)
            case(k, "by another key", blob(theirs.key(), theirs.inner(text)), False)
            case(k, "by this key, naming another", blob(theirs.key(), k.inner(text)), False)

        for k in rsa:
            good = lambda alg="sha512", **o: blob(k.key(), k.inner(text, alg, **o))  # noqa: E731
            raw = k.raw(text)
            case(k, "good, sha512", good(), True)
            case(k, "good, sha256", good("sha256"), True)
            case(k, "named ssh-rsa, SHA-1", good("sha1", name=b"ssh-rsa"), False)
            case(k, "named ssh-rsa, SHA-512", good(name=b"ssh-rsa"), False)
            case(k, "SHA-256 named SHA-512", good("sha256", name=b"rsa-sha2-512"), False)
            case(k, "SHA-512 named SHA-256", good(name=b"rsa-sha2-256"), False)
            case(k, "all zero", good(raw=bytes(k.size)), False)
            case(k, "one", good(raw=(1).to_bytes(k.size, "big")), False)
            case(k, "the modulus", good(raw=k.n.to_bytes(k.size, "big")), False)
            case(k, "the modulus less 1", good(raw=(k.n - 1).to_bytes(k.size, "big")), False)
            plus = int.from_bytes(raw, "big") + k.n
            if plus < 256**k.size:
                case(k, "plus the modulus", good(raw=plus.to_bytes(k.size, "big")), False)
            case(k, "a zero in front", good(raw=b"\0" + raw), False, stricter=True)
            case(k, "a zero behind", good(raw=raw + b"\0"), False)
            case(k, "without its last byte", good(raw=raw[:-1]), False)
            case(k, "empty", good(raw=b""), False)
            case(k, "padding of type 2", good(raw=k.raw(text, first=b"\0\2")), False)
            case(k, "padding of zeros", good(raw=k.raw(text, fill=b"\0")), False)
            case(k, "bytes behind the digest", good(raw=k.raw(text, behind=b"\0" * 16)), False)
            case(k, "a byte behind the signature", good(extra=b"\0"), False, stricter=True)
            case(k, "by another key, naming this one", blob(k.key(), other_rsa.inner(text)), False)
            case(k, "by this key, naming another", blob(other_rsa.key(), k.inner(text)), False)

        for k in sks:
            good = lambda **o: blob(k.key(), k.sk_inner(text, **o))  # noqa: E731
            case(k, "good", good(), True)
            case(k, "good: person verified, too", good(flags=5), True)
            case(k, "good: counter 2^32-1", good(counter=2**32 - 1), True)
            case(k, "no person was present", good(flags=0), False, stricter=True)
            case(k, "no person was present, though verified", good(flags=4), False, stricter=True)
            case(k, "presence put in afterwards", good(flags=0, says=1), False)
            case(k, "for another application", good(application=b"ssh:x"), False)
            case(k, "no flags and counter", good(trailer=False), False)
            case(k, "a byte behind the counter", good(extra=b"\0"), False, stricter=True)
        plain = blob(sks[0].key(), st(b"ssh-ed25519") + st(ed_sign(sks[0].seed, text)))
        case(sks[0], "a plain signature of ed25519", plain, False)
        case(sks[1], "a plain signature of ECDSA", blob(sks[1].key(), Ecdsa.inner(sks[1], text)), False)

        for k in (ecdsa[0], rsa[0]):
            inner = k.inner
            for what, b in (("hash sha256", blob(k.key(), inner(signed(transcript, hashalg=b"sha256")), hashalg=b"sha256")),
                            ("other namespace", blob(k.key(), inner(signed(transcript, b"file")), namespace=b"file")),
                            ("namespace put in afterwards", blob(k.key(), inner(signed(transcript, b"file")))),
                            ("other message", blob(k.key(), inner(signed(other_transcript)))), ("version 2", blob(k.key(), inner(text), version=2)),
                            ("reserved field", blob(k.key(), inner(text), reserved=b"x")), ("trailing byte", blob(k.key(), inner(text)) + b"\0")):
                case(k, what, b, False, stricter=True)

    return {"transcript": transcript.hex(), "keys": keys, "cases": cases, "lines": make_lines(ecdsa, rsa, sks, other_ec),
            "tags": make_tags(keys, transcript_lp)}


def make_lines(ecdsa, rsa, sks, other):
    """Lines that are a key, or just not"""
    lines = [{"line": line(k.key()) + more, "ok": True} for k in [*ecdsa, *rsa, *sks] for more in ("", " me@host")]
    small, p256 = Rsa(1024, "short"), ecdsa[0]
    x, y = p256.q
    compressed = bytes([2 + (y & 1)]) + x.to_bytes(32, "big")
    e, n = mpint(rsa[0].e), mpint(rsa[0].n)
    bad = [line(small.key()), line(st(p256.name) + st(b"nistp256") + st(compressed)), line(st(p256.name) + st(b"nistp384") + st(p256.point())),
           line(st(p256.name) + st(b"nistp256") + st(ecdsa[1].point())), line(p256.key() + b"\0"), line(rsa[0].key() + b"\0"),
           line(st(b"ssh-rsa") + e + st(b"\0" + n[4:])), line(st(b"ssh-rsa") + e + st(n[5:])), line(st(b"ssh-rsa") + n + e),
           line(st(b"ssh-rsa") + e), line(st(b"ssh-dss") + mpint(23) * 4), line(st(b"ssh-ed25519") + st(bytes(31))),
           line(sks[0].key() + b"\0"), line(st(b"ssh-ed25519-cert-v01@openssh.com") + st(bytes(32))),
           line(p256.key()).replace("nistp256", "nistp384", 1), line(p256.key()).replace("ecdsa-sha2-nistp256", "ssh-rsa", 1),
           line(p256.key())[:-1], "ecdsa-sha2-nistp256", ""]
    return lines + [{"line": text, "ok": False} for text in bad]


def make_tags(keys, lp):
    bindings = [det("binding", 32), bytes(32)]
    return [{"binding": b.hex(), "key": k["line"],
             "tag": base64.b64encode(hashlib.sha256(lp(b"landline-key-v1") + lp(b) + lp(k["line"].encode())).digest()).decode()}
            for b in bindings for k in keys]
