"""Samplers of existing points: arrays, scikit-learn's data sets, and minibatches."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from particleflow import _checks
from particleflow._refusals import RefusedTypeError, RefusedValueError
from particleflow._supplied import Supplied
from particleflow._typing import Points
from particleflow.clouds import Clock, Cloud
from particleflow.samplers.base import Sampler, Seeded, as_dtype


class Rows(Seeded):
    """Rows drawn from `points`, a float64 tensor (M, d) on the CPU.

    A sample of n rows is in random order and holds every row floor(n / M) or ceil(n / M) times. Up
    to n = M the rows are therefore drawn without replacement.
    """

    points: Points

    @property
    def dim(self) -> int:
        return self.points.shape[1]

    def __len__(self) -> int:
        return self.points.shape[0]

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        passes, rest = divmod(n, len(self))
        index = np.concatenate(
            [
                np.repeat(np.arange(len(self)), passes),
                rng.choice(len(self), size=rest, replace=False),
            ]
        )
        return self.points.numpy()[rng.permutation(index)]


@dataclass(frozen=True, init=False, eq=False)
class FromArray(Rows):
    """The rows of an array, a list or a tensor, which is copied.

    Raises
    ------
    ValueError, TypeError
        `points` is not (M, d), is empty, not numeric, or not finite; the message names the first
        bad row.
    """

    points: Points

    def __init__(self, points: Any) -> None:
        if isinstance(points, Cloud):
            raise RefusedTypeError(
                "points",
                "must be an array",
                "a Cloud, whose masses would be lost",
                "take the cloud as a target, or pass cloud.points",
            )
        object.__setattr__(
            self, "points", _checks.as_points(points, "points", dtype=torch.float64, device="cpu")
        )

    def __repr__(self) -> str:
        return f"FromArray({len(self)} points of {self.dim} coordinates)"


@dataclass(frozen=True, kw_only=True)
class _Shipped(Rows):
    """A data set that comes with scikit-learn; the object reads it once, when it is made."""

    pca: int | None = None
    standardise: bool = False
    points: Points = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _checks.flag(self.standardise, "standardise")
        rows = self._load()
        if self.pca is not None and _checks.count(self.pca, "pca") > rows.shape[1]:
            raise RefusedValueError(
                "pca",
                f"must be at most {rows.shape[1]}, the number of columns of {type(self).__name__}",
                self.pca,
            )
        if self.standardise:
            spread = rows.std(axis=0)
            rows = (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        if self.pca is not None:
            rows = _principal(rows, self.pca)
        object.__setattr__(
            self, "points", torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float64))
        )

    @abstractmethod
    def _load(self) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True)
class Digits(_Shipped):
    """1797 handwritten digits of 8 x 8 pixels: (1797, 64), intensities in [0, 1].

    Parameters
    ----------
    pca : int, optional
        Project on the first principal components (centred).
    standardise : bool
        Divide every column by its standard deviation first (a constant column stays 0).
    """

    def _load(self) -> np.ndarray:
        from sklearn.datasets import load_digits

        return load_digits().data / 16


@dataclass(frozen=True, kw_only=True)
class Iris(_Shipped):
    """Lengths and widths of 150 iris flowers, in centimetres: (150, 4).

    `pca` and `standardise` are as in `Digits`.
    """

    def _load(self) -> np.ndarray:
        from sklearn.datasets import load_iris

        return load_iris().data


@dataclass(frozen=True, kw_only=True)
class Wine(_Shipped):
    """13 measurements of 178 wines: (178, 13).

    `pca` is as in `Digits`. The columns are standardised by default, since their units differ by a
    factor of 1000.
    """

    standardise: bool = True

    def _load(self) -> np.ndarray:
        from sklearn.datasets import load_wine

        return load_wine().data


def _principal(rows: np.ndarray, d: int) -> np.ndarray:
    """Return coordinates (M, d) along the first d principal axes.

    Each axis is turned so that its largest entry is positive.
    """
    mean, axes = principal_axes(rows, d)
    return (rows - mean) @ axes.T


def principal_axes(rows: np.ndarray, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the rows and their first d principal axes, one a row."""
    mean = rows.mean(axis=0)
    axes = np.linalg.svd(rows - mean, full_matrices=False)[2][:d]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return mean, axes * np.sign(largest)


@dataclass(frozen=True)
class Minibatch:
    """A target of `size` fresh points of a sampler at every step.

    The points are a pure function of the run's seed and the step. All stages of a step, and its
    retries, see the same points.

    Parameters
    ----------
    sampler : Sampler
    size : int
    dtype, device : optional
        Left out: those of the run's particles, or float64 on the CPU outside of a run.
    """

    sampler: Sampler
    size: int
    dtype: torch.dtype | None = field(default=None, kw_only=True)
    device: torch.device | str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.sampler, type):
            raise RefusedTypeError(
                "sampler",
                "must be a sampler",
                f"the class {self.sampler.__name__}",
                f"write {self.sampler.__name__}() with parentheses",
            )
        if not isinstance(self.sampler, Sampler):
            raise RefusedTypeError(
                "sampler",
                "must be a sampler",
                type(self.sampler).__name__,
                "wrap an array in FromArray",
            )
        _checks.count(
            self.size, "size", remedy="pass how many points to draw at every step, e.g. 300"
        )
        as_dtype(self.dtype)
        if self.device is not None:
            try:
                torch.device(self.device)
            except (RuntimeError, TypeError):
                told = f"got {_checks.said(self.device)}: leave it out for that of the particles"
                raise RefusedTypeError(
                    "device", f"must be a device of torch, such as 'cpu' or 'cuda', {told}"
                ) from None

    @property
    def dim(self) -> int:
        return self.sampler.dim

    def at(self, clock: Clock) -> Cloud:
        """Return the points of this step, with equal masses."""
        seed = clock.draws.child_seed("target", clock.step)
        with Supplied("sampler", self.sampler):
            return Cloud(
                self.sampler.sample(self.size, seed=seed, dtype=self.dtype, device=self.device)
            )
