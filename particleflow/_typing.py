"""Names for the shapes that appear everywhere.

`N` particles, `M` target samples, `Q` query points, `d` coordinates, `K` weight vectors, `T`
recorded times. The test suite checks them at run time (jaxtyping with beartype). In a plain run
they are annotations only.
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
# Flat, tensors only: it goes into an .npz without pickle.
Memory: TypeAlias = Mapping[str, Tensor]

Array: TypeAlias = Float[Tensor, "..."]
Elementwise: TypeAlias = Callable[[Tensor], Tensor]
