"""Sends each line to all other clients: a chat, with state that all connections share.

    python3 chat.py 127.0.0.1:7000
"""

import socketserver
import sys
import threading


class Chat(socketserver.StreamRequestHandler):
    members = {}
    lock = threading.Lock()

    def setup(self):
        super().setup()
        with self.lock:
            self.members[self.client_address] = self.wfile

    def handle(self):
        for line in self.rfile:
            line = ("%s:%s: " % self.client_address).encode() + line
            with self.lock:
                for address, member in self.members.items():
                    if address != self.client_address:
                        try:
                            member.write(line)
                        except OSError:
                            pass  # Its own handler notices a member that is gone.

    def finish(self):
        with self.lock:
            del self.members[self.client_address]
        super().finish()


host, port = sys.argv[1].split(":")
with socketserver.ThreadingTCPServer((host, int(port)), Chat) as server:
    print("%s:%s" % server.server_address, flush=True)
    server.serve_forever()
