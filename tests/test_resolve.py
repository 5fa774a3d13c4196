"""Worker expressions: what is found and called, what is refused, and what passes through."""

import importlib
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from redbike.errors import WorkerError
from redbike.resolve import FORM, resolve

MakeModule = Callable[[str, str], None]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeModule]:
    """Write modules into the current folder. Afterwards, imports work as before."""
    modules_before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)

    def make(dotted: str, source: str = "") -> None:
        path = tmp_path.joinpath(*dotted.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        importlib.invalidate_caches()

    yield make
    for name in set(sys.modules) - modules_before:
        del sys.modules[name]


RECORDER = "class Recorder:\n    def __init__(self, *args, **kwargs):\n        self.got = args, kwargs\n"


def got(expression: str) -> Any:
    """Return the arguments with which the expression called its recorder."""
    return resolve(expression).got  # type: ignore[attr-defined]


def refusal(expression: str) -> str:
    """Return the message of the WorkerError, without the expression at its beginning."""
    with pytest.raises(WorkerError) as error:
        resolve(expression)
    message = str(error.value)
    assert "\n" not in message
    opening = f"worker {expression!r}: "
    assert message.startswith(opening)
    return message.removeprefix(opening)


# Found and called


def test_calls_the_class(module: MakeModule) -> None:
    """G2: the result is the object that the name returns when it is called with the arguments."""
    module("shop.workers", RECORDER)
    assert got("shop.workers:Recorder('a:b:c')") == (("a:b:c",), {})


def test_literals_of_all_kinds(module: MakeModule) -> None:
    """G2: arguments are literals, by position and by name."""
    module("workers", RECORDER)
    arguments = "1, -2.5, True, None, b'x', [1, (2,)], {'k': {3}}, order='a:b', n=0"
    assert got(f"workers:Recorder({arguments})") == (
        (1, -2.5, True, None, b"x", [1, (2,)], {"k": {3}}),
        {"order": "a:b", "n": 0},
    )


def test_no_arguments(module: MakeModule) -> None:
    """G2: a call may have no arguments."""
    module("workers", RECORDER)
    assert got("workers:Recorder()") == ((), {})


def test_a_function_serves(module: MakeModule) -> None:
    """G2: the name may be a function that makes the worker."""
    module("workers", "def make(n):\n    return n + 1\n")
    assert resolve("workers:make(1)") == 2


def test_spaces_and_line_breaks(module: MakeModule) -> None:
    """An expression may be spread over lines, as the conf allows."""
    module("workers", RECORDER)
    assert got(" workers : Recorder(\n'a',\n'b'\n) ") == (("a", "b"), {})


def test_without_a_signature() -> None:
    """A callable written in C that shows no signature is called without a check."""
    assert resolve("builtins:dict(a=1)") == {"a": 1}


def test_current_folder_stays_first(module: MakeModule, tmp_path: Path) -> None:
    """G2: the current folder is in front of sys.path, once, and stays so for the worker's later imports."""
    module("workers", "class Lazy:\n    def work(self):\n        import later\n        return later.WORD\n")
    module("later", "WORD = 'found'\n")
    for _ in range(2):
        worker: Any = resolve("workers:Lazy()")
    assert worker.work() == "found"
    assert sys.path[0] == os.fspath(tmp_path)
    assert sys.path.count(os.fspath(tmp_path)) == 1


def test_current_folder_wins(module: MakeModule, tmp_path: Path) -> None:
    """G2: a module in the current folder comes before one of the same name that is installed."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "workers.py").write_text("def where():\n    return 'site'\n")
    sys.path.insert(0, os.fspath(tmp_path / "site"))
    sys.path.append(os.fspath(tmp_path))
    module("workers", "def where():\n    return 'here'\n")
    assert resolve("workers:where()") == "here"


def test_current_folder_deleted(module: MakeModule, tmp_path: Path) -> None:
    """Where the current folder is gone, installed modules are still found."""
    module("workers", RECORDER)
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert resolve("builtins:int('7')") == 7


# Refused: the form


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "workers",
        "workers.Recorder()",
        "workers:",
        ":Recorder()",
        "workers:Recorder(",
        "workers:Recorder('a)",
        "workers:Recorder() + 1",
        "workers:Recorder(); print()",
        "workers:'Recorder'",
        ".workers:Recorder()",
        "shop..workers:Recorder()",
        "shop/workers.py:Recorder()",
        "my-workers:Recorder()",
        "class:Recorder()",
        "workers:Recorder('\0')",
        "workers:Recorder(" + "-" * 100_000 + "1)",
        "workers:" + "(" * 1000,
    ],
)
def test_malformed(expression: str) -> None:
    """G2: an expression of another form is refused with the right form."""
    assert refusal(expression) == f"cannot be read; write {FORM}"


def test_without_parentheses() -> None:
    """G2: a name alone is refused; the error shows the parentheses."""
    expected = f"has no parentheses; write shop.workers:Recorder(), or the full form {FORM}"
    assert refusal("shop.workers:Recorder") == expected


@pytest.mark.parametrize("callee", ["Recorder.make", "make()", "table['x']"])
def test_only_a_plain_name_is_called(callee: str) -> None:
    """G2: only a name in the module is called; other expressions are not evaluated."""
    assert refusal(f"workers:{callee}('a')") == f"{callee!r} is not a plain name; write {FORM}"


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ("name", "name"),
        ("'a', order=name", "name"),
        ("__import__('os').system('true')", "__import__('os').system('true')"),
        ("1 + 1", "1 + 1"),
        ("f'{1}'", "f'{1}'"),
        ("{[]: 1}", "{[]: 1}"),
        ("*'ab'", "*'ab'"),
        ("**{'a': 1}", "**{'a': 1}"),
        ("-" * 50 + "1", "-" * 50 + "1"),
    ],
)
def test_only_literals(arguments: str, culprit: str) -> None:
    """G2: an argument that is not a literal is refused, not evaluated."""
    assert refusal(f"workers:Recorder({arguments})") == (
        f"{culprit!r} is not a literal; write text in quotes, a number, True, False, None, "
        "or a list, tuple, set or dict of these"
    )


def test_argument_given_twice() -> None:
    """G2: a named argument that is given twice is refused."""
    assert refusal("workers:Recorder(a=1, a=2)") == "the argument 'a' is given twice; remove one of them"


# Refused: not there


def no_module(name: str) -> str:
    return (
        f"there is no module {name!r} in the current folder, in the folder of the conf, or in the other folders of"
        " sys.path; run redbike in the folder of the module, or install the module"
    )


def test_module_missing(module: MakeModule) -> None:
    """G4: the error names the module that does not exist."""
    module("workers", RECORDER)
    assert refusal("no_such_module:Recorder()") == no_module("no_such_module")


def test_parent_package_missing(module: MakeModule) -> None:
    """G4: if the parent package is missing, the error names the package."""
    module("workers", RECORDER)
    assert refusal("no_such_package.workers:Recorder()") == no_module("no_such_package")


def test_module_in_package_missing(module: MakeModule) -> None:
    """G4: if only the module in the package is missing, the error names the module."""
    module("shop.workers", RECORDER)
    assert refusal("shop.walkers:Recorder()") == no_module("shop.walkers")


def test_module_is_not_a_package(module: MakeModule) -> None:
    """G4: a module below a module that is not a package counts as missing."""
    module("workers", RECORDER)
    assert refusal("workers.Recorder:Recorder()") == no_module("workers.Recorder")


def test_name_missing_with_a_near_one(module: MakeModule) -> None:
    """G4: a name that is not in the module is refused, and a similar name is suggested."""
    module("workers", RECORDER + "_Recoder = Recorder\n")
    expected = "the module 'workers' has no 'Recoder'; did you mean Recorder?"
    assert refusal("workers:Recoder()") == expected


def test_name_missing_without_a_near_one(module: MakeModule) -> None:
    """G4: if no name is similar, the error shows a few names of the module."""
    module("workers", "from os.path import join\n" + "".join(f"def {c * 3}(): pass\n" for c in "abcdefg"))
    expected = "the module 'workers' has no 'Worker'; it has aaa, bbb, ccc, ddd, eee"
    assert refusal("workers:Worker()") == expected


def test_name_missing_in_an_empty_module(module: MakeModule) -> None:
    """G4: the error says if a module offers nothing."""
    module("workers", "")
    assert refusal("workers:Worker()") == ("the module 'workers' has no 'Worker'; it defines no class or function")


def test_not_callable(module: MakeModule) -> None:
    """G4: a name that cannot be called is refused with its type and the names that can be called."""
    module("workers", RECORDER + "recorder = 'a'\n")
    assert refusal("workers:recorder()") == (
        "'recorder' in the module 'workers' is not a class or function but of type str; did you mean Recorder?"
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("", "missing a required argument: 'order'"),
        ("'a', 1, 2", "too many positional arguments"),
        ("'a', m=1", "got an unexpected keyword argument 'm'"),
        ("'a', order='b'", "multiple values for argument 'order'"),
    ],
)
def test_wrong_arguments(module: MakeModule, arguments: str, reason: str) -> None:
    """G4: arguments that do not fit are refused with the signature, before anything is called."""
    module("workers", "class Worker:\n    def __init__(self, order, n=1):\n        raise AssertionError\n")
    assert refusal(f"workers:Worker({arguments})") == f"{reason}; write Worker(order, n=1)"


# Passing through


def files_in(error: BaseException) -> list[str]:
    return [Path(frame.filename).name for frame in traceback.extract_tb(error.__traceback__)]


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("import no_such_module\n", ModuleNotFoundError),
        ("from os import no_such_name\n", ImportError),
        ("raise ValueError('at import')\n", ValueError),
    ],
)
def test_faults_at_import_pass_through(module: MakeModule, source: str, kind: type[Exception]) -> None:
    """An exception inside the user's module, a missing import included, keeps its type and traceback."""
    module("shop.workers", source)
    with pytest.raises(kind) as error:
        resolve("shop.workers:Worker()")
    assert type(error.value) is kind
    assert "workers.py" in files_in(error.value)


def test_syntax_error_passes_through(module: MakeModule) -> None:
    """For a module that is not Python, Python's error with file and line is raised."""
    module("workers", "class Worker\n")
    with pytest.raises(SyntaxError) as error:
        resolve("workers:Worker()")
    assert Path(error.value.filename or "").name == "workers.py"


def test_missing_import_that_looks_alike_passes_through(module: MakeModule) -> None:
    """A missing module inside the package asked for is a fault of the user's code, not a missing worker."""
    module("shop.workers", "import shop.stock\n")
    with pytest.raises(ModuleNotFoundError, match=r"shop\.stock"):
        resolve("shop.workers:Worker()")


def test_faults_in_the_constructor_pass_through(module: MakeModule) -> None:
    """A TypeError inside the user's __init__ is not taken for wrong arguments."""
    module("workers", "class Worker:\n    def __init__(self, order):\n        len(order, 1)\n")
    with pytest.raises(TypeError) as error:
        resolve("workers:Worker('a')")
    assert files_in(error.value)[-1] == "workers.py"


def test_a_plain_worker_brings_no_bridge() -> None:
    """To resolve a worker imports no readers of other stores and no bridges: only `redbike import` needs them."""
    code = (
        "import sys, redbike.cli, redbike.resolve\n"
        "redbike.resolve.resolve('redbike:RoundRobin(\"A\")')\n"
        "print([name for name in sys.modules if name.startswith(('redbike.importers', 'redbike.bridges'))])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
