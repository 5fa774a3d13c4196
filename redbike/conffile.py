"""Turn the text of a conf file into sections of settings: find the lines of our sections, and parse their dialect.

This module knows no settings. Errors never quote a line, because it may hold a password.
"""

import configparser
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from redbike.errors import ConfigError

_LIKENESS = 0.85  # `redbike-reds` is meant for `redbike-redis`; `redbike-app` is an application's section


class _Parser(configparser.RawConfigParser):
    """The dialect: no interpolation, no comment after a value, a blank line ends a value, `-` is the same as `_`."""

    def __init__(self) -> None:
        super().__init__(empty_lines_in_values=False)

    def optionxform(self, optionstr: str) -> str:
        """Return the name of a setting in small letters, with `_` for `-`."""
        return optionstr.lower().replace("-", "_")


_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?")
"""`$${`; `${NAME}`; or a `${` that is neither."""


_SHORTEST_HIDDEN = 3  # characters: hiding every "1" would make messages unreadable
_from_environment: dict[str, str] = {}


def unexpanded(message: str) -> str:
    """Return a message in which each value that the conf took from the environment is `${NAME}`: it may be secret."""
    for value, name in _from_environment.items():
        message = message.replace(value, name).replace(repr(value)[1:-1], name)
    return message


def expanded(where: str, text: str, environ: Mapping[str, str]) -> str:
    """Return the text of a setting with each `${NAME}` replaced by the environment variable, and `$${` by `${`.

    A `$` without a brace is a normal character. Raise ConfigError, which begins with `where`, for a variable that is
    not set, and for a `${` without a name. The error does not quote the text, because it may hold a password.
    """

    def value(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name = match[1]
        if name is None:
            raise ConfigError(f"{where}: holds ${{ without a name; write ${{NAME}}, or $${{ for the characters ${{")
        if name not in environ:
            raise ConfigError(
                f"{where}: the environment variable {name} is not set; set it, or write $${{ for the characters ${{"
            )
        if len(environ[name]) >= _SHORTEST_HIDDEN:
            _from_environment[environ[name]] = f"${{{name}}}"
        return environ[name]

    return _REFERENCE.sub(value, text)


def sections_of(path: str | Path, ours: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the sections with these names, and the text of each setting in them.

    Raise ConfigError if the file cannot be read or parsed.
    """
    parser = _Parser()
    try:
        parser.read_file(_own_lines(path, _read_text(path), list(ours)))
    except configparser.MissingSectionHeaderError as error:
        raise ConfigError(
            f"{path}, line {error.lineno}: the line stands above the first [section]; move it into a section"
        ) from None
    except configparser.DuplicateSectionError as error:
        raise ConfigError(
            f"{path}, line {error.lineno}: there is a second section [{error.section}]; merge the two"
        ) from None
    except configparser.DuplicateOptionError as error:
        raise ConfigError(
            f"{path}, line {error.lineno}: [{error.section}] sets {error.option} twice; remove one of them"
        ) from None
    except configparser.ParsingError as error:
        lineno, _ = error.errors[0]
        raise ConfigError(f"{path}, line {lineno}: not a setting; write name: value") from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _own_lines(path: str | Path, text: str, ours: list[str]) -> list[str]:
    """Return all lines, but blank lines for other sections: such as [DEFAULT], or a section in another dialect."""
    lines, own = [], True
    for number, line in enumerate(io.StringIO(text), 1):
        if header := re.match(r"\[(.+)\]", line):
            name = header[1]
            own = name in ours
            meant = [] if own else _similar(name.strip().lower(), ours)
            if meant:
                # If we ignored it like a section of an application, we might use the wrong server.
                raise ConfigError(
                    f"{path}, line {number}: the section [{name}] is unknown; did you mean [{meant[0]}]?"
                    " (Choose a less similar name for a section of another program.)"
                )
        lines.append(line if own else "\n")
    return lines


def _similar(name: str, ours: list[str]) -> list[str]:
    import difflib

    words = sorted(re.split("[-_ ]+", name))
    turned = [one for one in ours if sorted(one.split("-")) == words]  # such as `redis-redbike`
    return turned or difflib.get_close_matches(name, ours, n=1, cutoff=_LIKENESS)


def _read_text(path: str | Path) -> str:
    try:
        content = Path(path).read_bytes()
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file; write one with redbike init, or name another file with --config"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name a readable file with --config") from None
    except UnicodeDecodeError as error:
        lineno = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {lineno}: the text is not UTF-8; save the file as UTF-8") from None
