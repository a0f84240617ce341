"""Stand in for Python's statements in a staged function: `staging` puts these calls in.

Plain numbers, lists and functions are known while the code is written. A condition on them chooses
the code that is written, and a loop over them is unrolled. Conditions and loops on a `Value` become
part of the code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import cast

from particleflow.pairwise.codegen.arrays import Address, Array
from particleflow.pairwise.codegen.llvm import ir
from particleflow.pairwise.codegen.values import (
    REAL,
    TRUTH,
    WHOLE,
    Integer,
    Kind,
    Number,
    Value,
    common,
    external,
    kind_of,
    select,
)
from particleflow.pairwise.codegen.writer import writer

UNSET = object()


def is_code(x: object) -> bool:
    """Whether x fits a variable of the code: a number, an array, or a tuple or list of these."""
    if isinstance(x, tuple | list):
        return all(is_code(one) for one in x)
    return isinstance(x, Value | Array | bool | int | float)


def parts(x: object) -> list[Value]:
    """The values in a number, an array, or a tuple or list of these."""
    if isinstance(x, tuple | list):
        return [part for one in x for part in parts(one)]
    if isinstance(x, Array):
        return [Value(Address(x.element), x.pointer), *parts([n for n in x.shape if n is not None])]
    number = cast("Number | None", x)
    return [] if number is None else [kind_of(number)(number)]


def rebuilt(like: object, values: Iterator[Value]) -> object:
    """The structure of `like` with other parts."""
    if isinstance(like, tuple | list):
        make: Callable[..., object] = type(like)
        made = [rebuilt(one, values) for one in like]
        return make(*made) if hasattr(like, "_fields") else make(made)
    if isinstance(like, Array):
        pointer = next(values).llvm
        shape = (None if length is None else next(values) for length in like.shape)
        return Array(pointer, like.element, tuple(shape))
    return None if like is None else next(values)


def as_kind(kind: Kind, x: Value) -> Value:
    """Convert x as an assignment may: integers to floats, a number to all lanes."""
    if x.kind not in (kind, Kind(kind.element)) and (kind, x.kind) != (REAL, WHOLE):
        raise TypeError(
            f"a variable of {kind} cannot become {x.kind}: its first value sets its kind"
        )
    return kind(x)


class Variable:
    """A name of the code that is assigned more than once."""

    def __init__(self, first: object) -> None:
        self._like = first
        self._kinds = [part.kind for part in parts(first)]
        self._places = [writer().place(kind.type) for kind in self._kinds]
        self.set(first)

    def set(self, x: object) -> None:
        if len(parts(x)) != len(self._kinds):
            raise TypeError(f"{x!r} does not fit what was there first: {self._like!r}")
        for kind, place, part in zip(self._kinds, self._places, parts(x), strict=True):
            writer().builder.store(as_kind(kind, part).llvm, place)

    def get(self) -> object:
        loaded = (writer().builder.load(place) for place in self._places)
        return rebuilt(self._like, map(Value, self._kinds, loaded))


def kept(old: object, new: object) -> object:
    """The content of a name after `name = new`."""
    if isinstance(old, Variable):
        old.set(new)
        return old
    if is_code(new):
        return Variable(new)
    if writer().branches and old is not UNSET:
        raise TypeError(f"only numbers and arrays change when the code runs, not {new!r}")
    return new


def read(name: str, held: object) -> object:
    if held is UNSET:
        raise TypeError(f"`{name}` is used before it is assigned")
    return held.get() if isinstance(held, Variable) else held


@dataclass(frozen=True)
class Steps:
    """A range whose limits are known when the code runs."""

    begin: Value
    end: Value
    step: Value | int


def span(*limits: Integer) -> range | Steps:
    """Stand in for `range`: Python's own where all limits are known."""
    if not any(isinstance(limit, Value) for limit in limits):
        return range(*limits)
    begin, end = (0, limits[0]) if len(limits) == 1 else limits[:2]
    return Steps(WHOLE(begin), WHOLE(end), limits[2] if len(limits) == 3 else 1)


def each(items: Iterable[object] | Steps) -> Iterator[object]:
    """`for item in items`: one loop of the code over Steps, unrolled for anything else."""
    w = writer()
    if not isinstance(items, Steps):
        for item in items:
            w.loops.append(None)
            yield item
            w.loops.pop()
        return
    place = w.place(WHOLE.type)
    w.builder.store(items.begin.llvm, place)
    rises = isinstance(items.step, Value) or items.step > 0

    def onward() -> None:
        ahead = w.builder.add(w.builder.load(place), WHOLE(items.step).llvm, flags=["nsw"])
        w.builder.store(ahead, place)

    def counter() -> Value:
        return Value(WHOLE, w.builder.load(place))

    for _ in repeat(lambda: counter() < items.end if rises else counter() > items.end, onward):
        yield counter()


def repeat(test: Callable[[], object], onward: Callable[[], None] | None = None) -> Iterator[None]:
    """`while test()`. Each further test is preceded by `onward`."""
    w = writer()
    head, body, following, after = w.blocks("head", "body", "next", "after")
    w.go(head)
    w.builder.cbranch(truth(test()).llvm, body, after)
    w.builder.position_at_end(body)
    w.loops.append((following, after))
    w.branches += 1
    yield
    w.branches -= 1
    w.loops.pop()
    w.go(following)
    if onward:
        onward()
    w.go(head, after)


def again() -> None:
    """`continue`."""
    _jump(0)


def stop() -> None:
    """`break`."""
    _jump(1)


def _jump(which: int) -> None:
    loop = writer().loops[-1]
    if loop is None:
        raise TypeError("`break` and `continue` need a loop of the code: this one is unrolled")
    # The rest of Python's block is not reached.
    writer().go(loop[which], writer().blocks("unreached")[0])


def cases(test: object) -> Iterator[bool]:
    """`if test`: yields True, then False for else. A known test yields one of them."""
    if not isinstance(test, Value):
        yield bool(test)
        return
    w = writer()
    then, otherwise, after = w.blocks("then", "else", "after")
    w.builder.cbranch(truth(test).llvm, then, otherwise)
    w.branches += 1
    for block, case in ((then, True), (otherwise, False)):
        w.builder.position_at_end(block)
        yield case
        w.builder.branch(after)
    w.branches -= 1
    w.builder.position_at_end(after)


def choose(test: object, then: Callable[[], object], otherwise: Callable[[], object]) -> object:
    """`then() if test else otherwise()`: only the chosen one is computed."""
    if not isinstance(test, Value):
        return then() if test else otherwise()
    made: list[object] = []
    w = writer()
    ends = []
    for case in cases(test):
        made.append(then() if case else otherwise())
        ends.append(w.builder.block)
    values = []
    for a, b in zip(*(parts(one) for one in made), strict=True):
        kind = REAL if {a.kind, b.kind} == {REAL, WHOLE} else a.kind
        node = w.builder.phi(kind.type)
        for end, part in zip(ends, (a, b), strict=True):
            with w.builder.goto_block(end):
                node.add_incoming(as_kind(kind, part).llvm, end)
        values.append(Value(kind, node))
    return rebuilt(made[0], iter(values))


def both(first: object, second: Callable[[], object]) -> object:
    """`first and second()`."""
    if not isinstance(first, Value):
        return first and second()
    return choose(first, lambda: truth(second()), lambda: False)


def either(first: object, second: Callable[[], object]) -> object:
    """`first or second()`."""
    if not isinstance(first, Value):
        return first or second()
    return choose(first, lambda: True, lambda: truth(second()))


def negated(x: object) -> object:
    return ~truth(x) if isinstance(x, Value) else not x


def truth(x: object) -> Value:
    if not isinstance(x, Value):
        return TRUTH(bool(x))
    if x.kind.floating or x.kind.lanes:
        raise TypeError(f"{x.kind} is not a condition: compare it")
    return x if x.kind == TRUTH else x != 0


class Call:
    """A call of a staged function, and the place of its result."""

    def __init__(self) -> None:
        self._exit: ir.Block | None = None
        self._result: object = None

    def leave(self, result: object) -> None:
        """`return result` where more code may follow."""
        writer().go(self._exit_with(result), writer().blocks("unreached")[0])

    def end(self, result: object) -> object:
        """`return result` in the function's last line."""
        if self._exit is None:
            return result
        writer().go(self._exit_with(result))
        return self._result.get() if isinstance(self._result, Variable) else self._result

    def _exit_with(self, result: object) -> ir.Block:
        """Store the result, and give the block after the call."""
        if self._exit is None:
            self._exit = writer().blocks("exit")[0]
            self._result = Variable(result) if is_code(result) else result
        elif isinstance(self._result, Variable):
            self._result.set(result)
        elif result is not self._result:
            raise TypeError(f"returns {result!r} here and {self._result!r} elsewhere")
        return self._exit


def least(*items: Number) -> Number:
    """`min` of two, as in Python: the first unless the second is smaller."""
    if not any(isinstance(item, Value) for item in items):
        return min(*items)
    a, b = common(*items)
    return select(b < a, b, a)


def most(*items: Number) -> Number:
    if not any(isinstance(item, Value) for item in items):
        return max(*items)
    a, b = common(*items)
    return select(b > a, b, a)


def length(x: Array | Sized) -> Integer | None:
    return x.shape[0] if isinstance(x, Array) else len(x)


def truncated(x: Number) -> Integer:
    """`int(x)`, towards 0. NaN gives 0, too large a number gives the largest integer."""
    if not isinstance(x, Value):
        return int(x)
    return external("llvm.fptosi.sat.i64.f64", WHOLE, x) if x.kind == REAL else WHOLE(x)


def root(x: Number) -> Number:
    return x.sqrt() if isinstance(x, Value) else math.sqrt(x)


def log1p(x: Number) -> Number:
    return external("log1p", REAL, x) if isinstance(x, Value) else math.log1p(x)
