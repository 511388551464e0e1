#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A small HTTP server and its client.

    web.py serve NAME ADDRESS PORT
    web.py ask ADDRESS PORT COUNT SIZE

The server answers a POST with its name and the checksum of what came. The client makes COUNT requests, each on a
connection of its own, with SIZE bytes, checks the checksums, and prints "NAME=ANSWERS ..." in order of the names.
"""
import collections
import hashlib
import http.client
import http.server
import random
import sys

TIMEOUT = 60


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the server's name and the checksum of the body."""
    name = ''
    timeout = TIMEOUT

    def do_POST(self):  # pylint: disable=invalid-name
        """One request."""
        body = self.rfile.read(int(self.headers['Content-Length']))
        answer = f'{self.name} {hashlib.sha256(body).hexdigest()}\n'.encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        """No log."""


def serve(name, address, port):
    """For ever."""
    Handler.name = name
    server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
    print('listening', flush=True)
    server.serve_forever()


def ask(address, port, count, size):
    """Returns who answered how often."""
    answers = collections.Counter()
    for number in range(int(count)):
        body = random.Random(number).randbytes(int(size))
        connection = http.client.HTTPConnection(address, int(port), timeout=TIMEOUT)
        connection.request('POST', '/', body)
        name, checksum = connection.getresponse().read().decode().split()
        if checksum != hashlib.sha256(body).hexdigest():
            sys.exit(f'{name} got other bytes than it was sent')
        answers[name] += 1
        connection.close()
    return ' '.join(f'{name}={answers[name]}' for name in sorted(answers))


if __name__ == '__main__':
    if len(sys.argv) == 5 and sys.argv[1] == 'serve':
        serve(*sys.argv[2:])
    elif len(sys.argv) == 6 and sys.argv[1] == 'ask':
        print(ask(*sys.argv[2:]))
    else:
        sys.exit(__doc__)
