"""Python's own socketserver, for comparison. Prints its port."""

import socketserver
import sys


class Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(2112):
            self.request.sendall(data)


class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        data, socket = self.request
        socket.sendto(data, self.client_address)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 4096


if sys.argv[1] == "tcp":
    server = Server(("127.0.0.1", 0), Tcp)
else:
    server = socketserver.UDPServer(("127.0.0.1", 0), Udp)
print("127.0.0.1:%d" % server.server_address[1], flush=True)
server.serve_forever()
