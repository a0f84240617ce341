"""What a run needs to be made again, and the methods of a trajectory that make it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from particleflow._typing import Values
from particleflow.clouds import Target
from particleflow.flows import Flow
from particleflow.integrators import Integrator, Snapshot

if TYPE_CHECKING:
    from particleflow.trajectory import Trajectory
    from particleflow.transport import Divergence


@dataclass(frozen=True, eq=False)
class Leg:
    """A run, or a part of one that went on: its parts, and where its steps begin.

    `end` is the time at which steps were shortened to end; infinite without one.
    """

    flow: Flow
    target: Target
    integrator: Integrator
    dt: float
    end: float
    start: Snapshot


@dataclass(frozen=True, eq=False)
class Recipe:
    """The legs of a run. It holds the user's own parts: no file and no pickle keeps it."""

    legs: tuple[Leg, ...]

    @property
    def begins(self) -> int:
        """The step at which the first leg begins."""
        return self.legs[0].start.clock.step

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()


def _nothing() -> None:
    """What is left of a recipe in a pickle."""


class Replayed:
    """The methods of a `Trajectory` that make its run again, and take other points along."""

    recipe: Recipe | None

    def with_flow(
        self, flow: Flow, target: Any = None, *, integrator: Integrator | None = None
    ) -> Trajectory:
        """The same trajectory with the flow that made it: for one that was loaded from a file.

        `transport`, `log_density` and `kl` need the flow, the target and the integrator, which no
        file holds.

        Parameters
        ----------
        flow, target, integrator
            As they were passed to `simulate`. A fixed target may be left out, and an integrator
            that was the flow's default.

        Returns
        -------
        Trajectory
            The same records, with a recipe.

        Raises
        ------
        ValueError
            A part is not the one that the report tells; both are told. The run did not begin in its
            first record.
        TypeError
            `flow` is no Flow.
        """
        from particleflow.transport import replay

        return replay.with_flow(self._own, flow, target, integrator)

    def transport(
        self, z: Any, *, record: int = -1, backward: bool = False, records: bool = False
    ) -> Tensor:
        r"""Move new points (M, d) along the finished flow, as the particles moved.

        .. math::

            z_{n+1} = z_n + \Delta t \sum_s b_s\, v_s(z_n + \dots) ,

        with the velocities :math:`v_s` of the run's own fits. The run is made again, bit for bit,
        with the same steps, stages and lengths. The fits see the particles alone, so that the
        points of z do not feel each other. The particles of the start come to those of the record.

        Noise and diffusion are those of the run where z has the shape of the particles, and drawn
        anew otherwise. Masses do not move points. Particles that a renewal places anew (resampling,
        stragglers) jump, and points of z do not. Under `Momentum` and `Adam` z begins at rest.

        Backward each step T is inverted: T(z) = y is solved for z, to rounding. So there and back
        is the identity, whatever the order of the scheme, as long as its steps are one to one. A
        step too long for that, or a kernel with a kink, may lead to y from several points, of which
        one is found, or from none: the answer is then NaN, with a warning.

        Parameters
        ----------
        z : (M, d) points or Cloud
            At the first record; backward at `record`. The dtype and the device are those of the
            run.
        record : int
            The record at which the points arrive; backward, from which they start.
        backward : bool
            From the record back to the first one.
        records : bool
            True: z at every record. Forward to the last record alone.

        Returns
        -------
        (M, d) tensor, or (T, M, d) with `records`
            The points at the record; backward, at the start.

        Raises
        ------
        ValueError
            The trajectory has no flow (`with_flow`), or it does not lead to its own records; `z`
            has another dimension than the particles, or lies outside of the run's box; or,
            backward, the flow is random, the integrator has a memory, or no point has an origin.
        IndexError
            There is no such `record`.
        TypeError
            `z` is not numeric, or has another dtype.

        Cost: that of the run, and O(M (N + M')) for each fit, M' the target's points; backward
        twice that of the run, and 6 to 10 evaluations for each step. Memory is O(M d), and a
        few states; backward sqrt(steps) states and fits.
        Source: for the inverse, Broyden (1965), Mathematics of Computation 19.

        >>> normal = pf.samplers.Gaussian(dim=1)
        >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
        >>> path = pf.simulate(drift, [[1.0], [2.0]], steps=4, dt=0.5)
        >>> there = path.transport([[4.0]])  # 4 / 2^4
        >>> there.tolist(), path.transport(there, backward=True).tolist()
        ([[0.25]], [[4.0]])
        """
        from particleflow.transport import points

        return points.transport(self._own, z, record=record, backward=backward, records=records)

    def log_density(self, z: Any, *, start: Any = None, record: int = -1) -> Values:
        r"""log q(z), (M,): the density to which the flow carries the density of its start.

        The map T of the run, one step after the other, carries q_0 to

        .. math::

            q(z) = \frac{q_0(z_0)}{\prod_n \det dT_n(z_n)} , \qquad
            z_0 = T^{-1}(z) , \quad z_{n+1} = T_n(z_n) ,

        with the derivative dT_n (d, d) of each step with all its stages, in closed form:
        I + dt (h'(w) Hess w + h''(w) grad w grad w') for Euler. So q is exact for the map that was
        computed, whatever dt is, and integrates to one, as long as the steps are one to one. Where
        a step folds space (det <= 0), or has no origin, the answer is NaN, with a warning: its dt
        is too long there. As dt -> 0, log det dT_n tends to dt div v.

        The witness must have a Hessian: MMD, KALE, Moreau, DrMMD, KDE, ULSIF, RuLSIF and KLIEP
        with a smooth kernel, ClosedForm with a differentiable density.

        Parameters
        ----------
        z : (M, d) points
            Where the density is wanted, in the dtype of the run.
        start : Density or callable
            The density q_0 of the start, with log_density(z), such as the sampler that drew x0; or
            a function z (M, d) -> log q_0 (M,). Where none is known, say so with
            `pf.transport.KernelDensity(path.cloud(0), bandwidth)`.
        record : int
            The record at which the density is wanted; by default the last.

        Returns
        -------
        (M,) tensor
            log q; NaN for points whose way back was not found.

        Raises
        ------
        ValueError
            As `transport` backward; there is no `start`; the flow has noise, diffusion or masses
            that change; the integrator is an optimiser.
        TypeError
            The witness has no Hessian, as where a kernel has a kink; `start` has no log density.
        IndexError
            There is no such `record`.

        Cost: `transport` backward, and O(M (N + M') d^2 + M d^3) for each stage, in float64.
        Source: the change of variables of normalising flows; see Papamakarios, Nalisnick, Rezende,
        Mohamed and Lakshminarayanan (2021), Journal of Machine Learning Research 22.

        >>> normal = pf.samplers.Gaussian(dim=1)
        >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
        >>> path = pf.simulate(drift, [[1.0], [2.0]], steps=4, dt=0.5)
        >>> start = pf.samplers.Gaussian(dim=1, std=16.0)
        >>> float(path.log_density([[0.0]], start=start).exp())  # N(0, 1) at 0
        0.398942...
        """
        from particleflow.transport import density

        return density.log_density(self._own, z, start=start, record=record)

    def kl(
        self, target: Any, *, start: Any = None, n: int = 1000, seed: int = 0, record: int = -1
    ) -> Divergence:
        r"""Estimate KL(q || p) of the density at a record from that of a target.

        .. math::

            \mathrm{KL}(q \,\|\, p) = \mathbb{E}_q [ \log q - \log p ] .

        It is a mean over n fresh points of the start, moved along the flow with their densities
        (see `log_density`). It does not compare the particles, to which the flow was fitted, but
        the density from which they were drawn.

        Parameters
        ----------
        target : Density or callable
            p, with log_density(z); or a function z (n, d) -> log p (n,). Where it is known up to a
            factor, the estimate is too.
        start : sampler with a log_density
            q_0, such as the sampler that drew x0.
        n : int
            How many fresh points, >= 2.
        seed : int
            The seed that draws them.
        record : int
            The record at which q is wanted; by default the last.

        Returns
        -------
        transport.Divergence
            The mean, and its standard error.

        Raises
        ------
        ValueError
            As `log_density`; or a step folds space, det dT <= 0, at one of the points.
        TypeError
            As `log_density`; or `start` draws no points.
        IndexError
            There is no such `record`.

        Cost: one replay, forward, and O(n (N + M') d^2 + n d^3) for each stage.

        >>> normal = pf.samplers.Gaussian(dim=1)
        >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
        >>> path = pf.simulate(drift, [[1.0], [2.0]], steps=4, dt=0.5)
        >>> start = pf.samplers.Gaussian(dim=1, std=16.0)  # carried to N(0, 1)
        >>> abs(float(path.kl(pf.samplers.Gaussian(dim=1), start=start))) < 1e-6
        True
        """
        from particleflow.transport import density

        return density.kl(self._own, target, start=start, n=n, seed=seed, record=record)

    @property
    def _own(self) -> Trajectory:
        return cast("Trajectory", self)
