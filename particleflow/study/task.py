"""Tasks: what a flow starts from, where it should arrive, and how far its steps go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow.clouds import Draws
from particleflow.kernels import default_bandwidth
from particleflow.samplers import Sampler
from particleflow.samplers.data import Rows

# Number of particles of a task; it differs from the number of target points.
PARTICLES = 240
# Number of target points of a task.
TARGETS = 300
# Number of steps of a run.
STEPS = 500


@dataclass(frozen=True)
class Problem:
    """One draw of a task, which a contender's `make` is given.

    Attributes
    ----------
    x0 : (N, d) tensor
        The start.
    target : (M, d) tensor
        The target sample that the flow sees.
    held_out : (M, d) tensor
        A target sample that the flow never sees.
    fresh : (N, d) tensor
        As many target points as particles. Their distance to the two target samples is the floor:
        no flow can be expected to end nearer to points that it never saw.
    steps : int
        The number of steps, for schedules that end with the run.
    seed : int
        The seed of the draw, and of the run's random numbers.
    given_bandwidth : float or None
        The task's kernel scale, if it has one.
    bandwidth : float
        The kernel scale: `given_bandwidth`, or `kernels.default_bandwidth` of `target`; in units of
        the coordinates.
    spread : float
        The standard deviation of `target`: the root of its mean variance.
    """

    x0: Float[Tensor, "N d"]
    target: Float[Tensor, "M d"]
    held_out: Float[Tensor, "M d"]
    fresh: Float[Tensor, "N d"]
    steps: int
    seed: int
    given_bandwidth: float | None = None

    @cached_property
    def bandwidth(self) -> float:
        """The task's kernel scale, or `default_bandwidth` of the target sample."""
        if self.given_bandwidth is not None:
            return self.given_bandwidth
        return default_bandwidth(self.target)

    @property
    def spread(self) -> float:
        """The standard deviation of the target sample: the root of its mean variance."""
        return float(self.target.var(dim=0).mean().sqrt())


@dataclass(frozen=True)
class Task:
    """A start, a target, and the sizes of a run.

    Each seed draws a `Problem` anew: N points of the start, and three independent samples of the
    target, one that the flow sees, one held out, and one for the floor. Equal seeds draw equal
    points, whatever the contender: differences of contenders are paired.

    Parameters
    ----------
    name : str
        Short, as in tables.
    start : Sampler
        The distribution of the particles at time 0.
    target : Sampler
        The distribution to be reached. A data set needs 2 M + N rows: a row is in at most one of
        the three samples.
    title : str
        One line, as in reports.
    particles : int
        N >= 1.
    targets : int
        M >= 1; the default differs from that of `particles`.
    bandwidth : float, optional
        The kernel scale that every contender is given, > 0, in units of the coordinates. By default
        `kernels.default_bandwidth` of each target sample.
    steps : int
        The number of steps of a run, >= 1.
    as_images : (height, width), optional
        The points are pictures of so many pixels, and players show them so.

    Raises
    ------
    TypeError
        `name` is no text, `start` or `target` no sampler, or a number is none.
    ValueError
        `start` and `target` differ in dimension, `particles`, `targets` or `steps` is < 1, or
        `bandwidth` is not > 0.

    Cost: a draw takes one sample of N points of the start and one of 2 M + N points of the target.

    >>> from particleflow.study import Task
    >>> start, target = pf.samplers.Gaussian(dim=2), pf.samplers.Rings()
    >>> task = Task("rings", start, target, particles=20, targets=30)
    >>> problem = task.draw(seed=0)
    >>> len(problem.x0), len(problem.target), len(problem.held_out)
    (20, 30, 30)
    """

    name: str
    start: Sampler
    target: Sampler
    title: str = ""
    particles: int = PARTICLES
    targets: int = TARGETS
    bandwidth: float | None = None
    steps: int = STEPS
    as_images: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _checks.text(self.name, "name", remedy="a short name, e.g. 'rings'")
        for role, sampler in (("start", self.start), ("target", self.target)):
            if isinstance(sampler, type) or not isinstance(sampler, Sampler):
                raise TypeError(
                    f"`{role}` must be a sampler, got {_checks.said(sampler)}: e.g."
                    " pf.samplers.Gaussian(dim=2), or pf.samplers.FromArray(points)"
                )
        if self.start.dim != self.target.dim:
            raise ValueError(
                f"`start` must have the dimension of `target`, got d = {self.start.dim} and d ="
                f" {self.target.dim}: pass a start in d = {self.target.dim}"
            )
        for name in ("particles", "targets", "steps"):
            _checks.count(getattr(self, name), name)
        if self.bandwidth is not None:
            _checks.positive(self.bandwidth, "bandwidth")

    def draw(self, seed: int) -> Problem:
        """Draw a problem as a pure function of the seed.

        The target samples are independent. A row of a data set is in at most one of them.

        Parameters
        ----------
        seed : int
            >= 0.

        Returns
        -------
        Problem
            The start and three target samples, in float64.

        Raises
        ------
        ValueError
            The target is a data set of fewer than 2 M + N rows.
        """
        streams, (n, m) = Draws(seed), (self.particles, self.targets)
        if isinstance(self.target, Rows) and len(self.target) < 2 * m + n:
            raise RefusedValueError(
                "targets",
                f"must leave rows for two target samples and {n} fresh points: the data have"
                f" {len(self.target)} rows, and {2 * m + n} are needed",
                m,
                f"pass at most {max(0, (len(self.target) - n) // 2)}, or fewer particles",
            )
        drawn = self.target.sample(2 * m + n, seed=streams.child_seed("target", 0))
        x0 = self.start.sample(n, seed=streams.child_seed("start", 0))
        seen, held_out, fresh = (part.clone() for part in torch.split(drawn, [m, m, n]))
        return Problem(x0, seen, held_out, fresh, self.steps, seed, self.bandwidth)
