"""Read a file of Python tests and carry out its assertions on other objects than those that it imports.

Nothing of the file is executed. The interpreter knows the few statements and expressions that such tests consist of.
A test with any other part is left out, with the reason.
"""

import ast
import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from .asking import Asker, LeftOut, Refused, Skipped, Vector, refusal, shown

Answer = Vector | Skipped
Helper = Callable[..., Iterator[tuple[Callable[[], object], object]]]


class Predicted:
    """An answer that can say which answer a test's expectation means."""

    def answers(self, expected: object) -> tuple[object, object]:
        """Return what Redbike does, and what it should do according to `expected`."""
        raise NotImplementedError


class TestFile:
    """One file of tests, with the objects that its names mean here."""

    __test__ = False  # for pytest, which takes it for a class of tests

    def __init__(self, source: str, text: str, names: dict[str, object], asker: Asker) -> None:
        self._source, self._names, self._asker = source, names, asker
        self._natives: dict[str, Helper] = {}
        self._tree = ast.parse(text)

    def replace_helper(self, name: str, helper: Helper) -> None:
        """Call `helper` for the method of this name. It yields pairs: a function that asks, and the expected answer."""
        self._natives[name] = helper

    def answers(self) -> Iterator[Answer]:
        """Yield what each test expects and what it gets, or why it is left out."""
        names = dict(self._names)
        for node in self._tree.body:
            if isinstance(node, ast.Assign):
                _Run(self, "", names).execute([node])
            elif isinstance(node, ast.ClassDef):
                yield from self._class(node, names)
            elif isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
                yield from self._test(node.name, node, names)

    def _class(self, node: ast.ClassDef, names: dict[str, object]) -> Iterator[Answer]:
        this = _Self()
        for child in node.body:
            if isinstance(child, ast.Assign):
                inside = dict(names)
                _Run(self, node.name, inside).execute([child])
                this.values |= {name: value for name, value in inside.items() if names.get(name) is not value}
            elif isinstance(child, ast.FunctionDef):
                this.methods[child.name] = child
        for name, method in this.methods.items():
            if name.startswith("test"):
                yield from self._test(f"{node.name}.{name}", method, {**names, "self": this})

    def _test(self, name: str, node: ast.FunctionDef, names: dict[str, object]) -> Iterator[Answer]:
        run = _Run(self, name, dict(names))
        self._asker.texts.clear()
        try:
            run.execute(node.body)
            if not run.vectors:
                raise LeftOut("asks for no date")
        except LeftOut as error:
            yield Skipped(self._source, name, str(error))
        except Refused as error:
            run.add("accepted", refusal(error))
        except StopIteration:
            run.add("a run", "no run")
        yield from run.vectors


class _Self:
    """`self` in a test: the attributes of its class, its helpers, and the assertions."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.methods: dict[str, ast.FunctionDef] = {}


class _Run:
    """One test that is carried out."""

    _OPERATORS: ClassVar[dict[type, Callable[..., object]]] = {
        ast.USub: operator.neg,
        ast.UAdd: operator.pos,
        ast.Not: operator.not_,
        ast.Add: operator.add,
        ast.Mod: operator.mod,
        ast.Eq: operator.eq,
        ast.In: lambda item, group: item in group,
        ast.NotIn: lambda item, group: item not in group,
    }
    _BUILTINS: ClassVar[dict[str, object]] = {
        "list": list,
        "tuple": tuple,
        "dict": dict,
        "set": set,
        "range": range,
        "next": next,
        "product": itertools.product,
        "ValueError": Refused,
        "StopIteration": StopIteration,
    }

    def __init__(self, file: TestFile, name: str, names: dict[str, object]) -> None:
        self._file, self._name, self._names = file, name, names
        self._asker = file._asker
        self.vectors: list[Vector] = []

    def add(self, expected: str, got: str) -> None:
        if not self._asker.texts:
            raise LeftOut("asks for no date")
        self.vectors.append(Vector(self._file._source, self._name, self._asker.texts[-1], expected, got))
        self._asker.texts.clear()

    def execute(self, body: list[ast.stmt]) -> None:
        for node in body:
            getattr(self, f"_do_{type(node).__name__}", self._unknown)(node)

    def _unknown(self, node: ast.AST) -> Any:
        raise LeftOut(f"has a part that is not read: {type(node).__name__}")

    # Statements

    def _do_Pass(self, node: ast.Pass) -> None:
        pass

    def _do_Expr(self, node: ast.Expr) -> None:
        self._value(node.value)

    def _do_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._bind(target, self._value(node.value))

    def _bind(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Tuple):
            for part, item in zip(target.elts, value, strict=True):
                self._bind(part, item)
        elif isinstance(target, ast.Name):
            self._names[target.id] = value
        else:
            self._unknown(target)

    def _do_If(self, node: ast.If) -> None:
        self.execute(node.body if self._value(node.test) else node.orelse)

    def _do_For(self, node: ast.For) -> None:
        for value in self._value(node.iter):
            self._bind(node.target, value)
            self.execute(node.body)

    def _do_With(self, node: ast.With) -> None:
        call = node.items[0].context_expr
        if not isinstance(call, ast.Call) or not ast.unparse(call.func).lower().endswith(("raises", "raisesregex")):
            raise LeftOut(f"has a part that is not read: with {ast.unparse(call).partition('(')[0]}")
        self._must_raise(self._value(call.args[0]), lambda: self.execute(node.body))

    def _do_Assert(self, node: ast.Assert) -> None:
        if not isinstance(node.test, ast.Compare) or not isinstance(node.test.ops[0], ast.Eq):
            raise LeftOut("asks for no date")
        self._must_equal(node.test.left, node.test.comparators[0])

    def _do_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._names[node.name] = lambda: self._call_function(node, [], {})

    # Expressions

    def _value(self, node: ast.expr) -> Any:
        return getattr(self, f"_get_{type(node).__name__}", self._unknown)(node)

    def _get_Constant(self, node: ast.Constant) -> object:
        return node.value

    def _get_Name(self, node: ast.Name) -> object:
        for names in (self._names, self._BUILTINS):
            if node.id in names:
                return names[node.id]
        raise LeftOut(f"uses {node.id}")

    def _get_Tuple(self, node: ast.Tuple) -> object:
        return tuple(self._value(item) for item in node.elts)

    def _get_List(self, node: ast.List) -> object:
        return [self._value(item) for item in node.elts]

    def _get_Set(self, node: ast.Set) -> object:
        return {self._value(item) for item in node.elts}

    def _get_Dict(self, node: ast.Dict) -> object:
        return {self._value(key): self._value(item) for key, item in zip(node.keys, node.values, strict=True) if key}

    def _get_UnaryOp(self, node: ast.UnaryOp) -> object:
        return self._operator(node.op)(self._value(node.operand))

    def _get_BinOp(self, node: ast.BinOp) -> object:
        return self._operator(node.op)(self._value(node.left), self._value(node.right))

    def _get_Compare(self, node: ast.Compare) -> object:
        return self._operator(node.ops[0])(self._value(node.left), self._value(node.comparators[0]))

    def _operator(self, node: ast.AST) -> Callable[..., object]:
        return self._OPERATORS.get(type(node)) or self._unknown(node)

    def _get_Subscript(self, node: ast.Subscript) -> object:
        return self._value(node.value)[self._value(node.slice)]

    def _get_Slice(self, node: ast.Slice) -> object:
        return slice(*(None if part is None else self._value(part) for part in (node.lower, node.upper, node.step)))

    def _get_Attribute(self, node: ast.Attribute) -> object:
        owner = self._value(node.value)
        if isinstance(owner, _Self):
            if node.attr in owner.values:
                return owner.values[node.attr]
        elif not node.attr.startswith("_") and hasattr(owner, node.attr):
            return getattr(owner, node.attr)
        raise LeftOut(f"uses {ast.unparse(node).rpartition('.')[2]}")

    def _get_Call(self, node: ast.Call) -> object:
        this = node.func
        if isinstance(this, ast.Attribute) and isinstance(this.value, ast.Name) and this.value.id == "self":
            return self._call_own(this.attr, node)
        function = self._value(this)
        if not callable(function):
            raise LeftOut(f"calls {ast.unparse(this)}")
        try:
            return function(*self._arguments(node), **self._keywords(node))
        except (TypeError, ValueError) as error:
            raise LeftOut(f"{ast.unparse(this)}() raises {type(error).__name__}") from error

    def _arguments(self, node: ast.Call) -> list[Any]:
        return [self._value(argument) for argument in node.args]

    def _keywords(self, node: ast.Call) -> dict[str, Any]:
        keywords: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self._value(keyword.value)
            keywords |= value if keyword.arg is None else {keyword.arg: value}
        return keywords

    # The assertions, and the helpers of the class

    def _call_own(self, name: str, node: ast.Call) -> object:
        this = self._names.get("self")
        if name == "assertEqual":
            self._must_equal(node.args[0], node.args[1])
        elif name in ("assertRaises", "assertRaisesRegex"):
            error, function, *arguments = self._arguments(node)
            self._must_raise(error, lambda: function(*arguments, **self._keywords(node)))
        elif name in self._file._natives:
            for get, expected in self._file._natives[name](*self._arguments(node)):
                self._compare(get, expected)
        elif isinstance(this, _Self) and name in this.methods:
            self._call_function(this.methods[name], [this, *self._arguments(node)], self._keywords(node))
        else:
            raise LeftOut(f"uses {name}")
        return None

    def _call_function(self, node: ast.FunctionDef, arguments: list[Any], keywords: dict[str, Any]) -> None:
        names = [argument.arg for argument in node.args.args]
        inside = _Run(self._file, self._name, self._names | dict(zip(names, arguments, strict=False)) | keywords)
        inside.vectors = self.vectors
        inside.execute(node.body)

    def _must_equal(self, got: ast.expr, expected: ast.expr) -> None:
        self._compare(lambda: self._value(got), self._value(expected))

    def _compare(self, get: Callable[[], object], expected: object) -> None:
        try:
            got = get()
            if isinstance(got, Predicted):
                got, expected = got.answers(expected)
            answer = shown(got)
        except Refused as error:
            answer = refusal(error)
        except StopIteration:
            answer = "no run"
        self.add(shown(expected), answer)

    def _must_raise(self, error: type[Exception], act: Callable[[], object]) -> None:
        expected = "no run" if error is StopIteration else "refused"
        try:
            act()
        except error:
            self.add(expected, expected)
        except (Refused, StopIteration) as other:
            self.add(expected, refusal(other) if isinstance(other, Refused) else "no run")
        else:
            self.add(expected, self._asker.describe(self._asker.texts[-1]) if self._asker.texts else "")
