"""TLS in front of a real server that may know none: a listener that unwraps what comes, and hands it on."""

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Self

from nodes import free_port


class TlsFront:
    """Listens on a loopback port for TLS, and forwards to a unix socket."""

    def __init__(self, server_socket: str, certificate: Path, key: Path) -> None:
        self.port = free_port()
        self._server_socket = server_socket
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        self._open.add(plain)
        try:
            client = self._context.wrap_socket(plain, server_side=True)
        except OSError:  # it did not like our certificate
            plain.close()
            return
        server = socket.socket(socket.AF_UNIX)
        self._open |= {client, server}
        server.connect(self._server_socket)
        threading.Thread(target=self._forward, args=(server, client), daemon=True).start()
        self._forward(client, server)

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
