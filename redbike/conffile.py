"""The text of a conf file becomes sections of settings: which lines are ours, and the dialect that they are in.

Knows no setting. Errors never quote a line, which may hold a password.
"""

import configparser
import difflib
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from redbike.errors import ConfigError

_LIKENESS = 0.85  # `redbike-reds` is meant for `redbike-redis`; `redbike-app` is an application's section


class _Parser(configparser.RawConfigParser):
    """The dialect: no interpolation, no comment behind a value, a value ends at a blank line, `-` is `_`."""

    def __init__(self) -> None:
        super().__init__(empty_lines_in_values=False)

    def optionxform(self, optionstr: str) -> str:
        return optionstr.lower().replace("-", "_")


def sections_of(path: str | Path, ours: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the sections with these names, and the text of each setting in them."""
    parser = _Parser()
    try:
        parser.read_file(_own_lines(path, _read_text(path), list(ours)))
    except configparser.MissingSectionHeaderError as error:
        raise ConfigError(f"{path}, line {error.lineno}: stands above the first [section]; move it under one") from None
    except configparser.DuplicateSectionError as error:
        raise ConfigError(
            f"{path}, line {error.lineno}: the section [{error.section}] is there twice; make them one"
        ) from None
    except configparser.DuplicateOptionError as error:
        raise ConfigError(
            f"{path}, line {error.lineno}: {error.option} is there twice in [{error.section}]; remove one"
        ) from None
    except configparser.ParsingError as error:
        lineno, _ = error.errors[0]
        raise ConfigError(f"{path}, line {lineno}: is no setting; write name: value") from None
    return {section: dict(parser[section]) for section in parser.sections()}


def _own_lines(path: str | Path, text: str, ours: list[str]) -> Iterator[str]:
    """All lines, those of other sections blank: they may be [DEFAULT], or in another program's dialect."""
    own = True
    for number, line in enumerate(io.StringIO(text), 1):
        if header := re.match(r"\[(.+)\]", line):
            name = header[1]
            own = name in ours
            meant = [] if own else difflib.get_close_matches(name.strip().lower(), ours, n=1, cutoff=_LIKENESS)
            if meant:
                # Ignored like an application's, it would let us use another server than the one that was meant.
                raise ConfigError(
                    f"{path}, line {number}: the section [{name}] is unknown; did you mean [{meant[0]}]?"
                    " (Choose a less similar name for a section of another program.)"
                )
        yield line if own else "\n"


def _read_text(path: str | Path) -> str:
    try:
        content = Path(path).read_bytes()
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file; make it from redbike.conf.example, or name another with --config"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name a readable file with --config") from None
    except UnicodeDecodeError as error:
        lineno = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {lineno}: is not text in UTF-8; save the file as UTF-8") from None
