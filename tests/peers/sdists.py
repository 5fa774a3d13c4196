"""Fetch the source distributions that hold the tests of the peers, each in one version, from the package index."""

import hashlib
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


class Unreachable(Exception):
    """The package index cannot be reached."""


class WrongSdist(Exception):
    """A source distribution cannot be had, or is not the expected one."""


@dataclass(frozen=True)
class Sdist:
    """One release of a project, as it stands in the package index."""

    project: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.project}-{self.version}.tar.gz"


def fetch(sdists: Iterable[Sdist], folder: Path) -> None:
    """Download the archives to this folder with pip. Raise Unreachable or WrongSdist."""
    sdists = list(sdists)
    wanted = [f"{sdist.project}=={sdist.version}" for sdist in sdists]
    # Only these as sources: pip also builds their description, and needs setuptools for that, ready made.
    sources = ",".join(sdist.project for sdist in sdists)
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--retries", "2", "--no-deps"]
    run = subprocess.run(
        [*command, "--no-binary", sources, "--dest", str(folder), *wanted], capture_output=True, text=True
    )
    if run.returncode != 0:
        output = run.stdout + run.stderr
        reason = next((line for line in output.splitlines() if line.startswith("ERROR:")), "pip gives no reason")
        # A version that is missing from an index that answers has other versions beside it.
        if "after connection broken by" in output or "(from versions: none)" in output:
            raise Unreachable(reason.removeprefix("ERROR: "))
        raise WrongSdist(output.strip())


def texts(sdist: Sdist, folder: Path, suffix: str) -> dict[str, str]:
    """Return the files of an archive whose path ends like this, by path. Raise WrongSdist."""
    project = sdist.project.replace("-", "[-_]")
    found = sorted(folder.glob(f"{project}-{sdist.version}.tar.gz"))
    if not found:
        raise WrongSdist(f"{sdist.file_name} is not in {folder}")
    content = found[0].read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != sdist.sha256:
        raise WrongSdist(f"{found[0].name} has the SHA-256 {sha256}, expected is {sdist.sha256}")
    files = {}
    with tarfile.open(found[0]) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(suffix):
                file = archive.extractfile(member)
                assert file is not None
                path = PurePosixPath(member.name)
                files[str(path.relative_to(path.parts[0]))] = file.read().decode("utf-8", "replace")
    if not files:
        raise WrongSdist(f"{found[0].name} has no file that ends in {suffix}")
    return files
