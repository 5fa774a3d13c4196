"""Say in one line what is wrong with arguments that fit no usage, and what may have been meant."""

import difflib
import itertools
import re
import shlex

from redbike.usage import USAGE

_TEXT = re.sub(r"\n {4,}", " ", USAGE.partition("Usage:\n")[2].partition("\n\n")[0])  # one line per usage
_LINES = [line.strip() for line in _TEXT.splitlines()]
_USAGES: dict[str, list[str]] = {}
"""Command -> its lines in the usage."""
for _line in _LINES:
    if _match := re.match(r"redbike (?:\[--config=<CONF>\] )?([a-z]+)", _line):
        _USAGES.setdefault(_match[1], []).append(_line)

_DECLARED = re.findall(r"^  (?:-(\w)[^,]*, )?--([\w-]+)(=<\w+>)?", USAGE.partition("Options:\n")[2], re.MULTILINE)
_SHORT = {f"-{short}": f"--{name}" for short, name, _ in _DECLARED if short}
_WITH_VALUE = {f"--{name}" for _, name, value in _DECLARED if value}
_OPTIONS = [f"--{name}" for _, name, _ in _DECLARED]


def fault(argv: list[str]) -> str:
    """Return what is wrong with the arguments, in one line, and the way out."""
    words, options, wrong = _split(argv)
    if wrong is not None:
        return wrong
    if not words:
        return f"a command is needed: {', '.join(_USAGES)}; redbike --help explains them"
    command, *given = words
    if command not in _USAGES:
        near = _meant(command, list(_USAGES)) or f"the commands are {', '.join(_USAGES)}"
        return f"there is no command {command!r}; {near}"
    lines = _USAGES[command]
    for option in options:
        if not any(option in line for line in lines):
            return f"{command} has no option {option}; write: {' or: '.join(lines)}"
    fitting = [line for line in lines if all(option in line for option in options)] or lines[:1]
    usage = next((line for line in fitting if _names_of(line) == given[: len(_names_of(line))]), fitting[0])
    words_of = _words_of(usage)
    if words := _names_of(usage):
        if given[: len(words)] != words:
            possible_words = " or ".join(dict.fromkeys(" ".join(_names_of(line)) for line in fitting))
            return f"{command} needs {possible_words} next; write: {usage}"
        del given[: len(words)]
    # A choice in parentheses is made by the option.
    needed = re.findall(r"<\w+>", re.sub(r"\(.*?\)", "", words_of) if options else words_of)
    possible = len(needed) + usage.count("[<")
    if len(given) < len(needed):
        return f"{command} needs {' and '.join(needed[len(given) :])}; write: {usage}"
    if len(given) > possible:
        extra = shlex.join(given[possible:])
        quotes = "; put a value with spaces into quotes" if possible else ""
        return f"{command} takes no {extra!r}{quotes}; write: {usage}"
    return f"no command takes these arguments: {shlex.join(argv)}; write: {usage}"


def _words_of(usage: str) -> str:
    """Return a line of the usage without options."""
    return re.sub(r"\[.*?\]+|--[\w-]+=<\w+>", "", usage)


def _names_of(usage: str) -> list[str]:
    """Return the words that follow the command as they are, such as crontab."""
    return list(itertools.takewhile(str.isalpha, _words_of(usage).split()[2:]))


def _split(argv: list[str]) -> tuple[list[str], list[str], str | None]:
    """Return the words, the full names of the options, and what is wrong with the first wrong option."""
    words, options = [], []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        name, has_value, _ = word.partition("=")
        if not word.startswith("--"):
            name, has_value = word[:2], word[2:]
        found = _full_names(name)
        if len(found) != 1:
            return [], [], _wrong_option(name, found)
        options += found
        takes_value = found[0] in _WITH_VALUE
        if takes_value and not has_value:
            if not rest:
                return [], [], f"{found[0]} needs a value; write {found[0]}=VALUE"
            rest.pop(0)
        elif has_value and not takes_value:
            return [], [], f"{found[0]} takes no value; write {found[0]}"
    return words, options, None


def _full_names(name: str) -> list[str]:
    """Return the options that a given name stands for: docopt accepts the beginning of a name."""
    if not name.startswith("--"):
        return [_SHORT[name]] if name in _SHORT else []
    return [name] if name in _OPTIONS else [one for one in _OPTIONS if one.startswith(name) and name != "--"]


def _wrong_option(name: str, found: list[str]) -> str:
    if found:
        return f"option {name} may be {' or '.join(found)}; write it out"
    near = _meant(name, _OPTIONS) if name.startswith("--") else ""
    return f"there is no option {name}; {near or 'redbike --help shows all options'}"


def _meant(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word.lower(), known, n=1)
    return f"did you mean {near[0]}?" if near else ""
