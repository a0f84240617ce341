"""A cache of one result computed from a cloud, kept while clouds of the same numbers return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from particleflow.clouds import Cloud, FixedCloud
from particleflow.memo import Made


@dataclass(frozen=True, eq=False)
class _Entry:
    """A result `made` from a cloud and from `of`, which is all else that it depends on.

    `given` is the cloud's object, `copy` a copy of its numbers.
    """

    given: Cloud
    copy: Cloud
    of: Any
    made: Any

    def serves(self, cloud: Cloud, of: Any) -> bool:
        if not (self.of is of or (self.of == of) is True):
            return False
        known = cloud is self.given and isinstance(cloud, FixedCloud)
        return known or (
            _same(self.copy.points, cloud.points) and _same(self.copy.log_mass, cloud.log_mass)
        )


class Kept:
    """A cache of one result computed from a cloud; dropping it changes nothing but the time.

    It is kept while clouds with the same numbers come back. The numbers are compared with a copy,
    O(N d), since a tensor's identity and version miss what numpy writes into shared memory. The
    numbers of a `FixedCloud` are not compared. Threads may share the cache (see `memo`): its entry
    is read once and replaced at once.
    """

    def __init__(self) -> None:
        self._entry: _Entry | None = None

    def get(self, cloud: Cloud, make: Callable[[], Made], of: Any = None) -> Made:
        """The kept value if `cloud` and `of` equal those of the last call, else make().

        `of` is all else that the value depends on, such as a kernel.
        """
        entry = self._entry
        if entry is None or not entry.serves(cloud, of):
            # the copy first: it holds what make() began with, even if the points change meanwhile
            copy = cloud.copy()
            entry = _Entry(cloud, copy, of, make())
            self._entry = entry
        elif cloud is not entry.given:
            self._entry = replace(entry, given=cloud)
        made: Made = entry.made
        return made

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Kept, ()


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    if a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
        return False
    return torch.equal(_bits(a), _bits(b))


def _bits(points: Tensor) -> Tensor:
    """The same memory as integers, of eight bytes each where they fit.

    Integers are compared twice as fast as floats, and a NaN equals itself.
    """
    flat = points.contiguous().view(-1)
    even = flat.dtype == torch.float64 or (len(flat) % 2 == 0 and flat.storage_offset() % 2 == 0)
    return flat.view(torch.int64 if even else torch.int32)
