"""Expressions of the part of Python that `scalar` describes, as LLVM's IR: `translation` writes the
statements around them.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from llvmlite import ir

from particleflow.pairwise.codegen.types import F64, I1, I64, Elements, Fields, Routine, Value, flat

COMPARED: dict[type, str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
MATHS: dict[Any, str] = {math.sqrt: "llvm.sqrt.f64", math.log1p: "log1p"}


class Expressions:
    """A function that is being written, `made`, and its variables."""

    def __init__(self, function: Routine, made: ir.Function) -> None:
        python = function.python
        lines, first = inspect.getsourcelines(python)
        self.where, self.scope = (
            (inspect.getsourcefile(python), first - 1),
            {**vars(builtins), **python.__globals__},
        )
        self.tree: Any = ast.parse(textwrap.dedent("".join(lines))).body[0]
        self.made, (self.names, self.types, self.result) = made, function.signature
        self.local = {
            node.id
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        } | {*self.names}
        self.entry = ir.IRBuilder(made.append_basic_block("entry"))
        self.b = ir.IRBuilder(made.append_basic_block("body"))
        self.variables: dict[str, Value] = {}  # parts: where they are kept

    def _refuse(self, node: ast.AST, why: str) -> NoReturn:
        file, before = self.where
        raise TypeError(
            f"{file}:{before + getattr(node, 'lineno', 1)}: cannot translate"
            f" `{ast.unparse(node)[:100]}`: {why}"
        )

    def _value(self, node: ast.expr) -> Value:
        match node:
            case ast.Tuple(items):
                fields = [self._value(item) for item in items]
                return Value(
                    Fields(tuple(one.type for one in fields)),
                    [part for one in fields for part in one.parts],
                )
            case ast.BinOp(left, op, right):
                return self._operation(node, op, self._value(left), self._value(right))
            case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as number)):
                return self._constant(node, -number)
            case ast.UnaryOp(ast.USub(), operand):
                made = self._value(operand)
                if made.type is float:
                    return Value(float, [self.b.fneg(made.parts[0])])
                return self._operation(node, ast.Sub(), Value(int, [I64(0)]), made)
            case ast.UnaryOp(ast.Not(), operand):
                return Value(bool, [self.b.not_(self._truth(operand))])
            case ast.BoolOp(op, [first, *rest]):
                more = rest[0] if len(rest) == 1 else ast.copy_location(ast.BoolOp(op, rest), node)
                sides = (
                    (lambda: self._bool(more)),
                    (lambda: Value(bool, [I1(isinstance(op, ast.Or))])),
                )
                return self._choose(
                    node,
                    self._bool(first).parts[0],
                    *(sides if isinstance(op, ast.And) else sides[::-1]),
                )
            case ast.IfExp(test, body, orelse):
                return self._choose(
                    node, self._truth(test), lambda: self._value(body), lambda: self._value(orelse)
                )
            case ast.Compare(left, [op], [right]) if type(op) in COMPARED:
                return Value(
                    bool,
                    [
                        self._compared(
                            node, COMPARED[type(op)], self._value(left), self._value(right)
                        )
                    ],
                )
            case ast.Call(func, items, []):
                return self._call(node, self._known(func), items)
            case ast.Subscript(value, index):
                return self._subscript(node, self._value(value), index)
            case ast.Name(name) if name in self.local:
                if name not in self.variables:
                    self._refuse(node, "it is used before it is assigned")
                kept = self.variables[name]
                return Value(kept.type, [self.b.load(place) for place in kept.parts])
            case ast.Attribute(value, name) if not self._is_known(node):
                return self._attribute(node, self._value(value), name)
        return self._constant(node, self._known(node))

    def _is_known(self, node: ast.AST) -> bool:
        """A module's constant or function, not a variable's field."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and node.id not in self.local

    def _known(self, node: ast.AST) -> Any:
        match node:
            case ast.Constant(value):
                return value
            case ast.Name(name) if name in self.scope and name not in self.local:
                return self.scope[name]
            case ast.Attribute(value, name) if self._is_known(node):
                return getattr(self._known(value), name)
        self._refuse(node, "this expression is not in the subset")

    def _constant(self, node: ast.AST, value: Any) -> Value:
        if type(value) not in (bool, int, float) or (
            type(value) is int and not -(2**63) <= value < 2**63
        ):
            self._refuse(node, "a constant must be bool, int (64 bits) or float")
        return Value(type(value), [{bool: I1, int: I64, float: F64}[type(value)](value)])

    def _field(self, made: Value, k: int) -> Value:
        before = sum(len(flat(one)) for one in made.type.types[:k])
        return Value(
            made.type.types[k], made.parts[before : before + len(flat(made.type.types[k]))]
        )

    def _attribute(self, node: ast.AST, made: Value, name: str) -> Value:
        if isinstance(made.type, Elements) and name == "shape":
            return Value(Fields((int,) * made.type.rank), made.parts[1:])
        if isinstance(made.type, Fields) and name in made.type.names:
            return self._field(made, made.type.names.index(name))
        self._refuse(node, f"{made.type} has no `{name}` here")

    def _subscript(self, node: ast.Subscript, made: Value, index: ast.expr) -> Value:
        kind = made.type
        if isinstance(kind, Fields):
            k = self._value(index).parts[0]
            if (
                not isinstance(k, ir.Constant)
                or k.type != I64
                or not 0 <= k.constant < len(kind.types)
            ):
                self._refuse(node, "the index of a tuple must be a constant in its range")
            return self._field(made, k.constant)
        if not isinstance(kind, Elements):
            self._refuse(node, f"{kind} has no elements")
        if isinstance(index, ast.Slice):
            if index.lower is None or index.upper is not None or index.step is not None:
                self._refuse(node, "only a[i:] is in the subset")
            start = self._as(int, self._value(index.lower), index.lower).parts[0]
            rest = self.b.sub(made.parts[1], start)
            rest = self.b.select(self.b.icmp_signed("<", rest, I64(0)), I64(0), rest)
            return Value(kind, [self._at(made, [start]), rest, *made.parts[2:]])
        indices = self._indices(node, kind, index)
        pointer = self._at(made, indices)
        if len(indices) < kind.rank:
            return Value(
                Elements(kind.dtype, kind.rank - len(indices)),
                [pointer, *made.parts[1 + len(indices) :]],
            )
        return self._load(pointer, kind)

    def _indices(self, node: ast.AST, kind: Elements, index: ast.expr) -> list[Any]:
        items = index.elts if isinstance(index, ast.Tuple) else [index]
        if len(items) > kind.rank:
            self._refuse(node, f"an array of {kind.rank} axes")
        return [self._as(int, self._value(item), item).parts[0] for item in items]

    def _at(self, array: Value, indices: Sequence[Any]) -> Any:
        """Where a[i, j, ...] lies; axes left out count as 0."""
        offset = indices[0]
        for k in range(1, array.type.rank):
            offset = self.b.mul(offset, array.parts[1 + k], flags=["nsw"])
            if k < len(indices):
                offset = self.b.add(offset, indices[k], flags=["nsw"])
        return self.b.gep(array.parts[0], [offset])

    def _element(self, target: ast.Subscript) -> tuple[Any, Elements]:
        array = self._value(target.value)
        if not isinstance(array.type, Elements) or isinstance(target.slice, ast.Slice):
            self._refuse(target, "only elements of arrays can be assigned")
        indices = self._indices(target, array.type, target.slice)
        if len(indices) < array.type.rank:
            self._refuse(target, "only single elements can be assigned")
        return self._at(array, indices), array.type

    def _load(self, pointer: Any, array: Elements) -> Value:
        part = self.b.load(pointer)
        if array.scalar is bool:
            part = self.b.icmp_unsigned("!=", part, part.type(0))
        elif array.scalar is int and part.type != I64:
            part = (self.b.zext if array.dtype[0] == "u" else self.b.sext)(part, I64)
        return Value(array.scalar, [part])

    def _store(self, node: ast.AST, pointer: Any, array: Elements, made: Value) -> None:
        part, kind = self._as(array.scalar, made, node).parts[0], pointer.type.pointee
        if part.type != kind:
            part = self.b.zext(part, kind) if array.scalar is bool else self.b.trunc(part, kind)
        self.b.store(part, pointer)

    def _as(self, kind: Any, made: Value, node: ast.AST) -> Value:
        """As `kind`: integers become floats where they have to."""
        if kind == made.type:
            return made
        if kind is float and made.type is int:
            return Value(float, [self.b.sitofp(made.parts[0], F64)])
        if (
            isinstance(kind, Fields)
            and isinstance(made.type, Fields)
            and len(kind.types) == len(made.type.types)
        ):
            fields = [self._as(one, self._field(made, k), node) for k, one in enumerate(kind.types)]
            return Value(kind, [part for field in fields for part in field.parts])
        self._refuse(node, f"expected {kind}, got {made.type}")

    def _bool(self, node: ast.expr) -> Value:
        return self._as(bool, self._value(node), node)

    def _truth(self, node: ast.expr) -> Any:
        made = self._value(node)
        if made.type is bool:
            return made.parts[0]
        if made.type is int:
            return self.b.icmp_signed("!=", made.parts[0], I64(0))
        self._refuse(node, f"{made.type} is not a condition: compare it")

    def _common(self, node: ast.AST, a: Value, b: Value) -> tuple[Value, Value]:
        if {a.type, b.type} == {int, float}:
            return self._as(float, a, node), self._as(float, b, node)
        return a, self._as(a.type, b, node)

    def _choose(
        self, node: ast.AST, test: Any, then: Callable[[], Value], otherwise: Callable[[], Value]
    ) -> Value:
        """One of two values, of which the other is not computed."""
        blocks = [self.b.append_basic_block(name) for name in ("chosen", "other", "both")]
        self.b.cbranch(test, blocks[0], blocks[1])
        made, ends = [], []
        for block, side in zip(blocks, (then, otherwise), strict=False):
            self.b.position_at_end(block)
            made.append(side())
            ends.append(self.b.block)
        kind = float if {made[0].type, made[1].type} == {int, float} else made[0].type
        for k in range(2):
            self.b.position_at_end(ends[k])
            made[k] = self._as(kind, made[k], node)
            self.b.branch(blocks[2])
        self.b.position_at_end(blocks[2])
        parts = []
        for pair in zip(made[0].parts, made[1].parts, strict=True):
            parts.append(self.b.phi(pair[0].type))
            for part, end in zip(pair, ends, strict=True):
                parts[-1].add_incoming(part, end)
        return Value(kind, parts)

    def _compared(self, node: ast.AST, sign: str, left: Value, right: Value) -> Any:
        left, right = self._common(node, left, right)
        if left.type is float:
            return (self.b.fcmp_unordered if sign == "!=" else self.b.fcmp_ordered)(
                sign, left.parts[0], right.parts[0]
            )
        if left.type is int:
            return self.b.icmp_signed(sign, left.parts[0], right.parts[0])
        self._refuse(node, "only numbers compare")

    def _operation(self, node: ast.AST, op: ast.operator, left: Value, right: Value) -> Value:
        b = self.b
        if isinstance(op, ast.Div):
            left, right = self._as(float, left, node), self._as(float, right, node)
        else:
            left, right = self._common(node, left, right)
        x, y = left.parts[0], right.parts[0]
        match op, left.type:
            case ((ast.Add() | ast.Sub() | ast.Mult() | ast.Div()), t) if t is float:
                return Value(
                    float,
                    [
                        {ast.Add: b.fadd, ast.Sub: b.fsub, ast.Mult: b.fmul, ast.Div: b.fdiv}[
                            type(op)
                        ](x, y)
                    ],
                )
            case ((ast.Add() | ast.Sub() | ast.Mult()), t) if t is int:
                return Value(
                    int, [{ast.Add: b.add, ast.Sub: b.sub, ast.Mult: b.mul}[type(op)](x, y)]
                )
            case ast.RShift(), t if (
                t is int and isinstance(y, ir.Constant) and 0 <= y.constant < 64
            ):
                return Value(int, [b.ashr(x, y)])
            case ast.FloorDiv(), t if t is int:
                y = b.select(b.icmp_signed("==", y, I64(0)), I64(1), y)
                quotient = b.sdiv(x, y)
                rest = b.sub(x, b.mul(quotient, y))
                lower = b.and_(
                    b.icmp_signed("!=", rest, I64(0)), b.icmp_signed("<", b.xor(rest, y), I64(0))
                )
                return Value(int, [b.sub(quotient, b.zext(lower, I64))])
        self._refuse(node, "this operation is not in the subset")

    def _call(self, node: ast.Call, function: Any, items: Sequence[ast.expr]) -> Value:
        made = [self._value(item) for item in items]
        if isinstance(function, Routine):
            _, types, result = function.signature
            if len(types) != len(made):
                self._refuse(node, f"{function.name} takes {len(types)} arguments")
            parts = [
                part
                for kind, one in zip(types, made, strict=True)
                for part in self._as(kind, one, node).parts
            ]
            answer = self.b.call(function.declared(self.made.module), parts)
            count = len(flat(result))
            return Value(
                result,
                (
                    [self.b.extract_value(answer, k) for k in range(count)]
                    if count > 1
                    else [answer][:count]
                ),
            )
        match len(made):
            case 2 if function in (min, max):
                a, b = self._common(node, *made)
                second = self._compared(node, "<" if function is min else ">", b, a)
                return Value(a.type, [self.b.select(second, b.parts[0], a.parts[0])])
            case 1 if function is len and isinstance(made[0].type, Elements):
                return Value(int, [made[0].parts[1]])
            case 1 if function is abs and made[0].type is float:
                return Value(float, [self._external("llvm.fabs.f64", F64, made[0].parts[0])])
            case 1 if function is int and made[0].type is float:
                return Value(
                    int, [self._external("llvm.fptosi.sat.i64.f64", I64, made[0].parts[0])]
                )
            case 1 if function in MATHS:
                return Value(
                    float,
                    [self._external(MATHS[function], F64, self._as(float, made[0], node).parts[0])],
                )
        self._refuse(node, "this call is not in the subset")

    def _external(self, name: str, result: Any, x: Any) -> Any:
        module = self.made.module
        return self.b.call(
            module.globals.get(name) or ir.Function(module, ir.FunctionType(result, [F64]), name),
            [x],
        )
