"""The order of the house: which module may know which. Arrows go down only, and some doors only a few may use.

Everything is read from the source with `ast`; nothing is imported.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import redbike

PACKAGE = Path(redbike.__file__).parent
ROOT = PACKAGE.name
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__"))

LAYERS = [
    {"cli"},
    {"bike", "resolve", "preview"},
    {"consumer", "dispatcher"},
    {"recovery", "order", "registrar", "registry", "watch", "calling"},
    {"ending", "loop", "connection", "guard"},
    {"scripts", "patience", "schedule", "embedded"},
    {"script", "cron", "arguments"},
    {"url"},
    {"config"},
    {"wire", "steps"},
    {"streams", "keys", "waiting", "worker", "timefile", "schedulefile", "recurrence", "server_process", "conffile"},
    {"sentinels"},
    {"tls"},
    {
        "errors",
        "refusals",
        "secret",
        "plainlog",
        "uncopied",
        "trouble",
        "zones",
        "nonces",
        "filelock",
        "unix_socket",
        "signals",
    },
]
"""From top to bottom: a module imports from lower layers only."""

USE_REDIS = {
    "arguments",
    "config",
    "connection",
    "embedded",
    "patience",
    "recovery",
    "refusals",
    "registry",
    "script",
    "scripts",
    "sentinels",
    "tls",
    "unix_socket",
    "waiting",
    "watch",
    "wire",
}
KNOW_NO_CLOCK = {"schedule", "cron", "zones", "keys", "schedulefile", "timefile", "worker", "order"}


def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text("utf-8"))


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(node: ast.AST) -> Iterator[str]:
    """Full names of the modules that the code imports, wherever the import stands."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import):
            yield from (alias.name for alias in inner.names)
        elif isinstance(inner, ast.ImportFrom):
            assert inner.level == 0, "imports name the whole way"
            assert inner.module
            if inner.module == ROOT:
                yield from (f"{ROOT}.{alias.name}" for alias in inner.names)
            else:
                yield inner.module


def ours(module: str) -> set[str]:
    """Modules of the package that a module imports."""
    return {name.split(".")[1] for name in imported(tree(module)) if name.startswith(f"{ROOT}.")}


def layer(module: str) -> int:
    found = [number for number, modules in enumerate(LAYERS) if module in modules]
    assert len(found) == 1, f"redbike/{module}: give it its place in LAYERS"
    return found[0]


@pytest.mark.parametrize("module", MODULES)
def test_arrows_go_down_only(module: str) -> None:
    """A module imports from lower layers only, so there is no cycle and nothing below knows what stands above."""
    upwards = {other for other in ours(module) if layer(other) <= layer(module)}
    assert not upwards


def test_every_layer_names_modules_that_exist() -> None:
    """The list of layers is the list of the modules, none forgotten and none gone."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set().union(*LAYERS) == set(MODULES) | packages


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nothing_inside_imports_the_package_root(path: Path) -> None:
    """The names of the package root are for users; inside, the module that has a name is imported."""
    modules = {name.removesuffix(".py") for name in (entry.name for entry in PACKAGE.iterdir())}
    for name in imported(ast.parse(path.read_text("utf-8"))):
        if name == ROOT or name.startswith(f"{ROOT}."):
            assert name != ROOT
            assert name.split(".")[1] in modules, f"{name} is no module: it comes from the root"


def test_the_recurrence_package_knows_nothing_else_of_ours() -> None:
    """Recurrence stands by itself but for the names of zones: it could be taken out and used elsewhere."""
    for path in (PACKAGE / "recurrence").glob("*.py"):
        for name in imported(ast.parse(path.read_text("utf-8"))):
            assert not name.startswith(ROOT) or name.startswith((f"{ROOT}.recurrence", f"{ROOT}.zones"))


def test_only_a_few_import_redis() -> None:
    """Only the modules that talk to Redis, or make or test what does, import the redis package."""
    found = {module for module in MODULES if any(name.split(".")[0] == "redis" for name in imported(tree(module)))}
    assert found == USE_REDIS


def calls(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            yield ast.unparse(inner.func)


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_only_the_command_line_prints_exits_and_touches_signals(path: Path) -> None:
    """A library neither prints nor ends its process nor sets signal handlers: only `cli` does.

    Two modules undo what jobs did: one puts handlers back, the other ends processes that jobs have forked.
    """
    if path.stem == "cli":
        return
    code = ast.parse(path.read_text("utf-8"))
    ends = {"print", "input", "exit", "quit", "sys.exit", "os._exit", "logging.basicConfig"} & set(calls(code))
    assert ends == ({"os._exit"} if path.stem == "calling" else set())
    assert "signal" not in set(imported(code)) or path.stem in ("embedded", "signals")
    touches = any(name in ("signal.signal", "signal.set_wakeup_fd") for name in calls(code))
    assert touches == (path.stem == "signals")


@pytest.mark.parametrize("module", sorted(KNOW_NO_CLOCK))
def test_time_is_an_argument(module: str) -> None:
    """What a schedule means is asked with a time; these modules have no clock."""
    clocks = {"time", "datetime.now", "datetime.utcnow", "datetime.today"}
    assert not clocks & {*calls(tree(module)), *imported(tree(module))}


def literals(code: ast.Module) -> Iterator[str]:
    """Every piece of text that is not a docstring."""
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
    r"-(schedules|statuses|timeline|control|members|wake)$|:(bell|memo|running|retries)(:|$)|^redbike-[a-z]|^P-"
)
NOT_KEYS = {"redbike-redis", "--schedules"}  # a section of the conf, and an option


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_keys_are_spelled_in_one_place(path: Path) -> None:
    """No key of Redis is put together anywhere but in `keys.py`."""
    if path.stem == "keys":
        return
    found = {text for text in literals(ast.parse(path.read_text("utf-8"))) if KEY_PARTS.search(text)}
    assert found - NOT_KEYS == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "lua").glob("*.lua")), ids=lambda path: path.stem)
def test_scripts_get_their_keys_given(path: Path) -> None:
    """A script spells no key: all come in KEYS, but for the run tag of a job that it takes itself."""
    code = "\n".join(line.partition("--")[0] for line in path.read_text("utf-8").splitlines())
    texts = re.findall(r"'([^']*)'", code)
    assert not [text for text in texts if KEY_PARTS.search(text)]
    joined = re.findall(r"\.\.\s*'-'\s*\.\.", code)
    assert len(joined) <= (3 if path.stem == "turn" else 0)


def test_nobody_flushes_a_server() -> None:
    """`FLUSHALL` and `FLUSHDB` would take the data of others, `KEYS` would hold them up: none of it is ever sent."""
    for path in [*sources(), *(PACKAGE / "lua").glob("*.lua")]:
        text = path.read_text("utf-8").lower()
        assert "flushall" not in text
        assert "flushdb" not in text
        assert not re.search(r"\.keys\(\s*[\"'f]|call\('keys'", text), path.name


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_says_what_it_owns(path: Path) -> None:
    """A module opens with a docstring of at most six lines, and is no longer than one sitting can read."""
    text = path.read_text("utf-8")
    opening = ast.get_docstring(ast.parse(text))
    assert opening
    assert len(opening.splitlines()) <= 6
    assert len(text.splitlines()) <= 500


def test_what_is_public_is_documented() -> None:
    """Every public class, function and method of the package has a docstring, or its protocol has."""
    bare = []
    for path in sources():
        code = ast.parse(path.read_text("utf-8"))
        for node in code.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node):
                bare.append(f"{path.stem}.{node.name}")
    assert not [name for name in bare if not name.startswith("cli.")]
