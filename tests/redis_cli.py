"""Stands in for redis-cli where the README uses it, so that the tests need none: `redis_cli.py -s SOCKET COMMAND …`.

Prints what redis-cli prints where its output is not a terminal. Imports next to nothing, because it is started often.
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


def main(option: str, path: str, *words: str) -> None:
    assert option == "-s", "the conf of the pages has an embedded server, which listens only on a socket"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        command = b"".join(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words)
        connection.sendall(b"*%d\r\n%s" % (len(words), command))
        print("\n".join(reply(connection.makefile("rb"))))


if __name__ == "__main__":
    main(*sys.argv[1:])
