"""Caches that threads may share, and that an interrupt leaves whole.

Dropping a cache changes nothing but the time. Every cache of the package is one of these, a
`kept.Kept`, or an `lru_cache` of a pure function. They obey four rules:

- A caller gets the object made for its own key, from a local variable. It never gets what another
  thread stored meanwhile.
- An entry appears at once, when it is complete. An exception or a KeyboardInterrupt while it is
  made leaves no entry.
- No lock is held while an object is made: a user's kernel may wait for another thread, and a fork
  inherits no closed lock.
- A kept object is never changed. A cache is not copied or pickled with its owner: the copy begins
  with an empty one.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, cast

from torch import Tensor

Made = TypeVar("Made")
Arguments = ParamSpec("Arguments")


class _Absent(Enum):
    ENTRY = 0


# Stands for an absent entry: None may be kept.
_MISSING: Final = _Absent.ENTRY


def cached(
    most: int,
) -> Callable[[Callable[Arguments, Made]], Callable[Arguments, Made]]:
    """`functools.lru_cache` of a pure function, with the types of its arguments kept.

    The type of functools' own asks for `Hashable`, which none of our protocols states. Built-in
    kernels and kernels that declare their scale are hashable; a `Kernel` in general is not.
    """
    made = functools.lru_cache(maxsize=most)
    return cast("Callable[[Callable[Arguments, Made]], Callable[Arguments, Made]]", made)


class Memo(Generic[Made]):
    """Objects by key: the last `most` entries, or all of them.

    Two threads may make the same entry at the same time. The first to end wins, and both get its
    object.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._made: dict[object, Made] = {}

    def get(self, key: object, make: Callable[[], Made]) -> Made:
        """The object kept under `key` (hashable), else the result of make()."""
        made = self._made
        found = made.get(key, _MISSING)
        if found is _MISSING:
            # each line is one operation on the dictionary, which no other thread can divide
            found = made.setdefault(key, make())
            if self._most is not None:
                for old in list(made)[: -self._most]:
                    made.pop(old, None)
        return found

    def __len__(self) -> int:
        return len(self._made)

    def values(self) -> list[Made]:
        """The kept objects, the oldest first."""
        return list(self._made.values())

    def clear(self) -> None:
        self._made = {}

    def __reduce__(self) -> tuple[type, tuple[int | None]]:
        return Memo, (self._most,)


if TYPE_CHECKING:
    from functools import cached_property as cached_property
else:

    class cached_property(functools.cached_property):  # noqa: N801 - named as functools' own
        """An attribute that is computed at its first use.

        functools' own (in Python 3.11) holds one lock for all objects of a class meanwhile: a
        kernel that waits for a thread would wait for ever.
        """

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:
                return self
            kept = instance.__dict__
            found = kept.get(self.attrname, _MISSING)
            return (
                kept.setdefault(self.attrname, self.func(instance)) if found is _MISSING else found
            )


class Same:
    """A tensor as a key: equal to the same object, as long as nobody has written to it.

    With `written=True` writing does not matter. The key keeps the tensor alive, so that no other
    object takes its address.
    """

    def __init__(self, tensor: Tensor, *, written: bool = False) -> None:
        self._tensor = tensor
        # inference tensors count no versions: such a key equals no other
        self._version: object = (
            None if written else object() if tensor.is_inference() else tensor._version
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Same)
            and self._tensor is other._tensor
            and self._version == other._version
        )

    def __hash__(self) -> int:
        return id(self._tensor)


class Spares(Generic[Made]):
    """Tools that serve one caller at a time, such as plans with working memory of their own.

    A caller takes a free tool, or makes one.
    """

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._free: list[Made] = [make()]

    @contextmanager
    def one(self) -> Iterator[Made]:
        try:
            tool = self._free.pop()
        except IndexError:
            tool = self._make()
        yield tool
        # not after an exception: it may have stopped in the middle of its work
        self._free.append(tool)

    def __reduce__(self) -> tuple[type, tuple[Callable[[], Made]]]:
        return Spares, (self._make,)


class Turn:
    """A lock for what the whole process has once, such as a compiler or a global random state.

    A forked child finds it free. It lasts as long as the process: make it when a module is
    imported.
    """

    def __init__(self) -> None:
        self._renew()
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()
