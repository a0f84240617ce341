"""How much two clouds feel each other through a kernel, and the bandwidth at which they do most.

Let f_y = sum_j m_j k(y_j, .) be the target's part of MMD's witness, and S(z) = |grad f_y(z)|^2 the
squared force of the target. Moving the target by delta changes S at a particle z = x_i by

    |d S / d delta| = 2 |H g|,   g = grad f_y(x_i),   H = the Hessian of f_y at x_i.

This is the sensitivity of the force at a particle to the target's position. The same holds for the
force of the particles at each target point. The signal at a bandwidth is the mean of the
logarithms over the points that feel the least, a quarter of the mass of each cloud:

    J(l) = 1/2 E [log |dS/ddelta|(x_i), least quarter] + 1/2 E [log |dS/ddelta|(y_j), least quarter]

One particle and one target point at the distance rho have S = (rho / l^2)^2 exp(-rho^2 / l^2), and
J is log |dS / d rho|. Its maximum is at l = rho / sqrt(2 + sqrt 2) = 0.541196 rho. A second local
maximum at 1.307 rho is 8.5 % as high. The search is therefore global.

The mean is that of logarithms, since |dS/ddelta| grows like 1 / rho^3 as points come near: in a
plain mean the nearest pair alone would choose l. It is that of the least quarter, since a run ends
where its last particles stay. The forces of a cloud on itself are left out: they
are large at every small l, and tell nothing of the other cloud.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from particleflow.adaptive.pairs import Pairs
from particleflow.kernels import Kernel

# The least sensitivity that is told apart, in units of the farthest distance to the power -3. A
# Gaussian is this small beyond 8 bandwidths; a point of symmetry feels nothing at any bandwidth.
LEAST = 1e-30
# The share of the mass, that which feels the least, over which the mean is taken. A mean over all
# leaves far particles behind; over a tenth, single points decide.
QUARTER = 0.25
# Bandwidths tried for each factor of two. The two maxima of one pair lie 1.27 factors of two apart.
DENSITY = 4
# The widest bandwidth tried, in farthest distances: a pair's widest maximum is at 1.31.
WIDEST = 2.0
# The narrowest bandwidth tried, in farthest distances, where no larger one is asked for.
NARROWEST = 2.0**-9
# The relative error of the bandwidth found, of which three digits are wanted.
EXACT = 1e-4
# The ratio of a golden section.
GOLDEN = (math.sqrt(5) - 1) / 2


def signal(pairs: Pairs, kernel: Kernel) -> float:
    r"""Tell how much two clouds feel each other through a kernel, as a logarithm.

    .. math::

        \begin{aligned}
        J &= \frac12\, \mathbb{E}_{\text{least quarter of } x}
                \log \lvert \partial S / \partial \delta \rvert
        \\ &+ \frac12\, \mathbb{E}_{\text{least quarter of } y}
                \log \lvert \partial S / \partial \delta \rvert \\
        S &= \lVert \nabla f \rVert^2 \\
        \lvert \partial S / \partial \delta \rvert
            &= 2 \lVert \nabla^2 f\, \nabla f \rVert
        \end{aligned}

    f is the kernel sum of the other cloud, and delta a shift of that cloud. The means are over the
    points that feel the least, a quarter of the mass of each cloud. For two points at the distance
    rho and a Gaussian, S = (rho / l^2)^2 exp(-rho^2 / l^2), and J is log |dS / d rho|.

    Parameters
    ----------
    pairs : Pairs
        Places of both clouds, `Pairs.drawn(x, y, most)`.
    kernel : Kernel
        Twice differentiable away from 0.

    Returns
    -------
    float
        J, where the unit of length is the farthest distance: J + 3 log(farthest distance) in the
        units of the coordinates.

    Cost: O(P Q) for P and Q places, and O(P Q d) for products.

    At rho = 2 and l = 1, |dS / d rho| = 12 exp(-4), and the unit is 2^3:

    >>> from math import log
    >>> from particleflow.adaptive.pairs import Pairs
    >>> from particleflow.adaptive.signal import signal
    >>> pairs = Pairs.drawn(pf.Cloud([[0.0]]), pf.Cloud([[2.0], [2.0]]), 128)
    >>> round(signal(pairs, pf.kernels.Gaussian(1.0)), 4), round(log(12 * 8) - 4, 4)
    (0.5643, 0.5643)
    """
    slope, curvature = kernel.slope(pairs.squares), kernel.curvature(pairs.squares)
    unit = pairs.farthest**3
    at_x = _sensitivity(pairs.x, pairs.y, pairs.of_y * slope, pairs.of_y * curvature)
    at_y = _sensitivity(pairs.y, pairs.x, pairs.of_x * slope.mT, pairs.of_x * curvature.mT)
    return 0.5 * sum(
        _mean_of_least((unit * found).clamp_min(LEAST).log(), share)
        for share, found in ((pairs.of_x, at_x), (pairs.of_y, at_y))
    )


def _mean_of_least(values: Float[Tensor, "P"], share: Float[Tensor, "P"]) -> float:
    """The mean of the smallest values, which have a quarter of the mass."""
    ordered, order = values.sort()
    beyond = (share[order].cumsum(0) - QUARTER).clamp_min(0.0)
    counted = (share[order] - beyond).clamp_min(0.0)
    return float(counted @ ordered) / QUARTER


def strongest(score: Callable[[float], float], least: float, most: float) -> float:
    r"""Find the bandwidth in [least, most] with the largest score.

    .. math::

        \ell = \operatorname{argmax}_{\text{least} \le \ell \le \text{most}}
            \text{score}(\ell)

    A grid of four bandwidths for each factor of two comes first: J has a second local maximum. A
    golden section between the best one's neighbours follows. Of equal scores on the grid the widest
    wins.

    Parameters
    ----------
    score : callable (float) -> float
        Such as `signal` of a kernel with this bandwidth.
    least, most : float
        0 < least. Where least >= most, `most` alone is looked at.

    Returns
    -------
    float
        The bandwidth, to a relative error of 1e-4.

    Cost: 4 log2(most / least) + some 20 scores.

    The bandwidth at which one point feels another at the distance 1 most is 0.5412:

    >>> from particleflow.adaptive.pairs import Pairs
    >>> from particleflow.adaptive.signal import signal, strongest
    >>> pairs = Pairs.drawn(pf.Cloud([[0.0]]), pf.Cloud([[1.0], [1.0]]), 128)
    >>> score = lambda length: signal(pairs, pf.kernels.Gaussian(length))
    >>> round(strongest(score, 0.05, 2.0), 3)
    0.541
    """
    count = math.ceil(DENSITY * math.log2(most / least)) + 1 if most > least else 1
    grid = [most * (least / most) ** (k / max(1, count - 1)) for k in range(count)]
    # of equal scores the widest bandwidth wins
    best = max(range(count), key=[score(length) for length in grid].__getitem__)
    low, high = math.log(grid[min(best + 1, count - 1)]), math.log(grid[max(best - 1, 0)])
    inner, outer = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_inner, at_outer = score(math.exp(inner)), score(math.exp(outer))
    while high - low > EXACT:
        if at_inner > at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - GOLDEN * (high - low)
            at_inner = score(math.exp(inner))
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + GOLDEN * (high - low)
            at_outer = score(math.exp(outer))
    # an end of the grid may be better than all between
    return max((math.exp(0.5 * (low + high)), grid[best]), key=score)


def _sensitivity(
    z: Float[Tensor, "P d"],
    points: Float[Tensor, "Q d"],
    slope: Float[Tensor, "P Q"],
    curvature: Float[Tensor, "P Q"],
) -> Float[Tensor, "P"]:
    """2 |H g| at each z, of the force of `points`; both derivatives have the points' masses."""
    total = slope.sum(1, keepdim=True)
    g = 2 * (z * total - slope @ points)
    along = curvature * ((z * g).sum(1, keepdim=True) - g @ points.mT)
    image = 2 * g * total + 4 * (z * along.sum(1, keepdim=True) - along @ points)
    return 2 * image.norm(dim=1)
