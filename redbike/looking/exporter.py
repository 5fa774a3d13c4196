"""Serve the metrics over HTTP for Prometheus: GET / and GET /metrics, and nothing else.

The number of threads and the time of each request are bounded.
"""

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from redbike.errors import ServerError

_MOST_REQUESTS = 16  # at a time
_REQUEST_S = 10.0  # for a client to send its request and to take the answer

_HOME = b"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Redbike</title></head>
<body><h1>Redbike</h1><p><a href="/metrics">Metrics</a></p></body></html>
"""

Answer = tuple[str, bytes]
"""The content type and the content of an answer."""


class Exporter(ThreadingMixIn, TCPServer):
    """An HTTP server for metrics. `serve_forever` runs it, and `shutdown` in another thread ends it."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, host: str, port: int, metrics: Callable[[str], Answer], log: logging.Logger) -> None:
        """Listen at this address. `metrics` returns the answer for a header Accept. Raise ServerError if that fails."""
        self.metrics = metrics
        self.log = log
        self._places = threading.BoundedSemaphore(_MOST_REQUESTS)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            self.address_family, address = found[0][0], found[0][4]
            super().__init__(address, _Request)  # type: ignore[arg-type]
        except OSError as error:
            raise ServerError(
                f"{host}:{port}: cannot listen there ({error.strerror}); name another --port or --host"
            ) from None

    @property
    def port(self) -> int:
        """The port at which it listens."""
        return int(self.socket.getsockname()[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread. Close the connection if too many are open."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and free the place of the thread."""
        # A timeout of the socket holds for each part alone: a client could send its request byte by byte.
        timer = threading.Timer(_REQUEST_S, _cut, [request])
        timer.daemon = True
        timer.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            timer.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log the error of a request, unless the client has gone."""
        self.log.debug("a request for metrics has failed", exc_info=True)


class _Request(BaseHTTPRequestHandler):
    """One request."""

    server: Exporter
    timeout = _REQUEST_S
    server_version, sys_version = "redbike", ""

    def do_GET(self) -> None:
        """Answer with the metrics, or with a link to them."""
        path = self.path.partition("?")[0]
        if path == "/":
            self._answer(HTTPStatus.OK, ("text/html; charset=utf-8", _HOME))
        elif path == "/metrics":
            try:
                answer = self.server.metrics(self.headers.get("Accept", ""))
            except Exception:
                self.server.log.exception("the metrics cannot be written")
                self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, _text("the metrics cannot be written: see the log"))
            else:
                self._answer(HTTPStatus.OK, answer)
        else:
            self._answer(HTTPStatus.NOT_FOUND, _text("there are only / and /metrics"))

    do_HEAD = do_GET

    def _answer(self, status: HTTPStatus, answer: Answer) -> None:
        kind, content = answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            with suppress(OSError):  # the client has gone
                self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Write no line per request."""


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):  # it has ended
        connection.shutdown(socket.SHUT_RDWR)


def _text(line: str) -> Answer:
    return "text/plain; charset=utf-8", f"{line}\n".encode()
