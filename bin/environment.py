"""Makes the private environment for one purpose, or finds it ready, and prints the path of its Python.

Called by environment.sh: `environment.py PURPOSE EXTRA` makes `.venv-PURPOSE-VERSION` in the checkout, with the package
from the checkout (changes to it are seen at once) and what the extra asks for. Any number may be called at a time.
"""

import fcntl
import os
import subprocess
import sys
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
DISTURBING = ("PYTHONHOME", "PYTHONPATH", "PIP_PREFIX", "PIP_TARGET", "PIP_USER")


def main() -> int:
    purpose, extra = sys.argv[1:]
    folder = CHECKOUT / f".venv-{purpose}-{sys.version_info[0]}.{sys.version_info[1]}"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        print(f"{folder}: cannot be made ({error.strerror}): copy the checkout to where you may write", file=sys.stderr)
        return 1
    # On the folder itself, and the kernel's: it goes with the process, however that ends.
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # An environment knows its own path, so a checkout that was moved needs a new one.
    wanted = "\n".join((str(folder), extra, (CHECKOUT / "pyproject.toml").read_text()))
    ready, python = folder / "ready", folder / "bin" / "python"
    if not ready.exists() or ready.read_text() != wanted or not runs(python):
        print(f"Making a private environment in {folder.name} (once; takes up to a minute)", file=sys.stderr)
        ready.unlink(missing_ok=True)
        venv.create(folder, clear=True, with_pip=True)
        if not install(python, extra):
            print(f"{folder}: the packages could not be installed, see above; is there a network?", file=sys.stderr)
            return 1
        ready.write_text(wanted)
    print(python)
    return 0


def runs(python: Path) -> bool:
    """Whether the Python that the environment was made from is still there."""
    try:
        return subprocess.run([python, "-I", "-c", ""], stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def install(python: Path, extra: str) -> bool:
    """Install the checkout in place, with its extra. What pip prints goes to stderr: stdout is for the answer."""
    command = [str(python), "-I", "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--editable"]
    environ = {name: value for name, value in os.environ.items() if name not in DISTURBING}
    return subprocess.run([*command, f"{CHECKOUT}[{extra}]"], env=environ, stdout=sys.stderr).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
