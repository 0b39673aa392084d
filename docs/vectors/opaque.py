#!/usr/bin/env python3
"""Login by password as docs/protocol.md section 5 has it, written from RFC 9807 (OPAQUE-3DH) and what it builds on alone: a
server, and a client. Argon2 is not in Python, so the client leaves it to the caller, or does without: no server can tell.

Python 3.8 standard library. Not for any other use.

    opaque.py               reads requests from stdin, one JSON object a line, and answers each with one on stdout.
                            "do" names one of COMMANDS, the other keys are its arguments; bytes are hexadecimal. Nothing
                            is remembered between requests: a state is handed out, and handed in again.
    opaque.py --self-test   against the published vectors in opaque.json. README.md describes it.
"""

import hmac
import json
import os
import sys
import unicodedata

from ristretto import BASE, Refused, decode, derive_key, encode, expand, extract, hash_to_group, lp, mac, multiply
from ristretto import oprf_output, one_way_map, sha512, u16

# ---------------------------------------------------------------- what both sides do


def parts(message, *lengths):
    if len(message) != sum(lengths):
        raise Refused(f"{len(message)} bytes instead of {sum(lengths)}")
    return [message[sum(lengths[:i]) : sum(lengths[: i + 1])] for i in range(len(lengths))]


def dh_key(seed):
    """DeriveDiffieHellmanKeyPair, section 6.4.1.1: the private key"""
    return derive_key(seed, b"OPAQUE-DeriveDiffieHellmanKeyPair")


def public(private):
    return encode(multiply(private, BASE))


def diffie_hellman(private, other):
    """Section 6.4.1.1; BlindEvaluate of RFC 9497 section 3.3.1 is the same"""
    return encode(multiply(private, decode(other)))


def mask(masking_key, masking_nonce, response):
    """Section 6.3.2.2, and its reverse"""
    pad = expand(masking_key, masking_nonce + b"CredentialResponsePad", 32 + 32 + 64)
    return bytes(a ^ b for a, b in zip(pad, response))


def derive_secret(secret, label, transcript_hash):
    """Section 6.4.2.1; encoded as in TLS 1.3, a label and a context have one byte of length"""
    label = b"OPAQUE-" + label
    return expand(secret, u16(64) + bytes([len(label)]) + label + bytes([len(transcript_hash)]) + transcript_hash, 64)


def key_schedule(ikm, context, client, ke1, server, ke2_head):
    """Sections 6.4.2 to 6.4.4: server_mac, client_mac, session_key; ke2_head is KE2 up to its MAC"""
    preamble = b"OPAQUEv1-" + lp(context) + lp(client) + ke1 + lp(server) + ke2_head
    prk = extract(ikm)
    handshake = derive_secret(prk, b"HandshakeSecret", sha512(preamble))
    server_mac = mac(derive_secret(handshake, b"ServerMAC", b""), sha512(preamble))
    client_mac = mac(derive_secret(handshake, b"ClientMAC", b""), sha512(preamble, server_mac))
    return server_mac, client_mac, derive_secret(prk, b"SessionKey", sha512(preamble))


# ---------------------------------------------------------------- the server
# Its setup is the OPRF seed, its private key, and one fake record for all who have none (section 6.3.2.2).


def setup():
    fake = public(dh_key(os.urandom(32))) + os.urandom(64) + bytes(96)
    return {"setup": os.urandom(64) + dh_key(os.urandom(32)).to_bytes(32, "little") + fake}


def open_setup(setup):
    seed, private, fake = parts(setup, 64, 32, 192)
    return seed, int.from_bytes(private, "little"), fake


def oprf_key(seed, credential):
    """Sections 5.2.2 and 6.3.2.2"""
    return derive_key(expand(seed, credential + b"OprfKey", 32), b"OPAQUE-DeriveKeyPair")


def respond(setup, user, request):
    """CreateRegistrationResponse, section 5.2.2. protocol.md: the credential identifier is the user's name"""
    seed, private, _ = open_setup(setup)
    return {"response": diffie_hellman(oprf_key(seed, user), parts(request, 32)[0]) + public(private)}


def answer(setup, user, server, context, record, ke1, credential=None, fixed=None):
    """GenerateKE2, section 6.2.2; an empty record is none. protocol.md: the client's identity is the user's name, the
    server's its fingerprint"""
    seed, private, fake = open_setup(setup)
    client_public, masking_key, envelope = parts(record or fake, 32, 64, 96)
    blinded, _, client_share = parts(ke1, 32, 32, 32)
    masking_nonce, nonce, share_seed = fixed or [os.urandom(32) for _ in range(3)]

    evaluated = diffie_hellman(oprf_key(seed, credential or user), blinded)
    masked = mask(masking_key, masking_nonce, public(private) + envelope)
    share = dh_key(share_seed)
    head = evaluated + masking_nonce + masked + nonce + public(share)
    pairs = (share, client_share), (private, client_share), (share, client_public)
    ikm = b"".join(diffie_hellman(*pair) for pair in pairs)
    client, server = user or client_public, server or public(private)
    server_mac, client_mac, session_key = key_schedule(ikm, context, client, ke1, server, head)
    return {"ke2": head + server_mac, "state": client_mac + session_key}


def finish(state, ke3):
    """ServerFinish, section 6.2.4"""
    client_mac, session_key = parts(state, 64, 64)
    if not hmac.compare_digest(client_mac, ke3):
        raise Refused("the client does not prove itself")
    return {"session_key": session_key}


# ---------------------------------------------------------------- a client
# `stretched` is what its key stretching function makes of output(); without it that function is the identity.


def begin(password, fixed=None):
    """GenerateKE1, section 6.2.1. Its first 32 bytes are a RegistrationRequest too (section 5.2.1)"""
    blind, nonce, share_seed = fixed or (dh_key(os.urandom(32)).to_bytes(32, "little"), os.urandom(32), os.urandom(32))
    blinded = encode(multiply(int.from_bytes(blind, "little"), hash_to_group(password)))
    share = dh_key(share_seed)
    return {"ke1": blinded + nonce + public(share), "state": blind + share.to_bytes(32, "little")}


def prepare(typed):
    """The profile OpaqueString, RFC 8265 section 4.2.2: which bytes a password is"""
    typed = typed.decode()
    if any(unicodedata.category(c) == "Cc" for c in typed):
        raise Refused("a control character")
    spaced = "".join(" " if unicodedata.category(c) == "Zs" else c for c in typed)
    return {"password": unicodedata.normalize("NFC", spaced).encode()}


def output(password, state, message):
    """The OPRF's output, of a RegistrationResponse or a KE2"""
    return {"output": oprf_output(password, int.from_bytes(state[:32], "little"), message[:32])}


def randomized_password(password, state, message, stretched):
    """Sections 5.2.3 and 6.3.2.3"""
    plain = output(password, state, message)["output"]
    return extract(plain + (stretched or plain))


def envelope_keys(randomized, nonce, server_public, user, server):
    """Store and Recover, sections 4.1.2 and 4.1.3: the envelope's tag, the client's private key, the export key"""
    private = dh_key(expand(randomized, nonce + b"PrivateKey", 32))
    cleartext = server_public + lp(server or server_public) + lp(user or public(private))
    tag = mac(expand(randomized, nonce + b"AuthKey", 64), nonce, cleartext)
    return tag, private, expand(randomized, nonce + b"ExportKey", 64)


def seal(password, state, user, server, response, stretched=None, fixed=None):
    """FinalizeRegistrationRequest, section 5.2.3"""
    _, server_public = parts(response, 32, 32)
    randomized, nonce = randomized_password(password, state, response, stretched), fixed or os.urandom(32)
    tag, private, export_key = envelope_keys(randomized, nonce, server_public, user, server)
    masking_key = expand(randomized, b"MaskingKey", 64)
    return {"record": public(private) + masking_key + nonce + tag, "export_key": export_key}


def prove(password, state, user, server, context, ke1, ke2, stretched=None):
    """GenerateKE3, section 6.2.3"""
    _, masking_nonce, masked, _, share, server_mac = parts(ke2, 32, 32, 128, 32, 32, 64)
    randomized = randomized_password(password, state, ke2, stretched)
    unmasked = mask(expand(randomized, b"MaskingKey", 64), masking_nonce, masked)
    server_public, nonce, tag = parts(unmasked, 32, 32, 64)
    expected, private, export_key = envelope_keys(randomized, nonce, server_public, user, server)
    if not hmac.compare_digest(tag, expected):
        raise Refused("the envelope does not open")
    own = int.from_bytes(state[32:], "little")
    ikm = b"".join(diffie_hellman(*pair) for pair in ((own, share), (own, server_public), (private, share)))
    client, server = user or public(private), server or server_public
    expected, client_mac, session_key = key_schedule(ikm, context, client, ke1, server, ke2[:-64])
    if not hmac.compare_digest(server_mac, expected):
        raise Refused("the server does not prove itself")
    return {"ke3": client_mac, "session_key": session_key, "export_key": export_key}


# ---------------------------------------------------------------- the published vectors


def check_group(group, oprf):
    """RFC 9496 appendices A.1 to A.3, RFC 9497 appendix A.1.1"""
    for n, encoded in enumerate(group["multiples"]):
        assert encode(multiply(n, BASE)) == encoded, n
        assert n == 0 or encode(decode(encoded)) == encoded, n
    for encoded in group["invalid"] + group["multiples"][:1]:
        try:
            decode(encoded)
        except Refused:
            continue
        raise AssertionError(encoded.hex())
    for case in group["map"]:
        assert encode(one_way_map(case["input"])) == case["element"]

    key = derive_key(oprf["seed"], oprf["key_info"])
    assert key.to_bytes(32, "little") == oprf["private_key"]
    for case in oprf["cases"]:
        blind = int.from_bytes(case["blind"], "little")
        assert encode(multiply(blind, hash_to_group(case["input"]))) == case["blinded"]
        assert diffie_hellman(key, case["blinded"]) == case["evaluated"]
        assert oprf_output(case["input"], blind, case["evaluated"]) == case["output"]


def check_real(v):
    """RFC 9807 appendix C.1: both sides"""
    made = v["oprf_seed"] + v["server_private_key"] + bytes(192)
    password, user, server, context = map(v.get, ("password", "client_identity", "server_identity", "context"))
    credential = v["credential_identifier"]
    assert oprf_key(v["oprf_seed"], credential).to_bytes(32, "little") == v["oprf_key"]
    begun = begin(password, (v["blind_registration"], v["client_nonce"], v["client_keyshare_seed"]))
    assert begun["ke1"][:32] == v["registration_request"]
    assert respond(made, credential, v["registration_request"])["response"] == v["registration_response"]
    sealed = seal(password, begun["state"], user, server, v["registration_response"], None, v["envelope_nonce"])
    assert sealed == {"record": v["registration_upload"], "export_key": v["export_key"]}

    begun = begin(password, (v["blind_login"], v["client_nonce"], v["client_keyshare_seed"]))
    assert begun["ke1"] == v["KE1"]
    fixed = v["masking_nonce"], v["server_nonce"], v["server_keyshare_seed"]
    answered = answer(made, user, server, context, v["registration_upload"], v["KE1"], credential, fixed)
    assert answered["ke2"] == v["KE2"]
    keys = {"session_key": v["session_key"], "export_key": v["export_key"]}
    assert prove(password, begun["state"], user, server, context, v["KE1"], v["KE2"]) == {"ke3": v["KE3"], **keys}
    assert finish(answered["state"], v["KE3"]) == {"session_key": v["session_key"]}


def check_fake(v):
    """RFC 9807 appendix C.2: the answer for a user without a record"""
    made = v["oprf_seed"] + v["server_private_key"] + v["client_public_key"] + v["masking_key"] + bytes(96)
    fixed = v["masking_nonce"], v["server_nonce"], v["server_keyshare_seed"]
    names = v["client_identity"], v["server_identity"], v["context"]
    assert answer(made, *names, None, v["KE1"], v["credential_identifier"], fixed)["ke2"] == v["KE2"]


def self_test():
    def unhex(x):
        if isinstance(x, str):
            return bytes.fromhex(x)
        return {k: unhex(v) for k, v in x.items()} if isinstance(x, dict) else [unhex(v) for v in x]

    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "opaque.json"), encoding="ascii") as f:
        vectors = unhex(json.load(f))
    check_group(vectors["rfc9496"], vectors["rfc9497"])
    for v in vectors["rfc9807"]["real"]:
        check_real(v)
    for v in vectors["rfc9807"]["fake"]:
        check_fake(v)


# ---------------------------------------------------------------- the program

COMMANDS = {f.__name__: f for f in (setup, respond, answer, finish, prepare, begin, output, seal, prove)}


def serve():
    for line in sys.stdin:
        request = json.loads(line)
        command = COMMANDS[request.pop("do")]
        try:
            said = command(**{k: None if v is None else bytes.fromhex(v) for k, v in request.items()})
            said = {k: v.hex() for k, v in said.items()}
        except Refused as e:
            said = {"refused": str(e)}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    self_test() if sys.argv[1:] == ["--self-test"] else serve()
