"""Names for the shapes that appear everywhere.

`N` particles, `M` target samples, `Q` query points, `d` coordinates, `K` weight vectors, `T`
recorded times. The names are checked at run time by the test suite (jaxtyping with beartype); in a
plain run they are annotations only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

Points: TypeAlias = Float[Tensor, "N d"]
Queries: TypeAlias = Float[Tensor, "Q d"]
Values: TypeAlias = Float[Tensor, "Q"]
Gradients: TypeAlias = Float[Tensor, "Q d"]
Memory: TypeAlias = Mapping[str, Tensor]
"""Flat, tensors only, so that it goes into an .npz without pickle."""

Array: TypeAlias = Float[Tensor, "..."]
Elementwise: TypeAlias = Callable[[Tensor], Tensor]
