"""Stands in for redis-cli where the pages use it, so that the tests need none: `redis_cli.py -s SOCKET COMMAND …`.

With `-p PORT` in place of the socket, it connects to a port of this machine. Prints what redis-cli prints where its
output is not a terminal. Imports next to nothing, because it is started often.
"""

import socket
import sys
from typing import BinaryIO


def reply(stream: BinaryIO) -> list[str]:
    """Return the lines of one reply in RESP2."""
    line = stream.readline().decode().rstrip("\r\n")
    kind, rest = line[0], line[1:]
    if kind == "$":
        return [""] if rest == "-1" else [stream.read(int(rest) + 2)[:-2].decode()]
    if kind == "*":
        return [text for _ in range(int(rest)) for text in reply(stream)] or [""]
    return [rest]


def main(option: str, place: str, *words: str) -> None:
    assert option in ("-s", "-p"), "the pages name the socket of an embedded server, or a port"
    with socket.socket(socket.AF_UNIX if option == "-s" else socket.AF_INET) as connection:
        connection.connect(place if option == "-s" else ("127.0.0.1", int(place)))
        command = b"".join(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words)
        connection.sendall(b"*%d\r\n%s" % (len(words), command))
        print("\n".join(reply(connection.makefile("rb"))))


if __name__ == "__main__":
    main(*sys.argv[1:])
