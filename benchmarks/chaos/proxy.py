"""The proxy of the tests, with more fates for a command: replies torn in the middle, commands that arrive late,
and answers given in the server's place.
"""

import socket
import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from importlib import resources
from pathlib import PurePath
from typing import BinaryIO

from redbike.store.script import sha_of, source_of
from tests.proxy import Proxy, read_frame


class Fate(Enum):
    """What happens to a command."""

    PASS = auto()
    LOSE_COMMAND = auto()  # the connection is cut before it arrives
    LOSE_REPLY = auto()  # it is executed; the connection is cut before a byte of the reply comes back
    TEAR_REPLY = auto()  # it is executed; the connection is cut in the middle of the reply
    DELAY = auto()  # the connection is cut, and the command still arrives, after the next commands of the client


Judge = Callable[[int, str], Fate]
"""Decides by the number of the command, from 0, and its kind: the name, and of a script which (`EVALSHA turn`)."""

LATE_BY_S = 0.03

_SCRIPTS = {
    sha_of(source_of(name)): name
    for name in (PurePath(file.name).stem for file in resources.files("redbike.store").joinpath("lua").iterdir())
}
"""By what a server calls them."""


class FaultProxy(Proxy):
    """Forwards everything, until `judge`, `answer` or `slow_s` say otherwise."""

    def __init__(self, server_socket: str) -> None:
        self.judge: Judge = lambda _number, _name: Fate.PASS
        self.before_cut: Callable[[], object] = lambda: None
        """Called before the client gets to know that the connection is cut; of a late command, when it has arrived."""
        self.answer: bytes | None = None
        """Given in the server's place to every command, where it is set."""
        self.hold_up: Callable[[], object] = lambda: time.sleep(LATE_BY_S)
        """Returns when a late command may go on."""
        self.faults = 0
        super().__init__(server_socket)

    def _relay(self, client: socket.socket, server: socket.socket, requests: BinaryIO, replies: BinaryIO) -> None:
        while frame := read_frame(requests):
            words = frame.split(b"\r\n", 5)[2::2]  # between them are their lengths
            name = words[0].decode().upper()
            if self.answer is not None:
                client.sendall(self.answer)
                continue
            fate = self._fate_of(name, words)
            if fate is Fate.DELAY:
                client.shutdown(socket.SHUT_RDWR)
                self.hold_up()
            if fate is not Fate.LOSE_COMMAND:
                server.sendall(frame)
            if name == "SUBSCRIBE" and fate is Fate.PASS:
                # From here on the server sends without a request.
                threading.Thread(target=self._pump, args=(replies, client), daemon=True).start()
                continue
            reply = b"" if fate is Fate.LOSE_COMMAND else read_frame(replies)
            if fate is Fate.TEAR_REPLY:
                client.sendall(reply[: len(reply) // 2])
            if fate is not Fate.PASS:
                self.before_cut()
                return
            client.sendall(reply)

    def _fate_of(self, name: str, words: list[bytes]) -> Fate:
        kind = f"{name} {_SCRIPTS.get(words[1] if len(words) > 1 else b'', '?')}" if name == "EVALSHA" else name
        with self._lock:
            fate = self.judge(len(self.commands), kind)
            self.commands.append(name)
            self.faults += fate is not Fate.PASS
        return fate
