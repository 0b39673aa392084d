#!/usr/bin/env python3
"""Uploads a file to a landline server: client.py SECRET_FILE FILE NAME_THERE

Python's standard library and docs/protocol.md are all that is needed. The secret is made on the server's machine by
landline secret add USER --binding server-end-point --out SECRET_FILE
"""
import base64, hashlib, hmac, json, os, secrets, socket, ssl, struct, sys


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def frame(data):
    return struct.pack("<i", len(data)) + data


def message(kind, **keys):
    return frame(json.dumps({"type": kind, **keys}).encode())


def receive(line, kind):
    def exactly(n):
        data = b""
        while len(data) < n:
            data += line.recv(n - len(data)) or sys.exit("the connection was lost")
        return data
    header = json.loads(exactly(struct.unpack("<i", exactly(4))[0]))
    if header["type"] != kind:
        sys.exit(f"{header.get('code')}: {header.get('message')!r}")
    return header


secret_file, path, name = sys.argv[1:]
if os.stat(secret_file).st_mode & 0o077:
    sys.exit("others can read the secret; close it with chmod 600")
location, _, fragment = open(secret_file).read().strip().removeprefix("landline-secret://").partition("#")
user, address = location.split("/")[0].split(",")[0].split("@")
host, port = address.rsplit(":", 1)
fingerprint, secret = map(bytes.fromhex, fragment.split("."))
key = mac(secret, b"landline-secret-v1", fingerprint, b"tls-server-end-point")

context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # its fingerprint is compared instead
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.set_alpn_protocols(["landline/1"])
with context.wrap_socket(socket.create_connection((host.strip("[]"), port))) as line, open(path, "rb") as file:
    if hashlib.sha256(line.getpeercert(binary_form=True)).digest() != fingerprint:
        sys.exit("this is not the server")
    greeting, nonce = receive(line, "greeting"), secrets.token_bytes(32)
    fields = [b"landline-auth-v1", b"secret", b"tls-server-end-point", fingerprint, fingerprint, b"tcp", b"landline/1",
              b"1", ",".join(greeting["methods"]).encode(), user.encode(), nonce, base64.b64decode(greeting["nonce"])]
    transcript = hashlib.sha512(b"".join(map(frame, fields))).digest()
    proof = base64.b64encode(mac(key, b"client", transcript)).decode()
    line.sendall(message("login", version=1, user=user, method="secret", nonce=base64.b64encode(nonce).decode(),
                         secret=mac(key, b"id")[:8].hex(), binding="tls-server-end-point", proof=proof)
                 + message("open", service="files")
                 + message("put", path=name, length=None, mode=0o644, replace=True, algorithm="sha256"))
    proof = base64.b64decode(receive(line, "welcome")["proof"])
    if not hmac.compare_digest(proof, mac(key, b"server", transcript)):
        sys.exit("the server does not know the secret")
    receive(line, "ready")
    line.sendall(message("data", offset=0, size=None))
    digest = hashlib.sha256()
    try:
        while data := file.read(256 * 1024):
            digest.update(data)
            line.sendall(frame(data))
        line.sendall(frame(b"") + message("finish", length=file.tell(), digest="sha256:" + digest.hexdigest()))
    except OSError:
        pass  # the server has given up; it says why
    print(receive(line, "done")["digest"])
    line.unwrap()  # says that there is no more
