"""Answers each datagram with its text in upper case.

    python3 udp.py 127.0.0.1:7000
"""

import socketserver
import sys


class Upper(socketserver.DatagramRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.read().upper())


host, port = sys.argv[1].split(":")
with socketserver.UDPServer((host, int(port)), Upper) as server:
    print("%s:%s" % server.server_address, flush=True)
    server.serve_forever()
