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
    r"""The rows of an array, a list or a tensor, as a distribution; they are copied.

    It is the empirical distribution of the M rows. A sample of n rows is in random order and holds
    every row :math:`\lfloor n / M \rfloor` or :math:`\lceil n / M \rceil` times. Up to n = M the
    rows are therefore drawn without replacement, and `sample(M)` is a permutation. There is no
    `log_density`. For the rows themselves, in their order, pass the array as the target instead.

    Parameters
    ----------
    points : (M, d) array, list or tensor
        Numbers, all finite. They are held as float64 on the CPU.

    Raises
    ------
    TypeError
        `points` are not numbers, or a Cloud, whose masses would be lost.
    ValueError
        `points` is not (M, d), is empty, or not finite; the message names the first bad row.

    Cost: O(M d) once, O((n + M) d) a sample.

    >>> rows = pf.samplers.FromArray([[0.0], [1.0]]).sample(5, seed=0)
    >>> sorted(rows[:, 0].tolist())[1:4]  # each row two or three times
    [0.0, 1.0, 1.0]
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
    r"""1797 handwritten digits of 8 x 8 pixels as points: (1797, 64), intensities in [0, 1].

    The rows are scikit-learn's `load_digits` divided by 16, read when the object is made. They are
    drawn as those of `FromArray`: up to n = 1797 without replacement. With `pca` a row becomes
    :math:`(x - \bar x) A^T`, where the rows of A are the first principal axes, each with its
    largest entry positive. The dimension is 64, or `pca`; there is no `log_density`.

    Parameters
    ----------
    pca : int, optional
        Project on that many principal components of the centred rows, at most 64.
    standardise : bool
        Subtract the mean of every column and divide by its standard deviation first (a constant
        column stays 0).

    Raises
    ------
    ImportError
        scikit-learn cannot be imported.
    TypeError
        `pca` is no integer, or `standardise` is neither True nor False.
    ValueError
        `pca` is < 1 or > 64.

    Cost: O(M d^2) once for `pca`, of M = 1797 rows of d = 64 columns; O((n + M) d) a sample.

    Source: Alpaydin and Kaynak (1998), test set, from the UCI Machine Learning Repository.

    >>> pf.samplers.Digits(pca=2).sample(300, seed=0).shape
    torch.Size([300, 2])
    """

    def _load(self) -> np.ndarray:
        from sklearn.datasets import load_digits

        return load_digits().data / 16


@dataclass(frozen=True, kw_only=True)
class Iris(_Shipped):
    r"""Lengths and widths of sepals and petals of 150 iris flowers, in centimetres: (150, 4).

    The rows are scikit-learn's `load_iris`, read when the object is made. They are drawn as those
    of `FromArray`: up to n = 150 without replacement. With `pca` a row becomes
    :math:`(x - \bar x) A^T`, where the rows of A are the first principal axes. The dimension is 4,
    or `pca`; there is no `log_density`.

    Parameters
    ----------
    pca : int, optional
        Project on that many principal components of the centred rows, at most 4.
    standardise : bool
        Subtract the mean of every column and divide by its standard deviation first.

    Raises
    ------
    ImportError
        scikit-learn cannot be imported.
    TypeError
        `pca` is no integer, or `standardise` is neither True nor False.
    ValueError
        `pca` is < 1 or > 4.

    Cost: O(M d^2) once for `pca`, of M = 150 rows of d = 4 columns; O((n + M) d) a sample.

    Source: Fisher (1936), Annals of Eugenics 7.

    >>> flowers = pf.samplers.Iris().sample(150, seed=0)
    >>> [round(mean, 2) for mean in flowers.mean(0).tolist()]  # in centimetres
    [5.84, 3.06, 3.76, 1.2]
    """

    def _load(self) -> np.ndarray:
        from sklearn.datasets import load_iris

        return load_iris().data


@dataclass(frozen=True, kw_only=True)
class Wine(_Shipped):
    r"""13 chemical measurements of 178 wines: (178, 13), standardised by default.

    The rows are scikit-learn's `load_wine`, read when the object is made. They are drawn as those
    of `FromArray`: up to n = 178 without replacement. With `pca` a row becomes
    :math:`(x - \bar x) A^T`, where the rows of A are the first principal axes. The dimension is 13,
    or `pca`; there is no `log_density`.

    Parameters
    ----------
    pca : int, optional
        Project on that many principal components of the centred rows, at most 13.
    standardise : bool
        Subtract the mean of every column and divide by its standard deviation first. True by
        default, since the units of the columns differ by a factor of 1000.

    Raises
    ------
    ImportError
        scikit-learn cannot be imported.
    TypeError
        `pca` is no integer, or `standardise` is neither True nor False.
    ValueError
        `pca` is < 1 or > 13.

    Cost: O(M d^2) once for `pca`, of M = 178 rows of d = 13 columns; O((n + M) d) a sample.

    Source: Forina et al., PARVUS, from the UCI Machine Learning Repository.

    >>> wines = pf.samplers.Wine().sample(178, seed=0)
    >>> round(wines.std(correction=0).item(), 6)  # standardised
    1.0
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
    r"""A target of `size` fresh points of a sampler at every step.

    .. math::

        p_n = \frac1M \sum_{j=1}^{M} \delta_{y_j^{(n)}},
        \qquad y_j^{(n)} \sim \text{sampler}, \quad M = \text{size}

    It is passed to `simulate` in the place of y. The points of step n are a pure function of the
    run's seed and of n. All stages of a step, and its retries, see the same points, and a resumed
    run sees the points that an unbroken one would have seen. Metrics of such a run compare with the
    points of the step.

    Parameters
    ----------
    sampler : Sampler
        What is drawn from; an array is wrapped in `FromArray`.
    size : int
        M >= 1, points at every step.
    dtype : torch.float32 or torch.float64, optional
        Left out: that of the run's particles, or float64 outside of a run.
    device : torch.device or str, optional
        Left out: that of the run's particles, or the CPU outside of a run.

    Raises
    ------
    TypeError
        `sampler` is no sampler, or a class of one. `size` is no integer, `dtype` neither float32
        nor float64, or `device` no device of torch.
    ValueError
        `size` is < 1.

    Cost: one sample of M points a step. A fixed target lets sums over it be kept from step to step;
    a fresh one does not.

    >>> batches = pf.samplers.Minibatch(pf.samplers.Rings(), 40)
    >>> x = pf.samplers.Gaussian(dim=2, std=0.1).sample(30, seed=0)
    >>> flow = pf.mmd_flow(pf.kernels.Gaussian(0.2))
    >>> path = pf.simulate(flow, x, batches, steps=2, seed=1)
    >>> path.status
    'completed'
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
        """The points of this step as a Cloud of equal masses.

        Parameters
        ----------
        clock : Clock
            Its step and its random numbers are read.

        Returns
        -------
        Cloud
            `size` points.
        """
        seed = clock.draws.child_seed("target", clock.step)
        with Supplied("sampler", self.sampler):
            return Cloud(
                self.sampler.sample(self.size, seed=seed, dtype=self.dtype, device=self.device)
            )
