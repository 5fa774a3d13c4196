r"""Write the command lines of jobs: a command of a crontab with its settings, its shell and its standard input.

In a crontab, the first `%` of a command ends it. The rest is the standard input, with a line break for each `%`. `\%`
is a percent sign.
"""

import re
import shlex
from collections.abc import Mapping

_PART_OF_COMMAND = re.compile(r"(?:[^\\%]|\\.|\\$)*", re.DOTALL)
_SHELLS = ("/bin/sh", "sh", "/usr/bin/sh")


def split_command(text: str) -> tuple[str, str | None]:
    """Return the command before the first percent sign, and the standard input behind it; None without a sign."""
    match = _PART_OF_COMMAND.match(text)
    end = match.end() if match else 0
    command = re.sub(r"\\(.)", lambda pair: "%" if pair[1] == "%" else pair[0], text[:end], flags=re.DOTALL)
    if end == len(text):
        return command, None
    # Here, as in cron, a backslash before a percent sign counts even if another backslash precedes it.
    lines = re.split(r"(?<!\\)%", text[end + 1 :])
    return command, "\n".join(lines).replace("\\%", "%")


def payload_of(command: str, stdin: str | None, environment: Mapping[str, str], shell: str, home: str | None) -> str:
    """Return a line for `/bin/sh -c` that sets the environment, and runs the command in its shell, on its input."""
    parts = [f"{name}={_quoted(value)}; export {name}; " for name, value in environment.items()]
    if home is not None:
        parts.append(f"cd {_quoted(home)} || exit; ")
    has_own_shell = shell not in _SHELLS
    if stdin:
        lines = stdin.removesuffix("\n").split("\n")
        parts.append(f"printf '%s\\n' {' '.join(map(_quoted, lines))} | ")
    elif has_own_shell:
        parts.append("exec ")
    if stdin or has_own_shell:
        # Run it in a separate shell, because the command may contain `;`, `&` or a comment.
        command = f"{shlex.quote(shell if has_own_shell else _SHELLS[0])} -c {_quoted(command)}"
    return "".join((*parts, command))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
