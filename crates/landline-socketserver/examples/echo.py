"""Sends back what each client sends, by the model that the first argument names.

    python3 echo.py threads 127.0.0.1:7000
"""

import asyncio
import socketserver
import sys


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(1024):
            self.request.sendall(data)


async def echo_task(reader, writer):
    while data := await reader.read(1024):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve_tasks(host, port):
    server = await asyncio.start_server(echo_task, host, port)
    print("%s:%s" % server.sockets[0].getsockname(), flush=True)
    await server.serve_forever()


model, address = sys.argv[1:]
host, port = address.split(":")
if model == "tasks":
    asyncio.run(serve_tasks(host, int(port)))
servers = {
    "inline": socketserver.TCPServer,
    "threads": socketserver.ThreadingTCPServer,
    "processes": socketserver.ForkingTCPServer,
}
with servers[model]((host, int(port)), Echo) as server:
    print("%s:%s" % server.server_address, flush=True)
    server.serve_forever()
