"""The sums that a backend can be asked for."""

from __future__ import annotations

from enum import Enum


class What(Enum):
    """One of the sums. Its answer is (Q, K, components).

    The components are the value; the d coordinates of the gradient; both, the value first; or the
    laplacian.
    """

    VALUE = "value"
    GRAD = "gradient"
    BOTH = "value and gradient"
    LAPLACIAN = "laplacian"

    def components(self, d: int) -> int:
        """The length of the answer's last axis, in d dimensions."""
        return {What.GRAD: d, What.BOTH: 1 + d}.get(self, 1)
