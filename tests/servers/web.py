#!/usr/bin/python3
"""A real HTTP server that does what a test tells it to.

    web.py PORT [CERT KEY [CLIENT_CA]]     with a certificate it speaks HTTPS only; with a CA it wants a client certificate

Standard output: one JSON object a line: {"ready": true}, then each request.
Standard input: one line changes how it behaves from then on:

    fine                  204
    status N [SECONDS]    N to every request, with Retry-After if given
    first N M             N to the next M requests, then 204
    slow SECONDS          204 after that time
    leave                 closes the connection without an answer
    redirect URL          307 to there, and 204 to who asks for the path of it
    large                 200 with a body that does not end soon
    dawdle                200, and nothing of the body that it announces
"""

import json, socket, ssl, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

behaviour = ["fine"]
lock = threading.Lock()


def say(what):
    with lock:
        print(json.dumps(what), flush=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("utf-8")
        word = behaviour[0].split()
        status, headers, content = 204, {}, b""
        if word[0] == "status":
            status = int(word[1])
            if len(word) > 2:
                headers["Retry-After"] = word[2]
            content = b"no, not now"
        elif word[0] == "first":
            with lock:
                left = int(word[2])
                behaviour[0] = f"first {word[1]} {left - 1}" if left > 1 else "fine"
            status, content = int(word[1]), b"this time not"
        elif word[0] == "slow":
            time.sleep(float(word[1]))
        elif word[0] == "redirect":
            if not word[1].endswith(self.path):
                status, headers["Location"] = 307, word[1]
        elif word[0] == "large":
            status, content = 200, b"x" * (1 << 20)
        elif word[0] == "dawdle":
            status, headers["Content-Length"] = 200, "100"
        headers_in = {name.lower(): value for name, value in self.headers.items()}
        left = word[0] == "leave"
        say({"method": self.command, "path": self.path, "headers": headers_in, "body": body,
             "status": 0 if left else status})
        if left:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204 and "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        try:
            self.wfile.write(content)
        except OSError:
            pass

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def do_HEAD(self):
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass


server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    if len(sys.argv) > 4:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
threading.Thread(target=server.serve_forever, daemon=True).start()
say({"ready": True})
for line in sys.stdin:
    behaviour[0] = line.strip()
    say({"behaves": line.strip()})
