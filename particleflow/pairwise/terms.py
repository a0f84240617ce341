"""What is summed."""

from __future__ import annotations

from enum import Enum


class What(Enum):
    """Which sum is wanted. The last axis of the answer: the value, the gradient's coordinates, both
    in this order, the laplacian.
    """

    VALUE = "value"
    GRAD = "gradient"
    BOTH = "value and gradient"
    LAPLACIAN = "laplacian"

    def components(self, d: int) -> int:
        return {What.GRAD: d, What.BOTH: 1 + d}.get(self, 1)
