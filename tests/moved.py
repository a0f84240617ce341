"""A backend run on another device, so that `check_backend`, which knows the CPU alone, can check it
there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Moved:
    """A backend that sums on another device, and answers here."""

    backend: Any
    device: str

    def sources(self, kernel: Any, points: torch.Tensor) -> MovedSources:
        return MovedSources(
            self.backend.sources(kernel, points.to(self.device)), points, self.device
        )


@dataclass(frozen=True, eq=False)
class MovedSources:
    there: Any
    points: torch.Tensor
    device: str

    def field(self, w: torch.Tensor) -> MovedField:
        return MovedField(self.there.field(w.to(self.device)), self.device)

    def prepare(self, z: torch.Tensor) -> MovedQueries:
        return MovedQueries(z.detach().clone(), self.there.prepare(z.to(self.device)))


@dataclass(frozen=True, eq=False)
class MovedQueries:
    points: torch.Tensor
    there: Any


@dataclass(frozen=True, eq=False)
class MovedField:
    there: Any
    device: str

    def __add__(self, other: MovedField) -> MovedField:
        return MovedField(self.there + other.there, self.device)

    def reduce(self) -> MovedField:
        return MovedField(self.there.reduce(), self.device)

    def value(self, z: Any) -> torch.Tensor:
        return self.there.value(self._moved(z)).cpu()

    def grad(self, z: Any) -> torch.Tensor:
        return self.there.grad(self._moved(z)).cpu()

    def laplacian(self, z: Any) -> torch.Tensor:
        return self.there.laplacian(self._moved(z)).cpu()

    def value_and_grad(self, z: Any) -> tuple[torch.Tensor, torch.Tensor]:
        value, grad = self.there.value_and_grad(self._moved(z))
        return value.cpu(), grad.cpu()

    def log(self, z: Any) -> tuple[torch.Tensor, torch.Tensor]:
        value, grad = self.there.log(self._moved(z))
        return value.cpu(), grad.cpu()

    def explain(self, z: Any) -> Any:
        return self.there.explain(self._moved(z))

    def promise(self, z: Any) -> Any:
        return self.there.promise(self._moved(z))

    def _moved(self, z: Any) -> Any:
        return z.there if isinstance(z, MovedQueries) else z.to(self.device)
