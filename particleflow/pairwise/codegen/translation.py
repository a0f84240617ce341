"""From a function in the part of Python that `scalar` describes to LLVM's IR: one walk over its
syntax tree. Variables live on the stack until LLVM moves them to registers; they begin as zeros,
empty arrays too.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from particleflow.pairwise.codegen.expressions import Expressions
from particleflow.pairwise.codegen.types import I64, Fields, Routine, Value, flat

NOTHING = Value(type(None), [])


class Body(Expressions):
    """Writes the function's statements."""

    def __init__(self, function: Routine, made: ir.Function) -> None:
        super().__init__(function, made)
        self.loops: list[tuple[ir.Block, ir.Block]] = []  # where `continue` and `break` go

    def write(self) -> None:
        parts = iter(self.made.args)
        for name, kind in zip(self.names, self.types, strict=True):
            self._keep(name, Value(kind, [next(parts) for _ in flat(kind)]))
        self._run(self.tree.body)
        if not self.b.block.is_terminated:
            if self.result is not type(None):
                self._refuse(self.tree, "it can end without a result")
            self.b.ret_void()
        self.entry.branch(self.made.blocks[1])

    def _run(self, statements: Sequence[ast.stmt]) -> None:
        for node in statements:
            if not self.b.block.is_terminated:
                self._statement(node)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Expr(ast.Constant(str())) | ast.Pass():
                pass
            case ast.Expr(ast.Call() as call):
                self._value(call)
            case ast.Assign(targets, expression):
                made = self._value(expression)
                for target in targets:
                    self._assign(target, made)
            case ast.AugAssign(ast.Name(name), op, expression):
                self._keep(
                    name,
                    self._operation(
                        node,
                        op,
                        self._value(ast.copy_location(ast.Name(name), node)),
                        self._value(expression),
                    ),
                    node,
                )
            case ast.AugAssign(ast.Subscript() as target, op, expression):
                pointer, array = self._element(target)
                self._store(
                    node,
                    pointer,
                    array,
                    self._operation(node, op, self._load(pointer, array), self._value(expression)),
                )
            case ast.If(test, body, orelse):
                self._if(self._truth(test), body, orelse)
            case ast.While(test, body, []):
                self._loop(lambda: self._truth(test), lambda: self._run(body), lambda: None)
            case ast.For(ast.Name(name), ast.Call(ast.Name("range"), limits, []), body, []) if (
                1 <= len(limits) <= 3
            ):
                self._for(node, name, limits, body)
            case ast.Continue():
                self.b.branch(self.loops[-1][0])
            case ast.Break():
                self.b.branch(self.loops[-1][1])
            case ast.Return(expression):
                self._return(node, NOTHING if expression is None else self._value(expression))
            case _:
                self._refuse(node, "this statement is not in the subset")

    def _assign(self, target: ast.expr, made: Value) -> None:
        match target:
            case ast.Name(name):
                self._keep(name, made, target)
            case ast.Subscript():
                pointer, array = self._element(target)
                self._store(target, pointer, array, made)
            case ast.Tuple(targets) if isinstance(made.type, Fields) and len(targets) == len(
                made.type.types
            ):
                for k, one in enumerate(targets):
                    self._assign(one, self._field(made, k))
            case _:
                self._refuse(target, f"cannot assign {made.type} to it")

    def _keep(self, name: str, made: Value, node: ast.AST | None = None) -> None:
        if name not in self.variables:
            places = [self.entry.alloca(kind) for kind in flat(made.type)]
            for place in places:
                self.entry.store(ir.Constant(place.type.pointee, None), place)
            self.variables[name] = Value(made.type, places)
        kept = self.variables[name]
        for part, place in zip(
            self._as(kept.type, made, node or self.tree).parts, kept.parts, strict=True
        ):
            self.b.store(part, place)

    def _return(self, node: ast.AST, made: Value) -> None:
        parts = self._as(self.result, made, node).parts
        if len(parts) < 2:
            self.b.ret(parts[0]) if parts else self.b.ret_void()
            return
        answer: Any = ir.Constant(self.made.function_type.return_type, ir.Undefined)
        for k, part in enumerate(parts):
            answer = self.b.insert_value(answer, part, k)
        self.b.ret(answer)

    def _if(self, test: Any, body: Sequence[ast.stmt], orelse: Sequence[ast.stmt]) -> None:
        then, otherwise, after = (
            self.b.append_basic_block(name) for name in ("then", "else", "after")
        )
        self.b.cbranch(test, then, otherwise)
        met = False
        for block, statements in ((then, body), (otherwise, orelse)):
            self.b.position_at_end(block)
            self._run(statements)
            if not self.b.block.is_terminated:
                self.b.branch(after)
                met = True
        self.b.position_at_end(after)
        if not met:
            self.b.unreachable()

    def _loop(
        self, test: Callable[[], Any], body: Callable[[], None], step: Callable[[], None]
    ) -> None:
        top, inside, onward, after = (
            self.b.append_basic_block(name) for name in ("test", "loop", "next", "after")
        )
        self.b.branch(top)
        self.b.position_at_end(top)
        self.b.cbranch(test(), inside, after)
        self.b.position_at_end(inside)
        self.loops.append((onward, after))
        body()
        self.loops.pop()
        if not self.b.block.is_terminated:
            self.b.branch(onward)
        self.b.position_at_end(onward)
        step()
        self.b.branch(top)
        self.b.position_at_end(after)

    def _for(
        self, node: ast.For, name: str, limits: Sequence[ast.expr], body: Sequence[ast.stmt]
    ) -> None:
        made = [self._as(int, self._value(limit), limit).parts[0] for limit in limits]
        first, last = (I64(0), made[0]) if len(made) == 1 else made[:2]
        step = made[2] if len(made) == 3 else I64(1)
        if not isinstance(step, ir.Constant) or step.constant == 0:
            self._refuse(node.iter, "the step must be a constant other than 0")
        counter = self.entry.alloca(I64)
        self.b.store(first, counter)

        def inside() -> None:
            self._keep(name, Value(int, [self.b.load(counter)]), node)
            self._run(body)

        self._loop(
            lambda: self.b.icmp_signed(
                "<" if step.constant > 0 else ">", self.b.load(counter), last
            ),
            inside,
            lambda: (
                self.b.store(self.b.add(self.b.load(counter), step, flags=["nsw"]), counter)
                and None
            ),
        )
