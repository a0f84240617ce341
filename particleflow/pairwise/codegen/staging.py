"""Loops over arrays and vectors, written as Python functions: `@staged` makes machine code of them.

    @staged
    def total(points: Annotated[np.ndarray, Elements("float64", 2)], k: int) -> float:
        sum = 0.0
        for i in range(len(points)):
            sum += points[i, k]
        return sum

A staged function is run once, by Python, to write the code. Its arguments stand for numbers and
arrays that are known when the code runs (`values`, `arrays`); what it does with them is written
down, and what it does with anything else happens at once: loops over plain numbers and lists are
unrolled, conditions on them choose what is written, other staged functions are written in place.

- if, while, for over range, break, continue, return, and, or, not, a if c else b, min and max of
  two, abs, int, len of an array work on both. One at a time: no a < b < c.
- A name that is assigned more than once is a variable of the code, also where it starts as a plain
  number; it keeps the kind of its first value.
- INDICES ARE NOT CHECKED: none may be negative or too large. Integers have 64 bits and wrap around;
  x // 0 is x, x / 0 inf or NaN.

Called from Python, where no code is being written, it is compiled once and run; its annotations say
for which arguments. Those are checked at each call.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from particleflow.pairwise.codegen import control
from particleflow.pairwise.codegen.entry import Entry
from particleflow.pairwise.codegen.writer import is_writing

Function = TypeVar("Function", bound=Callable[..., Any])

# Names that staged functions use as in Python, also for what is known when the code runs.
OURS = {"range": "span", "min": "least", "max": "most", "len": "length", "int": "truncated"}


def staged(python: Function) -> Function:
    return cast(Function, Staged(python))


class Staged:
    """A function that writes code when it is called, or runs it (see the head of this file)."""

    def __init__(self, python: Callable[..., Any]) -> None:
        functools.update_wrapper(self, python)
        self._python = python

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if is_writing():
            return self._written(*arguments, **options)
        return self._entry(*arguments, **options)

    def __get__(self, owner: Any, kind: type) -> Any:
        return self if owner is None else functools.partial(self, owner)

    @functools.cached_property
    def _written(self) -> Callable[..., Any]:
        return _rewritten(self._python)

    @functools.cached_property
    def _entry(self) -> Entry:
        return Entry(self._python, self._written)


def _rewritten(python: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its statements replaced by the calls of `control`."""
    lines, first = inspect.getsourcelines(python)
    tree = ast.parse(textwrap.dedent("".join(lines)))
    function = cast(ast.FunctionDef, tree.body[0])
    rewritten = _Rewrite(function, python.__globals__).done
    wrapper = ast.parse("def make(control):\n    return None").body[0]
    assert isinstance(wrapper, ast.FunctionDef)
    wrapper.body = [rewritten, ast.parse(f"return {function.name}").body[0]]
    module = ast.fix_missing_locations(ast.Module([wrapper], []))
    ast.increment_lineno(module, first - 1)
    made: dict[str, Any] = {}
    exec(
        compile(module, inspect.getsourcefile(python) or "staged", "exec"), python.__globals__, made
    )
    return cast(Callable[..., Any], made["make"](control))


class _Rewrite(ast.NodeTransformer):
    def __init__(self, function: ast.FunctionDef, scope: dict[str, Any]) -> None:
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        names = [argument.arg for argument in arguments]
        nodes = list(ast.walk(function))
        counters = _stored([n.target for n in nodes if isinstance(n, ast.For | ast.comprehension)])
        again = _stored([node.target for node in nodes if isinstance(node, ast.AugAssign)])
        stored = _stored([function])
        bound = Counter(names + stored + again)
        bound.subtract(counters)
        self.variables = {name for name, times in bound.items() if times > 1}
        if mixed := {name for name in counters if bound[name]}:
            raise TypeError(f"{function.name}: {sorted(mixed)} are loop counters and assigned too")
        known = {*names, *stored}
        self.ours = {name for name in OURS if name not in known and name not in scope}
        self.spare = 0
        for argument in arguments:
            argument.annotation = None
        function.decorator_list, function.returns = [], None
        first = [
            self._set(name, self._call("kept", self._name("control.UNSET"), self._name(name)))
            if name in names
            else self._set(name, self._name("control.UNSET"))
            for name in sorted(self.variables)
        ]
        *rest, last = function.body
        body = [made for node in rest for made in self._statements(node)]
        if isinstance(last, ast.Return):
            ended = [self._end(self.visit(last.value) if last.value else ast.Constant(None))]
        else:
            ended = [*self._statements(last), self._end(ast.Constant(None))]
        frame = ast.parse("frame_of_call = control.Frame()").body
        function.body = [*frame, *first, *body, *ended]
        self.done = function

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if isinstance(node.ctx, ast.Load) and node.id in self.variables:
            return ast.copy_location(self._call("read", ast.Constant(node.id), node), node)
        if node.id in self.ours:
            return ast.copy_location(self._name(f"control.{OURS[node.id]}"), node)
        return node

    def visit_Assign(self, node: ast.Assign) -> Any:
        value = self.visit(node.value)
        if len(node.targets) == 1 and not self._varies(node.targets[0]):
            return ast.copy_location(ast.Assign([self.visit(node.targets[0])], value), node)
        self.spare += 1
        whole = f"assigned_{self.spare}"
        made = [self._set(whole, value)]
        for target in node.targets:
            made += self._assigned(target, ast.Name(whole, ast.Load()))
        return [ast.copy_location(one, node) for one in made]

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        assert node.value
        return self.visit_Assign(ast.copy_location(ast.Assign([node.target], node.value), node))

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        if not isinstance(node.target, ast.Name):
            return self.generic_visit(node)
        old = ast.copy_location(ast.Name(node.target.id, ast.Load()), node)
        value = ast.copy_location(ast.BinOp(old, node.op, node.value), node)
        return self.visit_Assign(ast.copy_location(ast.Assign([node.target], value), node))

    def visit_For(self, node: ast.For) -> ast.stmt:
        self._no_else(node)
        items = self._call("each", self.visit(node.iter))
        body = [made for one in node.body for made in self._statements(one)]
        return ast.copy_location(ast.For(node.target, items, body, []), node)

    def visit_While(self, node: ast.While) -> ast.stmt:
        self._no_else(node)
        passes = self._call("repeat", self._later(node.test))
        body = [made for one in node.body for made in self._statements(one)]
        return ast.copy_location(ast.For(ast.Name("once", ast.Store()), passes, body, []), node)

    def visit_If(self, node: ast.If) -> ast.stmt:
        cases = self._call("cases", self.visit(node.test))
        sides = [
            [made for one in side for made in self._statements(one)]
            for side in (node.body, node.orelse)
        ]
        chosen = ast.If(ast.Name("case", ast.Load()), sides[0], sides[1])
        return ast.copy_location(ast.For(ast.Name("case", ast.Store()), cases, [chosen], []), node)

    def visit_Break(self, node: ast.Break) -> ast.stmt:
        return ast.copy_location(ast.Expr(self._call("stop")), node)

    def visit_Continue(self, node: ast.Continue) -> ast.stmt:
        return ast.copy_location(ast.Expr(self._call("again")), node)

    def visit_Return(self, node: ast.Return) -> ast.stmt:
        value = self.visit(node.value) if node.value else ast.Constant(None)
        left = ast.Call(self._name("frame_of_call.leave"), [value], [])
        return ast.copy_location(ast.Expr(left), node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        name = "both" if isinstance(node.op, ast.And) else "either"
        made = self.visit(node.values[-1])
        for value in reversed(node.values[:-1]):
            made = self._call(name, self.visit(value), self._lambda(made))
        return ast.copy_location(made, node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        if isinstance(node.op, ast.Not):
            return ast.copy_location(self._call("negated", self.visit(node.operand)), node)
        return self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        sides = self._later(node.body), self._later(node.orelse)
        return ast.copy_location(self._call("choose", self.visit(node.test), *sides), node)

    def _statements(self, node: ast.stmt) -> list[ast.stmt]:
        made = self.visit(node)
        return made if isinstance(made, list) else [made]

    def _varies(self, target: ast.expr) -> bool:
        return any(
            isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) and n.id in self.variables
            for n in ast.walk(target)
        )

    def _assigned(self, target: ast.expr, value: ast.expr) -> list[ast.stmt]:
        if isinstance(target, ast.Tuple):
            each = [
                ast.Subscript(value, ast.Constant(k), ast.Load()) for k in range(len(target.elts))
            ]
            return [
                one for t, v in zip(target.elts, each, strict=True) for one in self._assigned(t, v)
            ]
        if isinstance(target, ast.Name) and target.id in self.variables:
            held = ast.Name(target.id, ast.Load())
            return [self._set(target.id, self._call("kept", held, value))]
        return [ast.Assign([self.visit(target)], value)]

    def _later(self, node: ast.expr) -> ast.Lambda:
        return self._lambda(self.visit(node))

    def _lambda(self, body: ast.expr) -> ast.Lambda:
        return ast.Lambda(ast.arguments([], [], None, [], [], None, []), body)

    def _call(self, name: str, *values: ast.expr) -> ast.Call:
        return ast.Call(self._name(f"control.{name}"), list(values), [])

    def _name(self, dotted: str) -> ast.expr:
        return ast.parse(dotted, mode="eval").body

    def _set(self, name: str, value: ast.expr) -> ast.stmt:
        return ast.Assign([ast.Name(name, ast.Store())], value)

    def _end(self, value: ast.expr) -> ast.stmt:
        return ast.Return(ast.Call(self._name("frame_of_call.end"), [value], []))

    def _no_else(self, node: ast.For | ast.While) -> None:
        if node.orelse:
            raise TypeError(f"line {node.lineno}: a loop of a staged function has no else")


def _stored(nodes: Sequence[ast.AST]) -> list[str]:
    """The names that are assigned in them, as often as they are."""
    return [
        one.id
        for node in nodes
        for one in ast.walk(node)
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
    ]
