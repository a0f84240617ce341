"""The clouds on which an estimator is checked, and how it is fitted to them."""

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

# Particles, target samples and queries: three numbers, so that none can stand for another.
N, M, Q = 26, 37, 11
# Central differences: the step as a share of the clouds' extent (about 1), and the relative error
# allowed.
STEP, DIFFERENCE = 1e-4, 1e-3


@dataclass(frozen=True)
class Case:
    """An estimator with two pairs of clouds: where a run stands, and where it stands one step
    later.
    """

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
        """All that a fit says: value and gradient of its witness, its memory, its value."""
        return (*fit.witness.value_and_grad(self.z), fit.memory, fit.value)
