"""Turn the text "package.module:Name('argument', ...)" into the object that this call returns.

This module defines the form of the expression, imports the module and makes the call. A mistake in the expression
becomes a WorkerError. An exception inside the user's code is not changed. The expression is never run as code.
"""

import ast
import difflib
import importlib
import inspect
import keyword
import os
import pkgutil
import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any, NamedTuple

from redbike.errors import WorkerError

FORM = "package.module:Name('argument', ...)"
LATER = (
    *("decimal", "difflib", "getpass", "json", "numbers"),
    *(f"redbike.cli.{name}" for name in ("misuse", "notes", "start")),
    *(f"redbike.engine.{name}" for name in ("calling", "coroutines", "loading", "many", "outcome", "pausing")),
    *(f"redbike.schedule.{name}" for name in ("cron", "cron_reasons", "preview", "suggest", "windows_zones")),
    *(f"redbike.schedule.rrule.{name}" for name in ("departures", "recurrence", "steady")),
    *(f"redbike.server.{name}" for name in ("embedded", "process", "sentinels", "tls", "url")),
    *("redbike.csvfile", "redbike.jsonlfile", "redbike.loops", "redbike.store.details", "redbike.store.history"),
)
"""The modules that Redbike imports when it first uses them."""

_CANDIDATES_SHOWN = 5


class _Call(NamedTuple):
    """The parts of an expression: call `name` of `module` with these arguments."""

    module: str
    name: str
    args: list[Any]
    kwargs: dict[str, Any]


def resolve(expression: str, folder: str = "") -> object:
    """Import the module that the expression names, call the name in it, and return the result.

    Put the current folder first in `sys.path`, and `folder`, that of the conf, behind it. Leave them there, because the
    worker may import more modules later.
    Raise WorkerError if the expression cannot be read, or its module or name cannot be found or called. An exception
    of the user's module during the import, or of the user's class during the call, is not changed.
    """
    try:
        call = _read(expression)
        factory = _find(call, folder)
        _check_arguments(factory, call)
    except WorkerError as error:
        raise WorkerError(f"worker {expression!r}: {error}") from error.__cause__
    return factory(*call.args, **call.kwargs)


def _read(expression: str) -> _Call:
    module, _, text = map(str.strip, expression.partition(":"))
    node = _parse(text)
    if not all(map(_is_name, module.split("."))) or not isinstance(node, ast.Call | ast.Name):
        raise WorkerError(f"cannot be read; write {FORM}")
    if isinstance(node, ast.Name):
        raise WorkerError(f"has no parentheses; write {module}:{node.id}(), or the full form {FORM}")
    if not isinstance(node.func, ast.Name):
        raise WorkerError(f"{_source(text, node.func)!r} is not a plain name; write {FORM}")
    args = [_literal(text, argument) for argument in node.args]
    return _Call(module, node.func.id, args, _kwargs(text, node.keywords))


def _kwargs(text: str, keywords: list[ast.keyword]) -> dict[str, Any]:
    kwargs: dict[str, Any] = {}
    for argument in keywords:
        if argument.arg is None:
            raise _not_literal(f"**{_source(text, argument.value)}")
        if argument.arg in kwargs:
            raise WorkerError(f"the argument {argument.arg!r} is given twice; remove one of them")
        kwargs[argument.arg] = _literal(text, argument.value)
    return kwargs


def _parse(text: str) -> ast.expr | None:
    """Return the syntax tree of the text after the colon, or None if the text is not an expression."""
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # all errors that a hostile text can cause
        return None


def _is_name(part: str) -> bool:
    return part.isidentifier() and not keyword.iskeyword(part)


def _source(text: str, node: ast.expr) -> str:
    """Return the text that the user wrote for this node."""
    return ast.get_source_segment(text, node) or text


def _literal(text: str, node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        raise _not_literal(_source(text, node)) from None


def _not_literal(source: str) -> WorkerError:
    return WorkerError(
        f"{source!r} is not a literal; write text in quotes, a number, True, False, None, "
        "or a list, tuple, set or dict of these"
    )


def _find(call: _Call, folder: str) -> Callable[..., object]:
    """Import the module and return the callable that the expression names."""
    module = _import(call.module, folder)
    try:
        factory = getattr(module, call.name)
    except AttributeError as error:
        raise WorkerError(
            f"the module {call.module!r} has no {call.name!r}; {_candidates(module, call.name)}"
        ) from error
    if not callable(factory):
        kind = type(factory).__name__
        raise WorkerError(
            f"{call.name!r} in the module {call.module!r} is not a class or function but "
            f"of type {kind}; {_candidates(module, call.name)}"
        )
    return factory  # type: ignore[no-any-return]


def _import(name: str, folder: str) -> ModuleType:
    import_the_rest()
    _put_current_folder_first()
    if folder and (absolute := os.path.abspath(folder)) not in sys.path:  # noqa: PTH100 - sys.path holds text
        sys.path.append(absolute)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only the module itself, or a package that contains it, counts as missing. Otherwise an import inside the
        # user's code has failed, and only its traceback shows the place.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise WorkerError(
            f"there is no module {error.name!r} in the current folder, in the folder of the conf, or in the other"
            f" folders of sys.path; run redbike in the folder of the module, or install the module{_near(error.name)}"
        ) from error


def import_the_rest() -> None:
    """Import the modules that Redbike otherwise imports when it first uses them.

    A module in the current folder must not take the place of a module of the standard library that they import, such
    as `numbers`. And an update of the package must not change them under a running loop.
    """
    for name in LATER:
        importlib.import_module(name)


def _near(name: str) -> str:
    """Return a question for a module beside the conf or in the current folder that may have been meant, or nothing."""
    if name.endswith(".py"):
        return f"; did you mean {name.removesuffix('.py')}?"
    names = [] if "." in name else [module.name for module in pkgutil.iter_modules(sys.path[:2])]
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _put_current_folder_first() -> None:
    """Make `sys.path` start as with `python -m`. In an installed command, it starts with the folder of the script."""
    with suppress(FileNotFoundError):  # the current folder was deleted: it holds no modules
        folder = os.getcwd()  # noqa: PTH109 - sys.path holds text
        if sys.path[:1] != [folder]:
            sys.path.insert(0, folder)


def _candidates(module: ModuleType, name: str) -> str:
    """Return the end of a sentence that names what the user may have meant, with the most similar name first."""
    public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    near = difflib.get_close_matches(name, public, n=_CANDIDATES_SHOWN)
    if near:
        return f"did you mean {' or '.join(near)}?"
    defined_here = [key for key in public if getattr(vars(module)[key], "__module__", None) == module.__name__]
    if defined_here:
        return f"it has {', '.join(defined_here[:_CANDIDATES_SHOWN])}"
    return "it defines no class or function"


def _check_arguments(factory: Callable[..., object], call: _Call) -> None:
    """Raise WorkerError if the arguments do not fit the signature.

    This check comes before the call. A TypeError of the call could also come from inside the user's code.
    """
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return  # some callables written in C have no signature; the call then reports the mistake
    try:
        signature.bind(*call.args, **call.kwargs)
    except TypeError as error:
        parameters = ", ".join(str(parameter) for parameter in signature.parameters.values())
        raise WorkerError(f"{error}; write {call.name}({parameters})") from error
