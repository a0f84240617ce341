"""The base class of KALE, the Moreau envelopes and the de-regularised MMD."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import Fit, KernelEnergy, OneKernel
from particleflow.estimators.envelope.penalty import Penalty, as_penalty, penalty_at, remembering
from particleflow.kept import Kept
from particleflow.kernels import Kernel
from particleflow.pairwise import PairwiseSum
from particleflow.pairwise.base import check_backend

# The remedy in the error about a bad lam.
REMEDY = "it is the weight of the penalty; 1e-2 is a fair start, larger is nearer to MMD"


class Regularised(KernelEnergy, OneKernel, ABC):
    """An estimator with a kernel and a penalty lam, which a schedule may change.

    Subclasses are frozen dataclasses with the fields below, and fit the clouds at one lam.
    """

    kernel: Kernel | None
    lam: Penalty
    rtol: float
    pairwise: PairwiseSum
    _base: Kept
    deterministic: ClassVar[bool] = True
    smooth_witness: ClassVar[bool] = True
    needs_target: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_backend(self.pairwise)
        object.__setattr__(self, "lam", as_penalty(self.lam, REMEDY))
        _checks.positive(self.rtol, "rtol")

    @abstractmethod
    def _fit(self, x: Cloud, y: Cloud, lam: float, memory: Memory) -> Fit: ...

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        assert y is not None
        found = self._fit(x, y, penalty_at(self.lam, clock, memory), memory)
        return remembering(found, self.lam, memory)
