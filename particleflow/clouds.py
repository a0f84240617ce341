"""Clouds of points, the clock of a run, and the random numbers of each moment."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks, _fork, _words
from particleflow._typing import Array, Points

__all__ = ["Clock", "Cloud", "Draws", "FixedTarget", "Randomness", "Replay", "Target"]

__getattr__, __dir__ = _words.suggesting(__name__)


@dataclass(frozen=True, init=False, repr=False)
class Cloud:
    r"""A weighted set of points, the measure that flows move:

    .. math::

        q = \sum_{i=1}^{N} m_i\, \delta_{x_i} .

    Points that are passed to `simulate` become a cloud of equal masses 1/N. `len(cloud)` is N. A
    cloud is not changed once it is made.

    Parameters
    ----------
    points : (N, d) float32 or float64 tensor
        A tensor is taken as it is. Lists, numpy arrays and integers are copied to float64.
    *unnamed
        Refused: weights go by name.
    mass : (N,), optional
        m_i >= 0, finite, not all zero. The total is free: `mass / mass.sum()` makes it 1. Without
        `mass` and `log_mass` each m_i is 1/N.
    log_mass : (N,), optional
        log m_i, instead of `mass`: for masses beyond the range of floats. -inf stands for a mass of
        zero.

    Attributes
    ----------
    points : (N, d) tensor
        The points.
    log_mass : (N,) tensor or None
        None where all masses are 1/N.

    Raises
    ------
    TypeError
        The input is not numeric, weights come without the name of their parameter, or both `mass`
        and `log_mass` are given.
    ValueError
        A shape is wrong, a mass is negative, infinite or NaN, or the total is zero.

    Cost: O(N) for masses; a tensor of points is not copied.

    >>> pf.Cloud([[0.0, 0.0], [1.0, 0.0]], mass=[0.25, 0.75])
    Cloud(2 points in 2-d, float64, masses 0.25 to 0.75, total 1)
    """

    points: Points
    log_mass: Float[Tensor, "N"] | None

    def __init__(self, points: Any, *unnamed: Any, mass: Any = None, log_mass: Any = None) -> None:
        if unnamed:
            raise TypeError(
                "`Cloud` takes weights by name, got a second positional argument: Cloud(points,"
                " mass=...), or log_mass= for logarithms"
            )
        if mass is not None and log_mass is not None:
            raise TypeError("`mass` and `log_mass` say the same, got both: leave one out")
        tensor = (
            _checks.points(points, "points")
            if _is_float_tensor(points)
            else _checks.as_points(points, "points")
        )
        if mass is not None:
            log_mass = _as_mass(mass, tensor).log().to(tensor.dtype)
        elif log_mass is not None:
            log_mass = _as_weights(log_mass, "log_mass", tensor, tensor.dtype)
        object.__setattr__(self, "points", tensor)
        object.__setattr__(self, "log_mass", log_mass)

    def __repr__(self) -> str:
        dtype = str(self.points.dtype).removeprefix("torch.")
        device = "" if self.points.device.type == "cpu" else f" on {self.points.device}"
        masses = f"equal mass 1/{len(self)}"
        if self.log_mass is not None:
            mass = self.log_mass.detach().double().exp()
            masses = (
                f"masses {float(mass.min()):.4g} to {float(mass.max()):.4g}, total"
                f" {float(mass.sum()):.6g}"
            )
        return (
            f"{type(self).__name__}({len(self)} points in {self.dim}-d, {dtype}{device}, {masses})"
        )

    def __len__(self) -> int:
        return self.points.shape[0]

    @property
    def dim(self) -> int:
        """The dimension d."""
        return self.points.shape[1]

    @property
    def mass(self) -> Float[Tensor, "N"]:
        """The masses m_i, shape (N,)."""
        if self.log_mass is None:
            return self.points.new_full((len(self),), 1.0 / len(self))
        return self.log_mass.exp()

    def copy(self) -> Cloud:
        """The same cloud in memory of its own."""
        return Cloud(
            self.points.clone(), log_mass=None if self.log_mass is None else self.log_mass.clone()
        )

    def double(self) -> Cloud:
        """The same cloud in float64."""
        return Cloud(
            self.points.double(), log_mass=None if self.log_mass is None else self.log_mass.double()
        )

    def mean(self, values: Float[Tensor, "N ..."]) -> Tensor:
        """The integral sum_i m_i values_i against the cloud.

        Parameters
        ----------
        values : (N, ...) tensor
            One value, or array of values, for each point.

        Returns
        -------
        (...) tensor
            For a total mass of 1 the weighted mean.

        >>> cloud = pf.Cloud([[0.0], [1.0]], mass=[0.25, 0.75])
        >>> float(cloud.mean(cloud.points))
        0.75
        """
        if self.log_mass is None:
            return values.mean(0)
        return torch.tensordot(self.mass, values, dims=1)

    def moments(self) -> tuple[Float[Tensor, "d"], Float[Tensor, "d d"]]:
        """Mean and covariance of the normalised cloud, without Bessel's correction.

        Returns
        -------
        ((d,) tensor, (d, d) tensor)
            sum_i m_i x_i and sum_i m_i (x_i - mean) (x_i - mean)', with masses over their total.

        >>> mean, covariance = pf.Cloud([[-1.0], [1.0]]).moments()
        >>> float(mean), float(covariance)
        (0.0, 1.0)
        """
        share = self.mass / self.mass.sum()
        mean = share @ self.points
        centred = self.points - mean
        return mean, (centred * share[:, None]).T @ centred


@runtime_checkable
class Randomness(Protocol):
    """Random numbers as a pure function of (stream, step): what `draws` of a run must have.

    `normal(stream, step, like)` gives standard normal numbers of the shape, dtype and device of
    `like`, and `child_seed(stream, step)` a seed for a part that draws its own numbers. Equal
    arguments must give equal numbers: the stages of a step ask for the same noise several times.
    `Draws` and `Replay` are such.
    """

    def normal(self, stream: str, step: int, like: Array) -> Array:
        """Standard normal numbers like `like`, a function of stream and step."""

    def child_seed(self, stream: str, step: int) -> int:
        """A seed for a part that draws its own numbers."""


@dataclass(frozen=True)
class Draws:
    r"""Counter-based random numbers, a pure function of seed, stream and step:

    .. math::

        \xi = f(\text{seed}, \text{stream}, n) , \qquad \xi \sim \mathcal{N}(0, I) .

    No state is consumed: the stages of one step and its rejected retries see the same noise, and a
    resumed run sees the future that it would have seen. `simulate(..., seed=3)` makes `Draws(3)`.
    On the CPU the numbers come from numpy's Philox, on CUDA from the device's own Philox. The two
    differ; two runs on one kind of device do not.

    Parameters
    ----------
    seed : int
        >= 0.

    Raises
    ------
    ValueError
        `seed` is < 0.
    TypeError
        `seed` is no integer.

    Cost: O(N d) for each call of `normal`.
    Source: Salmon, Moraes, Dror and Shaw (2011), Parallel random numbers: as easy as 1, 2, 3.

    >>> draws, like = pf.Draws(seed=3), torch.zeros(2, 1)
    >>> noise = draws.normal("noise", 7, like)
    >>> torch.equal(noise, draws.normal("noise", 7, like))
    True
    >>> torch.equal(noise, draws.normal("noise", 8, like))
    False
    """

    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(
            self,
            "seed",
            _checks.count(
                self.seed, "seed", least=0, remedy="pass a whole number >= 0, e.g. seed=0"
            ),
        )

    def _key(self, stream: str, step: int) -> np.ndarray:
        return np.frombuffer(
            hashlib.blake2b(f"{self.seed}/{stream}/{step}".encode(), digest_size=16).digest(),
            dtype=np.uint64,
        )

    def normal(self, stream: str, step: int, like: Array) -> Array:
        """Standard normal numbers of a stream at a step.

        Parameters
        ----------
        stream : str
            What they are for: a flow asks for "noise" (noise injection) and "brownian" (diffusion).
        step : int
            The number of the step.
        like : tensor
            Gives shape, dtype and device.

        Returns
        -------
        tensor like `like`
            Independent of those of other streams and steps.
        """
        key = self._key(stream, step)
        if like.device.type != "cpu":
            generator = torch.Generator(like.device).manual_seed(int(key[0]) >> 1)
            return torch.randn(
                like.shape, generator=generator, dtype=like.dtype, device=like.device
            )
        philox = np.random.Generator(np.random.Philox(key=key))
        return torch.from_numpy(
            philox.standard_normal(
                tuple(like.shape), dtype=np.float32 if like.dtype == torch.float32 else np.float64
            )
        )

    def child_seed(self, stream: str, step: int) -> int:
        """A seed (63 bits) for a part that draws its own numbers, such as a sampler."""
        return int(self._key(stream, step)[0]) >> 1


@dataclass(frozen=True)
class Replay:
    r"""Recorded noise with the contract of `Draws`, to repeat a run of another program number by
    number:

    .. math::

        \xi_n = \text{arrays}[\text{stream}]_n .

    Parameters
    ----------
    arrays : mapping of stream name to (steps, N, d)
        A flow asks for the streams "noise" (noise injection) and "brownian" (diffusion). Row n
        serves step n, in the dtype and on the device of the particles.
    seed : int
        >= 0, the seed of streams that draw no normal numbers (minibatches).

    Raises
    ------
    TypeError
        `arrays` is no mapping, or `seed` no integer.
    ValueError
        `seed` is < 0. In a run: a stream is missing, a step is beyond the last row, or a row has
        another shape than the particles.

    Cost: a copy of a row for each step.

    >>> noise = torch.tensor([[[1.0], [-1.0]]])  # 1 step, 2 particles, d = 1
    >>> draws = pf.Replay({"brownian": noise})
    >>> flow = pf.langevin(pf.samplers.Gaussian(dim=1))  # drift -x, sigma sqrt(2)
    >>> x0 = torch.zeros(2, 1)
    >>> path = pf.simulate(flow, x0, steps=1, dt=0.5, draws=draws)
    >>> path.particles[-1].flatten().tolist()  # sqrt(2 dt) times the noise
    [1.0, -1.0]
    """

    arrays: Mapping[str, Array | np.ndarray]
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.arrays, Mapping):
            raise TypeError(
                f"`arrays` must map streams to arrays, got {_checks.said(self.arrays)}: e.g."
                " {'noise': array} of shape (steps, N, d)"
            )
        _checks.count(self.seed, "seed", least=0)

    def normal(self, stream: str, step: int, like: Array) -> Array:
        """The recorded numbers of a stream at a step; see `Draws.normal`.

        Raises
        ------
        ValueError
            The stream or the step is not recorded, or has another shape than `like`.
        """
        if stream not in self.arrays:
            raise ValueError(
                f"`arrays` must hold the stream '{stream}', got {sorted(self.arrays)}: record"
                " it too"
            )
        rows = self.arrays[stream]
        if step >= len(rows):
            raise ValueError(
                f"`arrays['{stream}']` holds {len(rows)} steps and step {step} was asked for: run"
                f" at most {len(rows)} steps"
            )
        row = torch.as_tensor(rows[step], dtype=like.dtype, device=like.device)
        if row.shape != like.shape:
            raise ValueError(
                f"`arrays['{stream}'][{step}]` must be {tuple(like.shape)} like the particles, got"
                f" {tuple(row.shape)}"
            )
        return row

    def child_seed(self, stream: str, step: int) -> int:
        """That of `Draws(seed)`."""
        return Draws(self.seed).child_seed(stream, step)


@dataclass(frozen=True)
class Clock:
    r"""The moment of a run, with which every schedule, estimator and target is called:

    .. math::

        t_n = n\, \Delta t \qquad \text{for steps of a fixed length.}

    Parameters
    ----------
    t : float
        The flow's time.
    step : int
        The number n of steps taken so far.
    draws : Randomness
        The run's random numbers: `clock.draws.normal(stream, clock.step, like)`.

    >>> schedule = lambda clock: 0.1 / (1.0 + clock.t)
    >>> schedule(pf.Clock(t=1.0, step=10))
    0.05
    """

    t: float = 0.0
    step: int = 0
    draws: Randomness = Draws()


@runtime_checkable
class Target(Protocol):
    """What the particles flow to: a fixed cloud, a fresh minibatch of a sampler, or None.

    `at(clock)` gives its cloud (M, d) at a moment; it is asked once for each fit, with the step of
    the state, and should give the same cloud for the same step: the stages of a step share it. None
    serves flows that need no sample, such as Langevin dynamics.
    """

    def at(self, clock: Clock) -> Cloud | None: ...


@dataclass(frozen=True, init=False, repr=False, eq=False)
class FixedCloud(Cloud):
    """A cloud that nobody writes to: the object itself identifies what was computed from it."""


@dataclass(frozen=True)
class FixedTarget:
    """The same cloud (or none) at every step: :math:`y(t) = y`; nobody may write to it.

    Points that are passed as `target` become one. Sums over the target that do not change are
    computed once, since this cloud does not change.

    Parameters
    ----------
    cloud : Cloud or None
        The target; None for flows that need no sample.

    >>> target = pf.clouds.FixedTarget(pf.Cloud([[1.0], [2.0], [3.0]]))
    >>> target.at(pf.Clock(step=7)).points.flatten().tolist()
    [1.0, 2.0, 3.0]
    """

    cloud: Cloud | None

    def __post_init__(self) -> None:
        if self.cloud is not None:
            object.__setattr__(
                self, "cloud", FixedCloud(self.cloud.points, log_mass=self.cloud.log_mass)
            )

    def at(self, clock: Clock) -> Cloud | None:
        """The cloud, whatever the clock says."""
        return self.cloud


def corners(*clouds: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest value of each coordinate, (d,) each; NaN if one of them is NaN."""
    # column by column: over rows torch takes five times as long
    ends = [[column.aminmax() for column in points.unbind(1)] for points in clouds]
    lowest = torch.stack([torch.stack([end.min for end in cloud]) for cloud in ends])
    highest = torch.stack([torch.stack([end.max for end in cloud]) for cloud in ends])
    return lowest.amin(0), highest.amax(0)


def extent(*clouds: Tensor) -> float:
    """The longest side of the box around all points."""
    lowest, highest = corners(*clouds)
    return float((highest - lowest).max())


def as_cloud(value: Any, name: str, *, like: Tensor | None = None) -> Cloud:
    """A checked copy of points or of a Cloud.

    Input that is not a float tensor takes the dtype and device of `like`, or float64 on the CPU.
    """
    _fork.tell()
    points = value.points if isinstance(value, Cloud) else value
    if like is None or _is_float_tensor(points):
        points = _checks.as_points(points, name)
    else:
        points = _checks.as_points(points, name, dtype=like.dtype, device=like.device)
    if not isinstance(value, Cloud) or value.log_mass is None:
        return Cloud(points)
    log_mass = value.log_mass.detach().to(points, copy=True)
    if float(log_mass.min()) >= 0 and abs(float(log_mass.sum()) - 1) < 1e-4:
        raise ValueError(
            f"`{name}` has masses that sum to 1 in the place of their logarithms: pass"
            " Cloud(points, mass=...)"
        )
    total = float(log_mass.exp().sum())
    if not 0 < total < math.inf:
        raise ValueError(
            f"`{name}` must have a total mass > 0 and finite, got {total:g}: shift it with log_mass"
            " - log_mass.logsumexp(0)"
        )
    return Cloud(points, log_mass=log_mass)


def _as_weights(value: Any, name: str, points: Points, dtype: torch.dtype) -> Float[Tensor, "N"]:
    """One number for each point, on the points' device; a tensor of that kind is not copied."""
    if isinstance(value, Tensor):
        weights = value
    else:
        array = (
            np.ma.filled(value.astype(np.float64), np.nan)
            if isinstance(value, np.ma.MaskedArray)
            else np.array(value)
        )
        if array.dtype.kind not in "fiub":
            what = f"{type(value).__name__} with entries of type {array.dtype}"
            raise TypeError(
                f"`{name}` must be real numbers, one for each point, got {what}: pass an array"
            )
        weights = torch.from_numpy(array)
    if weights.is_complex():
        raise TypeError(
            f"`{name}` must be real numbers, one for each point, got {weights.dtype}: pass"
            f" {name}.real"
        )
    if weights.shape != points.shape[:1]:
        raise ValueError(
            f"`{name}` must be ({len(points)},), one for each point, got shape"
            f" {tuple(weights.shape)}: leave it out for equal ones"
        )
    return weights.to(dtype=dtype, device=points.device)


def _as_mass(value: Any, points: Points) -> Float[Tensor, "N"]:
    """Checked masses in float64.

    The logarithm of a mass fits where the mass itself is too small for float32.
    """
    mass = _as_weights(value, "mass", points, torch.float64).detach()
    wrong = ~(mass >= 0) | mass.isinf()
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0, 0])
        remedy = (
            "logarithms go into log_mass=" if bool((mass < 0).any()) else "leave such points out"
        )
        raise ValueError(
            f"`mass` must be >= 0 and finite, got {float(mass[row]):g} in row {row}"
            f" ({int(wrong.sum())} of {len(mass)} rows): {remedy}"
        )
    if not bool(mass.any()):
        raise ValueError(
            f"`mass` must have a total > 0, got {len(mass)} zeros: leave it out for equal masses"
        )
    return mass


def as_clouds(x: Any, y: Any, x_name: str = "x", y_name: str = "y") -> tuple[Cloud, Cloud]:
    """Checked copies of both clouds in one space.

    A list or a numpy array takes the dtype and device of the other cloud, if that is a tensor.
    """
    given = [value.points if isinstance(value, Cloud) else value for value in (x, y)]
    like = next((points for points in given if _is_float_tensor(points)), None)
    first, second = as_cloud(x, x_name, like=like), as_cloud(y, y_name, like=like)
    _checks.same_space(first.points, second.points, x_name, y_name)
    return first, second


def _is_float_tensor(points: Any) -> bool:
    return isinstance(points, Tensor) and points.dtype in _checks.FLOATS
