"""One object in many threads and forks, in a folder with odd modules, and out of a zip archive."""

import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from conftest import Fleet, Server
from helpers import ROOT
from processes import Site, environment

from redbike import RoundRobin
from redbike.parts import Parts, part

THREADS, CALLS = 8, 6


def test_threads_may_make_their_first_calls_together(fleet: Fleet) -> None:
    """H: of several threads that share a new object, each call does its work once, and none fails."""
    for number in range(25):
        bike = fleet(RoundRobin(f"A{number}"))
        errors: list[BaseException] = []
        barrier = threading.Barrier(THREADS)

        def call(thread: int) -> None:
            barrier.wait()  # noqa: B023
            try:
                for count in range(CALLS):
                    jobid = f"{thread}-{count}:A{number}"  # noqa: B023
                    if count % 2:
                        bike.enqueue(jobid)  # noqa: B023
                    else:
                        bike.set(jobid, "NOW")  # noqa: B023
            except BaseException as error:
                errors.append(error)  # noqa: B023

        threads = [threading.Thread(target=call, args=(thread,)) for thread in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not [thread for thread in threads if thread.is_alive()]
        assert errors == []
        assert bike.redis.llen(bike.queue_names()[0]) == THREADS * CALLS


def test_parts_are_built_once_and_take_no_lock() -> None:
    """Threads that ask for a part at the same time get the same part, also if each of them has made one."""
    made: list[object] = []
    barrier = threading.Barrier(2)

    class Some:
        @part
        def one(self) -> object:
            """A part."""
            barrier.wait(10)
            made.append(object())
            return made[-1]

    some, found = Some(), []
    threads = [threading.Thread(target=lambda: found.append(some.one)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(made) == 2
    assert found[0] is found[1] is some.one
    assert isinstance(vars(Parts)["store"], part)


@pytest.mark.parametrize("name", ["numbers", "decimal", "zoneinfo", "difflib", "csv"])
def test_modules_of_the_users_folder_replace_none_of_pythons(site: Site, name: str) -> None:
    """G2: a module of the user with the name of a module of Python breaks neither commands nor workers."""
    (site.folder / f"{name}.py").write_text("raise RuntimeError('not for Redbike')\n")
    command = [sys.executable, "-P", "-c", "import sys; from redbike.cli import main; sys.exit(main())"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments], cwd=site.folder, env=environment(), capture_output=True, text=True, timeout=30
        )

    for arguments in (("set", "j:A", "CRON:0 8 * * * Europe/Berlin"), ("set", "k:A", "EVERY:5"), ("lost",)):
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments


def test_the_package_works_from_a_zip_archive(server: Server, prefix: str, tmp_path: Path) -> None:
    """H: a program that is packed with zipapp finds the Lua scripts."""
    archive = tmp_path / "app.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((ROOT / "redbike").rglob("*")):
            if path.suffix in (".py", ".lua"):
                file.write(path, path.relative_to(ROOT))
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import redbike;"
        "assert redbike.__file__.startswith(sys.argv[1]);"
        "bike = redbike.Redbike(redbike.RoundRobin('A'), sys.argv[2], {'unix_socket_path': sys.argv[3]});"
        "bike.set('j:A', 'NOW'); print(bike.tell('j:A')['status'][:3]); bike.flush()"
    )
    if "unix_socket_path" not in server.config:
        pytest.skip("the server has no socket")
    socket = str(server.config["unix_socket_path"])
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, str(archive), prefix, socket],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.stdout, done.stderr) == ("ENQ\n", "")
