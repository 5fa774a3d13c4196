"""Counts round trips on the connection itself, so that they mean the same for every client."""

import selectors
import socket
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_CHUNK = 1 << 16


class CountingProxy:
    """A proxy between the clients and the server's socket during the `with` block.

    A client that sends after the server has sent counts as a round trip, so a pipeline counts once. Messages that
    the server pushes are not counted, because nobody waits for them.
    """

    def __init__(self, server_socket: str) -> None:
        self._server_socket = server_socket
        self._folder = tempfile.TemporaryDirectory(prefix="redbike-proxy-")
        self.socket = str(Path(self._folder.name) / "socket")
        self.round_trips = 0
        self._selector = selectors.DefaultSelector()
        self._awaiting_reply: set[socket.socket] = set()
        self._stopping, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.socket)
        self._listener.listen()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._stopping, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.send(b"x")
        self._thread.join()
        self._folder.cleanup()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._stopping:
                    self._close()
                    return
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._pass_on(key)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server_socket)
        self._selector.register(client, selectors.EVENT_READ, (server, client))
        self._selector.register(server, selectors.EVENT_READ, (client, None))

    def _pass_on(self, key: selectors.SelectorKey) -> None:
        assert isinstance(key.fileobj, socket.socket)
        other, client = key.data
        chunk = key.fileobj.recv(_CHUNK)
        if not chunk:
            for end in (key.fileobj, other):
                self._selector.unregister(end)
                end.close()
            return
        if client is None:
            self._awaiting_reply.discard(other)
        elif client not in self._awaiting_reply:
            self._awaiting_reply.add(client)
            self.round_trips += 1
        other.sendall(chunk)

    def _close(self) -> None:
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._stop.close()
        self._selector.close()
