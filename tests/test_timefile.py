"""The time file: what is read, what is replaced, and what every failure leaves behind."""

import logging
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from redbike.errors import TimeFileError
from redbike.timefile import TimeFile

LOG = logging.getLogger("redbike.test")
WAY_OUT = "make its folder writable, or set timefile in the conf to another file"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "timefile"


def time_file(path: Path) -> TimeFile:
    return TimeFile(path, LOG)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def messages(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(record.levelno, record.getMessage()) for record in caplog.records]


# Reading


def test_reads_what_was_written(path: Path) -> None:
    """C4: the time in the file is the last one written, also for another process."""
    time_file(path).write(1_700_000_000)
    assert time_file(path).read() == 1_700_000_000


def test_content_is_the_bare_number(path: Path) -> None:
    """C2: the file holds the Unix time in digits and nothing else, as other programs expect it."""
    time_file(path).write(1_700_000_000)
    assert path.read_bytes() == b"1700000000"


def test_reads_what_an_editor_leaves(path: Path) -> None:
    """C4: a line break after the number, as from editors and echo, does not matter."""
    path.write_text("1700000000\n")
    assert time_file(path).read() == 1_700_000_000


def test_no_file_is_no_time_and_no_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """C4: without a file there is no time, which is normal before the first dispatch."""
    assert time_file(path).read() is None
    assert messages(caplog) == []


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"", "b''"),
        (b"yesterday", "b'yesterday'"),
        (b"17e8", "b'17e8'"),
        (b"\xff\x00", r"b'\xff\x00'"),
        (b"-1", "b'-1'"),
        (b"253402300800", "b'253402300800'"),
        (b"9" * 5000, f"b'{'9' * 40}'"),
    ],
)
def test_garbled_file_is_a_warning(path: Path, caplog: pytest.LogCaptureFixture, content: bytes, shown: str) -> None:
    """C4: content that is not a time between 1970 and 9999 is no time, and a warning of one line shows it."""
    path.write_bytes(content)
    assert time_file(path).read() is None
    expected = f"time file {path}: {shown} is not a Unix time in whole seconds; the file is ignored"
    assert messages(caplog) == [(logging.WARNING, expected)]


def test_unreadable_file_is_a_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """C4: a file that cannot be read (here: a folder) is no time and a warning."""
    path.mkdir()
    assert time_file(path).read() is None
    expected = f"time file {path}: cannot be read (Not a regular file); the file is ignored"
    assert messages(caplog) == [(logging.WARNING, expected)]


# Replacing


def test_write_replaces_the_file_in_one_step(path: Path) -> None:
    """C2: a reader that has the old file open keeps seeing the whole old content, because the file is replaced and not
    rewritten.
    """
    time_file(path).write(1)
    with path.open() as old:
        time_file(path).write(2)
        assert old.read() == "1"
    assert path.read_text() == "2"


def test_write_leaves_nothing_beside_the_file(path: Path) -> None:
    """The temporary file is gone after a write."""
    time_file(path).write(1)
    assert names(path.parent) == ["timefile"]


def test_same_value_is_not_written_again(path: Path) -> None:
    """A value that was just written is not written a second time; another value is."""
    file = time_file(path)
    file.write(1)
    before = path.stat().st_ino, path.stat().st_mtime_ns
    file.write(1)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
    file.write(2)
    assert path.read_text() == "2"


def test_failed_write_is_tried_again(path: Path) -> None:
    """A value whose write failed counts as not written: the next call writes it."""
    path.mkdir()
    file = time_file(path)
    with pytest.raises(TimeFileError):
        file.write(1)
    path.rmdir()
    file.write(1)
    assert path.read_text() == "1"


def test_permissions_survive(path: Path) -> None:
    """The replacement has the permissions of the file that it replaces, whatever the umask says."""
    path.touch()
    path.chmod(0o664)
    old_umask = os.umask(0o077)
    try:
        time_file(path).write(1)
    finally:
        os.umask(old_umask)
    assert path.stat().st_mode & 0o777 == 0o664


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_owner_survives(path: Path) -> None:
    """A dispatcher run by root leaves the file with its owner, who can then still read it."""
    path.touch()
    os.chown(path, 12, 34)
    time_file(path).write(1)
    assert (path.stat().st_uid, path.stat().st_gid) == (12, 34)


def test_new_file_obeys_the_umask(path: Path) -> None:
    """A time file that is new has the permissions of any new file."""
    old_umask = os.umask(0o027)
    try:
        time_file(path).write(1)
    finally:
        os.umask(old_umask)
    assert path.stat().st_mode & 0o777 == 0o640


def test_symlink_stays(path: Path) -> None:
    """A symlink is followed: its target is replaced in the target's folder, the link stays."""
    (path.parent / "elsewhere").mkdir()
    target = path.parent / "elsewhere" / "target"
    path.symlink_to("elsewhere/target")
    time_file(path).write(1)
    time_file(path).write(2)
    assert path.is_symlink()
    assert target.read_text() == "2"
    assert names(path.parent) == ["elsewhere", "timefile"]
    assert names(target.parent) == ["target"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a link of another user")
@pytest.mark.parametrize("hops", [1, 2])
def test_another_users_symlink_is_refused(path: Path, hops: int, caplog: pytest.LogCaptureFixture) -> None:
    """In a shared folder, another user's symlink is neither replaced nor read."""
    victim = path.with_name("victim")
    victim.write_text("a secret")
    theirs = path if hops == 1 else path.with_name("theirs")
    theirs.symlink_to(victim)
    if hops == 2:
        path.symlink_to("theirs")
    os.lchown(theirs, 12345, 12345)
    for step in (time_file(path).check_writable, lambda: time_file(path).write(1)):
        with pytest.raises(TimeFileError, match="It is a symlink of another user, 12345"):
            step()
    assert time_file(path).read() is None
    assert victim.read_text() == "a secret"
    [(_, line)] = messages(caplog)
    assert "symlink of another user" in line
    assert "secret" not in line
    assert sorted(names(path.parent)) == sorted({"victim", path.name, theirs.name})


def test_a_named_pipe_is_not_waited_for(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """C4: a named pipe in the place of the time file blocks nothing."""
    os.mkfifo(path)
    assert time_file(path).read() is None
    assert "Not a regular file" in caplog.text


def test_relative_path_starts_in_the_current_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is not absolute is taken from the current folder."""
    monkeypatch.chdir(path.parent)
    TimeFile("timefile", LOG).write(1)
    assert path.read_text() == "1"


def write_many(path: Path) -> None:
    for unix_time_s in range(1_700_000_000, 1_700_000_100):
        time_file(path).write(unix_time_s)


def test_several_dispatchers_share_a_file(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Processes that write one file at the same time never fail, and a reader always sees a whole time."""
    time_file(path).write(1_700_000_000)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(path,)) for _ in range(3)]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(time_file(path).read())
        writers[0].join(0.001)
    for writer in writers:
        writer.join(10)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert seen <= set(range(1_700_000_000, 1_700_000_100))
    assert messages(caplog) == []
    assert names(path.parent) == ["timefile"]


# Failing, with the permission bits left aside because they do not stop root


def in_a_missing_folder(folder: Path) -> Path:
    return folder / "missing" / "timefile"


def in_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "timefile"


def a_folder(folder: Path) -> Path:
    (folder / "timefile").mkdir()
    return folder / "timefile"


def a_link_to_a_folder(folder: Path) -> Path:
    (folder / "other").mkdir()
    (folder / "timefile").symlink_to("other")
    return folder / "timefile"


def a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "timefile")
    return folder / "timefile"


def a_link_to_itself(folder: Path) -> Path:
    (folder / "timefile").symlink_to("timefile")
    return folder / "timefile"


NO_PLACES = [
    (in_a_missing_folder, "No such file or directory"),
    (in_a_file, "Not a directory"),
    (a_folder, "Not a regular file"),
    (a_link_to_a_folder, "Not a regular file"),
    (a_pipe, "Not a regular file"),
    (a_link_to_itself, "Too many levels of symbolic links"),
]


@pytest.mark.parametrize(("place", "reason"), NO_PLACES)
def test_write_to_no_place_is_an_error(tmp_path: Path, place: Callable[[Path], Path], reason: str) -> None:
    """A time file that cannot be written gives one line with path, reason and way out, and nothing changes."""
    path = place(tmp_path)
    before = names(tmp_path)
    with pytest.raises(TimeFileError) as error:
        time_file(path).write(1)
    assert str(error.value) == f"time file {path}: cannot be written ({reason}); {WAY_OUT}"
    assert names(tmp_path) == before


@pytest.mark.parametrize(("place", "reason"), NO_PLACES)
def test_check_says_the_same_at_once(tmp_path: Path, place: Callable[[Path], Path], reason: str) -> None:
    """check_writable raises the error of a write before the first write, and changes nothing either."""
    path = place(tmp_path)
    before = names(tmp_path)
    with pytest.raises(TimeFileError) as error:
        time_file(path).check_writable()
    assert str(error.value) == f"time file {path}: cannot be written ({reason}); {WAY_OUT}"
    assert names(tmp_path) == before


def test_check_leaves_a_file_as_it_is(path: Path) -> None:
    """check_writable does not touch an existing file, and leaves nothing beside it."""
    path.write_text("1")
    before = path.stat().st_ino, path.stat().st_mtime_ns
    time_file(path).check_writable()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
    assert names(path.parent) == ["timefile"]


def test_check_makes_no_file(path: Path) -> None:
    """check_writable does not create the time file, because its absence means that no dispatcher ran."""
    time_file(path).check_writable()
    assert names(path.parent) == []


def test_failed_replacement_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk refuses the last step, the old content is still there and the temporary file is gone."""
    time_file(path).write(1)

    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(TimeFileError, match="No space left on device"):
        time_file(path).write(2)
    assert path.read_text() == "1"
    assert names(path.parent) == ["timefile"]
