"""Make machine code of loops over arrays and vectors, written as Python functions: `@staged`.

    @staged
    def total(points: Annotated[np.ndarray, Elements("float64", 2)], k: int) -> float:
        sum = 0.0
        for i in range(len(points)):
            sum += points[i, k]
        return sum

Python runs a staged function once, to write the code. The arguments stand for numbers and arrays
that are known when the code runs (`values`, `arrays`). Operations on them are written down. All
other operations happen at once: loops over plain numbers and lists are unrolled, conditions on
plain numbers choose the code, and other staged functions are written in place.

- if, while, for over range, break, continue, return, and, or, not, a if c else b, min and max of
  two, abs, int, len of an array, math.sqrt and math.log1p take numbers that are known when the
  code runs, and plain numbers. A chain a < b < c takes plain numbers only.
- A name that is assigned more than once is a variable of the code, also where it starts as a plain
  number. The variable keeps the kind of its first value.
- INDICES ARE NOT CHECKED: none may be negative or too large. Integers have 64 bits and wrap around.
  x // 0 is x, and x / 0 is inf or NaN.

A call from Python, where no code is being written, compiles the function once and runs it. The
annotations give the types of the arguments. Each call checks them.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from particleflow.pairwise.codegen import control
from particleflow.pairwise.codegen.entry import Entry
from particleflow.pairwise.codegen.writer import is_writing

Function = TypeVar("Function", bound=Callable[..., object])

# Functions of Python that staged code may call, and their stand-ins in `control`.
OURS = {
    "range": "span",
    "min": "least",
    "max": "most",
    "len": "length",
    "int": "truncated",
    "math.sqrt": "root",
    "math.log1p": "log1p",
}


def staged(python: Function) -> Function:
    return cast(Function, Staged(python))


class Staged:
    """A function that writes code when it is called, or runs it (see this file's head)."""

    def __init__(self, python: Callable[..., object]) -> None:
        functools.update_wrapper(self, python)
        self._python = python

    def __call__(self, *arguments: object, **options: object) -> object:
        if is_writing():
            return self._written(*arguments, **options)
        return self._entry(*arguments, **options)

    def __get__(self, owner: object, kind: type) -> Callable[..., object]:
        return self if owner is None else functools.partial(self, owner)

    @functools.cached_property
    def _written(self) -> Callable[..., object]:
        return _rewritten(self._python)

    @functools.cached_property
    def _entry(self) -> Entry:
        return Entry(self._python, self._written)


def _rewritten(python: Callable[..., object]) -> Callable[..., object]:
    """The function with its statements replaced by the calls of `control`."""
    lines, first = inspect.getsourcelines(python)
    function = cast(ast.FunctionDef, ast.parse(textwrap.dedent("".join(lines))).body[0])
    _Rewrite(function, python.__globals__)
    closure = inspect.getclosurevars(python).nonlocals
    module = ast.parse(f"def make({', '.join(['control', *closure])}):\n    return {function.name}")
    cast(ast.FunctionDef, module.body[0]).body.insert(0, function)
    ast.increment_lineno(ast.fix_missing_locations(module), first - 1)
    made: dict[str, Callable[..., Callable[..., object]]] = {}
    code = compile(module, inspect.getsourcefile(python) or "staged", "exec")
    exec(code, python.__globals__, made)
    return made["make"](control, *closure.values())


class _Rewrite(ast.NodeTransformer):
    """Puts calls of `control` in place of a function's statements and reads of variables.

    An `if` becomes a loop over `control.cases(test)`. Where the test is known only when the code
    runs, the loop yields True and then False, so that both branches are written. A plain test
    yields its value alone.
    """

    def __init__(self, function: ast.FunctionDef, scope: dict[str, object]) -> None:
        nodes = list(ast.walk(function))
        arguments = [node for node in nodes if isinstance(node, ast.arg)]
        parameters = [argument.arg for argument in arguments]
        counters = _stored([n.target for n in nodes if isinstance(n, ast.For | ast.comprehension)])
        augmented = _stored([node.target for node in nodes if isinstance(node, ast.AugAssign)])
        bound = Counter(parameters + _stored([function]) + augmented)
        self.ours = OURS.keys() - bound.keys() - scope.keys()
        bound.subtract(counters)
        self.variables = {name for name, times in bound.items() if times > 1}
        if mixed := {name for name in counters if bound[name]}:
            raise TypeError(f"{function.name}: {sorted(mixed)} are loop counters and assigned too")
        for argument in arguments:
            argument.annotation = None
        function.decorator_list, function.returns = [], None
        first = ast.parse("call = control.Call()").body
        for name in sorted(self.variables):
            before = (
                f"control.kept(control.UNSET, {name})" if name in parameters else "control.UNSET"
            )
            first += ast.parse(f"{name} = {before}").body
        last = function.body[-1]
        ends = isinstance(last, ast.Return)
        body = self._all(function.body[:-1] if ends else function.body)
        result = self._result(last) if isinstance(last, ast.Return) else ast.Constant(None)
        end = ast.copy_location(ast.Return(_calling("call.end", result)), last)
        function.body = [*first, *body, end]

    def visit(self, node: ast.AST) -> Any:
        made = super().visit(node)
        for one in made if isinstance(made, list) else [made]:
            ast.copy_location(one, node)
        return made

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self.variables:
            if isinstance(node.ctx, ast.Store):
                return ast.Name(f"{node.id}_next", ast.Store())
            return _calling("control.read", ast.Constant(node.id), node)
        return _name(f"control.{OURS[node.id]}") if node.id in self.ours else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        ours = OURS.get(ast.unparse(node))
        return _name(f"control.{ours}") if ours else self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> list[ast.AST]:
        varying = sorted(self.variables.intersection(_stored(node.targets)))
        kept = "\n".join(f"{name} = control.kept({name}, {name}_next)" for name in varying)
        return [self.generic_visit(node), *ast.parse(kept).body]

    def visit_AnnAssign(self, node: ast.AnnAssign) -> list[ast.AST]:
        assert node.value
        return self.visit(ast.Assign([node.target], node.value))

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST | list[ast.AST]:
        if not isinstance(node.target, ast.Name):
            return self.generic_visit(node)
        value = ast.BinOp(_name(node.target.id), node.op, node.value)
        return self.visit(ast.Assign([node.target], value))

    def visit_For(self, node: ast.For) -> ast.stmt:
        items = _calling("control.each", self.visit(node.iter))
        return ast.For(node.target, items, self._loop(node), [])

    def visit_While(self, node: ast.While) -> ast.stmt:
        passes = _calling("control.repeat", _later(self.visit(node.test)))
        return ast.For(ast.Name("once", ast.Store()), passes, self._loop(node), [])

    def visit_If(self, node: ast.If) -> ast.stmt:
        cases = _calling("control.cases", self.visit(node.test))
        chosen = ast.If(_name("case"), self._all(node.body), self._all(node.orelse))
        return ast.For(ast.Name("case", ast.Store()), cases, [chosen], [])

    def visit_Break(self, node: ast.Break) -> ast.stmt:
        return ast.Expr(_calling("control.stop"))

    def visit_Continue(self, node: ast.Continue) -> ast.stmt:
        return ast.Expr(_calling("control.again"))

    def visit_Return(self, node: ast.Return) -> ast.stmt:
        return ast.Expr(_calling("call.leave", self._result(node)))

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        name = "both" if isinstance(node.op, ast.And) else "either"
        *others, made = (self.visit(value) for value in node.values)
        for value in reversed(others):
            made = _calling(f"control.{name}", value, _later(made))
        return cast(ast.expr, made)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        negated = isinstance(node.op, ast.Not)
        return _calling("control.negated", node.operand) if negated else node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        return _calling("control.choose", node.test, _later(node.body), _later(node.orelse))

    def _result(self, node: ast.Return) -> ast.expr:
        return self.visit(node.value) if node.value else ast.Constant(None)

    def _loop(self, node: ast.For | ast.While) -> list[ast.stmt]:
        if node.orelse:
            raise TypeError(f"line {node.lineno}: a loop of a staged function has no else")
        return self._all(node.body)

    def _all(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        made = [self.visit(node) for node in statements]
        return [one for m in made for one in (m if isinstance(m, list) else [m])]


def _name(dotted: str) -> ast.expr:
    return ast.parse(dotted, mode="eval").body


def _calling(function: str, *values: ast.expr) -> ast.Call:
    return ast.Call(_name(function), list(values), [])


def _later(value: ast.expr) -> ast.Lambda:
    return ast.Lambda(ast.arguments([], [], None, [], [], None, []), value)


def _stored(nodes: Sequence[ast.AST]) -> list[str]:
    """The names assigned in the nodes, once for each assignment."""
    inside = (one for node in nodes for one in ast.walk(node))
    return [
        one.id for one in inside if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
    ]
