"""The contract of a sampler: its points are a pure function of a seed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, final, runtime_checkable

import numpy as np
import torch

from particleflow import _checks
from particleflow._typing import Gradients, Points, Queries, Values


@runtime_checkable
class Sampler(Protocol):
    r"""A distribution on :math:`\mathbb{R}^d` from which points can be drawn: `dim` and `sample`.

    Equal seeds give equal bits. Drawing reads and changes no global random state. Every sampler of
    the package fulfils it, and any class of yours with the two members; `pf.testing.check_sampler`
    tells whether it does.
    """

    @property
    def dim(self) -> int:
        """The number d >= 1 of coordinates of a point."""

    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Points:
        """Draw n points: a fresh (n, d) tensor, a pure function of `seed`.

        By default it is float64 on the CPU. The numbers do not depend on `dtype` and `device`.
        """


@runtime_checkable
class Density(Protocol):
    r"""A distribution with a known density p on :math:`\mathbb{R}^d`: `log_density` and `score`.

    Both take queries z of shape (Q, d), a float32 or float64 tensor, and answer in its dtype and on
    its device. A flow needs the score alone, so the constant of the density may be missing there; a
    mixture and a picture of the density need its value.
    """

    def log_density(self, z: Queries) -> Values:
        """The logarithm of the density, (Q,), for z of shape (Q, d); -inf where p is 0."""

    def score(self, z: Queries) -> Gradients:
        """The gradient of the log density, (Q, d), for z of shape (Q, d)."""


class Seeded(ABC):
    """A sampler whose `sample` calls its `draw` with a seeded numpy Generator."""

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw n rows, (n, d) float64, from `rng` alone."""

    @final
    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Points:
        """Draw n points: a fresh (n, d) tensor, by default float64 on the CPU.

        The numbers are always drawn in float64 on the CPU. One seed therefore means the same points
        for every `dtype` and `device`.

        Parameters
        ----------
        n : int
            The number of points, >= 1.
        seed : int
            >= 0. Equal seeds give equal bits; points of different seeds are independent.
        dtype : torch.float32 or torch.float64, optional
            By default float64.
        device : torch.device or str, optional
            By default the CPU.

        Returns
        -------
        (n, d) tensor
            The points, one a row.

        Raises
        ------
        ValueError, TypeError
            `n` is no integer >= 1, `seed` no integer >= 0, `dtype` neither float32 nor float64.
        """
        size = _checks.count(n, "n", remedy="pass how many points to draw, e.g. 300")
        rng = np.random.default_rng(_checks.count(seed, "seed", least=0))
        return torch.from_numpy(self.draw(size, rng)).to(dtype=as_dtype(dtype), device=device)


def as_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """Return `dtype`, or float64 for None; refuse anything but float32 and float64."""
    if dtype is not None and dtype not in _checks.FLOATS:
        raise TypeError(
            f"`dtype` must be torch.float32 or torch.float64, got {_checks.said(dtype)}: pass one"
            " of them, or leave it out"
        )
    return dtype or torch.float64


def same_dim(z: Queries, dim: int) -> None:
    """Refuse queries whose dimension differs from the distribution's."""
    if z.ndim != 2 or z.shape[1] != dim:
        raise ValueError(
            f"`z` must be (Q, {dim}) like the samples, got {tuple(z.shape)}: pass the same"
            " coordinates"
        )
