"""A proxy between a client and a real server, which loses commands or replies on demand.

It listens on a unix socket, speaks the protocol (RESP), and counts the commands.
"""

import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Self


class Loss(Enum):
    """What a cut connection loses."""

    COMMAND = "the command never arrives"
    REPLY = "the command is carried out, and its reply never arrives"


class Proxy:
    """Forwards everything, until `cut` is called."""

    def __init__(self, server_socket: str) -> None:
        self._server_socket = server_socket
        self._folder = tempfile.TemporaryDirectory(prefix="rb-", dir="/tmp")
        self.socket = str(Path(self._folder.name) / "p")
        self.commands: list[str] = []
        self._lock = threading.Lock()
        self._should_cut: Callable[[int], Loss | None] = lambda _: None
        self._meanwhile: Callable[[], object] = lambda: None
        self._open: set[socket.socket] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.socket)
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, should_cut: Callable[[int], Loss | None], meanwhile: Callable[[], object] = lambda: None) -> None:
        """Count from 0 again, and call `should_cut` with the number of each command to decide its loss.

        `meanwhile` is called before the client notices the loss.
        """
        with self._lock:
            self.commands = []
            self._should_cut, self._meanwhile = should_cut, meanwhile

    def cut_once(self, number: int, loss: Loss, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Lose the command with this number, or its reply, and nothing else."""
        self.cut(lambda n: loss if n == number else None, meanwhile)

    def close(self) -> None:
        with self._lock:
            open_sockets = [self._listener, *self._open]
        for one in open_sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        with self._lock:
            self._open |= {client, server}
        try:
            server.connect(self._server_socket)
            with client.makefile("rb") as requests, server.makefile("rb") as replies:
                self._relay(client, server, requests, replies)
        except (OSError, ValueError):
            pass  # one side is gone: close the other
        finally:
            for one in (client, server):
                one.close()
            with self._lock:
                self._open -= {client, server}

    def _relay(self, client: socket.socket, server: socket.socket, requests: BinaryIO, replies: BinaryIO) -> None:
        while frame := read_frame(requests):
            name = frame.split(b"\r\n", 3)[2].decode().upper()
            with self._lock:
                loss = self._should_cut(len(self.commands))
                self.commands.append(name)
            if loss is Loss.COMMAND:
                self._meanwhile()
                return
            server.sendall(frame)
            if name == "SUBSCRIBE":
                # From here on, replies come without a command.
                threading.Thread(target=self._pump, args=(replies, client), daemon=True).start()
                continue
            reply = read_frame(replies)
            if loss is Loss.REPLY:
                self._meanwhile()
                return
            client.sendall(reply)

    def _pump(self, replies: BinaryIO, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while frame := read_frame(replies):
                client.sendall(frame)


def read_frame(stream: BinaryIO) -> bytes:
    """Return one whole value of the protocol as it arrived, b"" at the end of the stream."""
    line = stream.readline()
    kind, rest = line[:1], line[1:]
    if kind in (b"*", b"~", b">", b"%"):
        count = int(rest) * (2 if kind == b"%" else 1)
        return line + b"".join(read_frame(stream) for _ in range(count))
    if kind == b"$" and int(rest) >= 0:
        return line + stream.read(int(rest) + 2)
    return line
