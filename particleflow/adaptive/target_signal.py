"""The bandwidth, or the noise, at which the particles feel the target most."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from particleflow import _checks
from particleflow._typing import Memory
from particleflow.adaptive.noise import kernel_of
from particleflow.adaptive.pairs import Pairs, scale_of
from particleflow.adaptive.signal import EXACT, NARROWEST, WIDEST, signal, strongest
from particleflow.clouds import Clock, Cloud, as_cloud
from particleflow.estimators import Estimator, Fit
from particleflow.kernels import Gaussian, ScaledKernel
from particleflow.kernels.declared import bandwidth_of, is_gaussian

# The most places of each cloud that the signal is computed on: a search then takes some 30 ms.
DRAWN = 128


@dataclass(frozen=True)
class TargetSignal:
    r"""Take the bandwidth at which the force between the clouds depends most on the target's
    position.

    .. math::

        \ell = \operatorname{argmax}_\ell J(\ell), \qquad
        \frac{\ell}{\rho} = \frac{1}{\sqrt{2 + \sqrt2}} = 0.541
        \text{ for two points at the distance } \rho

    J is `particleflow.adaptive.signal.signal`. The search goes over all bandwidths from `least` to
    twice the largest distance: a second local maximum, at 1.307 rho, is 8.5 % as high. For clouds
    the bandwidth falls as they meet. A search is made every `every` steps, on at most 128 drawn
    places of each cloud, by the same formula for every kernel. Between two searches the bandwidth
    is that of the last one, kept in the fit's memory.

    Repeats of a point are one place, and the order of the rows changes nothing. `least` is read at
    the first fit; a target that moves is followed by the searches.

    The bandwidth is the best one for the next moment. It promises nothing for a whole run: where a
    cloud starts far away, MMD flow at 0.541 distances may still leave particles behind. Take
    `Continuation` there.

    Parameters
    ----------
    every : int
        Steps between searches.
    least : float, optional
        The smallest bandwidth that is tried. None: `default_bandwidth` of the target, or none where
        the target is one place.
    kernel : ScaledKernel
        The family of the flow's kernel; its bandwidth does not count.

    Raises
    ------
    TypeError
        `kernel` has no bandwidth, or a number is none.
    ValueError
        `every` < 1, or `least` is not > 0. At a fit: there is no target, or both clouds are in one
        place at the first fit without `least`.

    Cost: some 30 ms a search, every `every` steps.

    One particle and a target in one place at the distance 2:

    >>> x, y = pf.Cloud([[0.0]]), pf.Cloud([[2.0], [2.0]])
    >>> length, memory = pf.TargetSignal().at(x, y, pf.Clock(), {})
    >>> round(length / 2, 3)
    0.541
    """

    every: int = field(default=20, kw_only=True)
    least: float | None = field(default=None, kw_only=True)
    kernel: ScaledKernel = field(default=Gaussian(1.0), kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "every", _checks.count(self.every, "every"))
        if self.least is not None:
            remedy = "it is the smallest bandwidth that is tried; leave it out to have it chosen"
            object.__setattr__(self, "least", _checks.positive(self.least, "least", remedy=remedy))
        if not isinstance(self.kernel, ScaledKernel) or bandwidth_of(self.kernel) is None:
            raise TypeError(
                f"`kernel` must have a bandwidth, got {self.kernel}: e.g. pf.kernels.Gaussian(1.0)"
            )

    def at(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> tuple[float, Memory]:
        """The bandwidth at a fit, and the memory for the next one."""
        found = memory.get("found")
        if found is not None and 0 <= clock.step - float(found[1]) < self.every:
            return float(found[0]), {"found": found}
        if y is None:
            raise ValueError(
                "`bandwidth` TargetSignal compares the clouds, got no target: pass one, or a"
                " schedule of the clock"
            )
        known = (scale_of(y) or 0.0) if found is None else float(found[2])
        floor = known if self.least is None else self.least
        pairs = Pairs.drawn(x, y, DRAWN)
        length = self._found(pairs, floor)
        if not length > 0:
            # all particles are on the only point of the target: nothing is left to choose from
            if found is None:
                raise ValueError(
                    "`bandwidth` TargetSignal needs a distance between the clouds, got clouds in"
                    " one place: pass least="
                )
            length = float(found[0])
        numbers = [length, float(clock.step), floor]
        return length, {"found": torch.tensor(numbers, dtype=torch.float64, device="cpu")}

    def _found(self, pairs: Pairs, floor: float) -> float:
        most = WIDEST * pairs.farthest
        if most <= floor:
            return floor
        return strongest(
            lambda length: signal(pairs, self.kernel.with_bandwidth(length)),
            max(floor, NARROWEST * pairs.farthest),
            most,
        )


@dataclass(frozen=True)
class SignalNoise:
    r"""Take the noise at which the mean force between the clouds depends most on the target's
    position.

    .. math::

        \beta = \sqrt{L^2 - \ell^2}, \qquad
        L = \operatorname{argmax}_{L \ge \ell} J(L) - 2 d \log L

    Noise beta turns a Gaussian kernel of bandwidth l into one of L = sqrt(l^2 + beta^2), times (l /
    L)^d (theory page, equation 5). The force shrinks by that factor, and J of
    `particleflow.adaptive.signal.signal` by its square. For one particle and one target point at
    the distance rho the maximum is at

    .. math::

        L = \frac{\rho}{\sqrt{u}}, \qquad
        u = \frac{4 + d + \sqrt{(4 + d)^2 - 4 (2 + d)}}{2}

    as long as this exceeds l; else beta = 0. The factor makes noise weak in many dimensions.
    Repeats and the order of the rows change nothing.

    Parameters
    ----------
    target : (M, d) points or Cloud
        The target of the run, which a fit does not hold.

    Raises
    ------
    TypeError
        `target` holds no numbers. In a `Flow`: its estimator has no Gaussian kernel.
    ValueError
        `target` is not (M, d), or not finite.

    Cost: one search on at most 128 drawn places of each cloud at every stage of a step, some 30 ms.

    One particle at the distance 2, a kernel of bandwidth 0.5, d = 1: u = (5 + sqrt(13)) / 2.

    >>> y, mmd = [[2.0], [2.0]], pf.estimators.MMD(pf.kernels.Gaussian(0.5))
    >>> x = pf.Cloud([[0.0]])
    >>> beta = pf.adaptive.SignalNoise(y).at(x, pf.fit(mmd, x, y), pf.Clock(), mmd)
    >>> round(beta, 3), round((4 / ((5 + 13**0.5) / 2) - 0.25) ** 0.5, 3)
    (0.824, 0.824)
    """

    target: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", as_cloud(self.target, "target"))

    def check(self, estimator: Estimator) -> None:
        """Refuse (TypeError) an estimator without a Gaussian kernel."""
        kernel = kernel_of(estimator)
        if not is_gaussian(kernel):
            raise TypeError(
                f"`noise` SignalNoise must have a Gaussian kernel to widen, got"
                f" {type(estimator).__name__} with {kernel}: take a number or a schedule"
            )

    def at(self, x: Cloud, fit: Fit, clock: Clock, estimator: Estimator) -> float:
        """beta >= 0 at the particles x, in units of the coordinates."""
        kernel = kernel_of(estimator, fit)
        assert isinstance(kernel, Gaussian)
        pairs = Pairs.drawn(x, self.target, DRAWN)
        least, most = kernel.bandwidth, WIDEST * pairs.farthest
        if most <= least:
            return 0.0
        wide = strongest(
            lambda length: signal(pairs, Gaussian(length)) - 2 * x.dim * math.log(length),
            least,
            most,
        )
        # what is within the error of the search of `least` is `least`
        return 0.0 if wide <= least * (1 + EXACT) else math.sqrt(wide**2 - least**2)
