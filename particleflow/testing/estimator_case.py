"""The clouds on which an estimator is checked, and its fits to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import (
    Fit,
)
from particleflow.testing.contract import (
    Contract,
)

# Number of particles. N, M and Q differ, so that a swap of two of them shows.
N = 26
# Number of target samples.
M = 37
# Number of queries.
Q = 11
# Step of central differences as a share of the clouds' extent (about 1): above rounding.
STEP = 1e-4
# Relative error allowed of a central difference: its own error is of order STEP^2.
DIFFERENCE = 1e-3


@dataclass(frozen=True)
class Case:
    """An estimator with two pairs of clouds: at one step of a run, and at the next."""

    contract: Contract
    estimator: Any
    x: Cloud
    y: Cloud | None
    later: Cloud
    z: Tensor

    def fit(
        self,
        estimator: Any = None,
        x: Cloud | None = None,
        memory: Memory | None = None,
        clock: Clock | None = None,
    ) -> Fit:
        part = self.estimator if estimator is None else estimator
        arguments = (
            self.x if x is None else x,
            self.y,
            clock or Clock(),
            {} if memory is None else memory,
        )
        remedy = (
            "fit(x, y, clock, memory) gets clouds of any numbers of points, and an empty memory at"
            " first"
        )
        fit: Fit = self.contract.call(part.fit, *arguments, clause="fit must work", remedy=remedy)
        return fit

    def told(self, fit: Fit) -> tuple[Any, ...]:
        """Return all that a fit says: value and gradient of its witness, its memory, its value."""
        return (*fit.witness.value_and_grad(self.z), fit.memory, fit.value)
