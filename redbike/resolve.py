"""From "package.module:Name('argument', ...)" to the object which that call makes.

Owns the form of the expression, the import and the call, and tells the user's slips (WorkerError) from faults
inside the user's code, which pass through as they are. Never evaluates the expression as code.
"""

import ast
import difflib
import importlib
import inspect
import keyword
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any, NamedTuple

from redbike.errors import WorkerError

FORM = "package.module:Name('argument', ...)"
_CANDIDATES_SHOWN = 5


class _Call(NamedTuple):
    """What an expression says: call `name` of `module` with these arguments."""

    module: str
    name: str
    args: list[Any]
    kwargs: dict[str, Any]


def resolve(expression: str) -> object:
    """Import the module that the expression names, call the name in it, and return the result.

    The current folder comes first in `sys.path` from then on, for the imports that the worker does later.
    Raises WorkerError for an expression that cannot be read, found or called; whatever the user's module
    raises while it is imported, or the user's class while it is called, comes through unchanged.
    """
    try:
        call = _read(expression)
        factory = _find(call)
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
        raise WorkerError(f"lacks its parentheses; write {module}:{node.id}(), or in full {FORM}")
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
            raise WorkerError(f"the argument {argument.arg!r} is given twice; leave out one")
        kwargs[argument.arg] = _literal(text, argument.value)
    return kwargs


def _parse(text: str) -> ast.expr | None:
    """The syntax tree of the part after the colon, None where it has no such tree."""
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # all that a hostile text makes it raise
        return None


def _is_name(part: str) -> bool:
    return part.isidentifier() and not keyword.iskeyword(part)


def _source(text: str, node: ast.expr) -> str:
    """What the user wrote for this node."""
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


def _find(call: _Call) -> Callable[..., object]:
    """The callable that the expression names, its module imported."""
    module = _import(call.module)
    try:
        factory = getattr(module, call.name)
    except AttributeError as error:
        raise WorkerError(
            f"the module {call.module!r} has no {call.name!r}; {_candidates(module, call.name)}"
        ) from error
    if not callable(factory):
        kind = type(factory).__name__
        raise WorkerError(
            f"{call.name!r} in the module {call.module!r} is no class or function to call but "
            f"of type {kind}; {_candidates(module, call.name)}"
        )
    return factory  # type: ignore[no-any-return]


def _import(name: str) -> ModuleType:
    _put_current_folder_first()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Missing is only what was asked for or a package above it. Anything else is an import inside the
        # user's code, and its traceback is the only thing that says where.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise WorkerError(
            f"there is no module {error.name!r} in the current folder or where Python looks; "
            "run redbike in the folder that holds it, or install it"
        ) from error


def _put_current_folder_first() -> None:
    """Do what `python -m` does; an installed command has the folder of its script there instead."""
    with suppress(FileNotFoundError):  # somebody deleted the current folder: then nothing is found in it
        folder = os.getcwd()  # noqa: PTH109 - sys.path holds text
        if sys.path[:1] != [folder]:
            sys.path.insert(0, folder)


def _candidates(module: ModuleType, name: str) -> str:
    """What the user may have meant, the nearest first, as the end of a sentence."""
    public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    near = difflib.get_close_matches(name, public, n=_CANDIDATES_SHOWN)
    if near:
        return f"did you mean {' or '.join(near)}?"
    at_home = [key for key in public if getattr(vars(module)[key], "__module__", None) == module.__name__]
    if at_home:
        return f"it has {', '.join(at_home[:_CANDIDATES_SHOWN])}"
    return "it has nothing of its own to call"


def _check_arguments(factory: Callable[..., object], call: _Call) -> None:
    """Refuse arguments that the signature refuses.

    Done before the call, because afterwards a TypeError could as well come from inside the user's code.
    """
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return  # some callables written in C have none; the call itself then says what is wrong
    try:
        signature.bind(*call.args, **call.kwargs)
    except TypeError as error:
        takes = ", ".join(str(parameter) for parameter in signature.parameters.values())
        raise WorkerError(f"{error}; write {call.name}({takes})") from error
