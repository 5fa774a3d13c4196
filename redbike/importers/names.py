"""Make readable job ids from command lines: from their first words, without options, which may hold a password."""

import re
from collections.abc import Iterator

_MOST_WORDS = 3
_MOST_CHARS = 48
_PIECE = re.compile(r"[;|&<>()\n]|[^\s;|&<>()]+")
_OPERATORS = frozenset(";|&<>()\n")
_PREFIXES = frozenset(("command", "env", "exec", "nice", "nohup", "sudo", "time", "[", "test", "!", "{"))
"""Words before a program."""
_PREPARATIONS = frozenset(("cd", "sleep", ".", "source", "export", "set", "umask"))
"""Commands that come before the command that is meant."""
_ASSIGNMENT = re.compile(r"\w+=", re.ASCII)
_URL = re.compile(r"[\w+.-]+://(?:[^/@]*@)*([\w.-]*)", re.ASCII)
_NOT_IN_A_NAME = re.compile(r"[^\w.]+")
_LONGEST_READ = 1_000


def name_of(command: str) -> str:
    """Return a name for this command: `/usr/bin/backup.sh --all /home` is `backup.sh-home`.

    A word behind the first option may be a secret. So only hosts of URLs and last parts of paths are taken from there.
    """
    for piece in _simple_commands(command[:_LONGEST_READ]):
        if words := _words(piece):
            return "-".join(words)[:_MOST_CHARS].rstrip("-.")
    return "job"


def _simple_commands(command: str) -> Iterator[list[str]]:
    """Yield the words between the operators of the shell, without preparations and the words before a program."""
    simple: list[str] = []
    for piece in [*_PIECE.findall(command), ";"]:
        if piece in _OPERATORS:
            if simple and simple[0] not in _PREPARATIONS:
                yield simple
            simple = []
        elif simple or not (piece in _PREFIXES or _ASSIGNMENT.match(piece)):
            simple.append(piece)


def _words(pieces: list[str]) -> list[str]:
    words: list[str] = []
    has_option = False
    for piece in pieces:
        has_option = has_option or piece.startswith("-")
        if not piece.startswith("-") and (word := _readable(piece, has_option)):
            words.append(word)
    return words[:_MOST_WORDS]


def _readable(piece: str, has_option: bool) -> str:
    """Return the readable part of a word: the host of a URL, the last part of a path. Nothing if it may be secret."""
    piece = piece.strip("'\"`{}[]")
    if url := _URL.match(piece):
        return _clean(url[1])
    is_path = piece.startswith(("/", "./", "../", "~"))
    if "=" in piece or "@" in piece or ":" in piece or (has_option and not is_path):
        return ""
    return _clean(piece.rstrip("/").rpartition("/")[2])


def _clean(word: str) -> str:
    return _NOT_IN_A_NAME.sub("-", word).strip("-._")
