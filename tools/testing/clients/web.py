# SPDX-License-Identifier: GPL-2.0-only
"""A small HTTP server, and requests to it.

The server answers a POST with its name and the checksum of the body, which ask() compares.
"""
import collections
import hashlib
import http.client
import http.server
import random
import socketserver
import threading

TIMEOUT = 60


class Handler(http.server.BaseHTTPRequestHandler):
    """one connection"""
    timeout = TIMEOUT

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = f"{self.server.name} {hashlib.sha256(body).hexdigest()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        """none"""


class Server(socketserver.ThreadingTCPServer):
    """in a namespace, run by a thread"""
    allow_reuse_address = True

    def __init__(self, ns, name, address, port=80):
        self.name = name
        with ns.enter:
            super().__init__((address, port), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self):
        """All connections are closed at the end."""
        self.shutdown()
        self.server_close()


def ask(ns, address, count, size, port=80):
    """Requests with so many bytes, each on a connection of its own -> {server's name: answers}"""
    answers = collections.Counter()
    for number in range(count):
        body = random.Random(number).randbytes(size)
        connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT)
        with ns.enter:
            connection.connect()
        connection.request("POST", "/", body)
        name, checksum = connection.getresponse().read().decode().split()
        answers[name if checksum == hashlib.sha256(body).hexdigest() else name + ": other bytes than sent"] += 1
        connection.close()
    return dict(answers)
