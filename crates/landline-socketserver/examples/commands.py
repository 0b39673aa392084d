"""Runs commands that arrive as an int32 length, a JSON header of that length, and a body.

    python3 commands.py 127.0.0.1:7000

The header of a request is {"command": "upper", "size": 5}. "size" is the length of the body.
The answer has the same form, with "ok" in its header.
"""

import json
import socketserver
import struct
import sys


class Commands(socketserver.StreamRequestHandler):
    def handle(self):
        while prefix := self.rfile.read(4):
            header = json.loads(self.rfile.read(struct.unpack("<i", prefix)[0]))
            body = self.rfile.read(header["size"])
            command = header.pop("command", None)
            header["ok"] = True
            if command == "upper":
                body = body.upper()
            elif command == "reverse":
                body = body[::-1]
            else:
                header["ok"] = False
            text = json.dumps(header).encode()
            self.wfile.write(struct.pack("<i", len(text)) + text + body)


host, port = sys.argv[1].split(":")
with socketserver.ThreadingTCPServer((host, int(port)), Commands) as server:
    print("%s:%s" % server.server_address, flush=True)
    server.serve_forever()
