"""The share of the particles that a flow has left far from the target."""

from __future__ import annotations

from dataclasses import dataclass

from particleflow import _checks
from particleflow.clouds import Cloud
from particleflow.metrics.base import OfClouds
from particleflow.strays import nearest


@dataclass(frozen=True)
class LeftBehind(OfClouds):
    r"""The share of the particles' mass that is farther than `radius` from every target point.

    .. math::

        \frac{1}{\sum_i m_i} \sum_i m_i \,
            1\left[ \min_j \left| x_i - y_j \right| > \text{radius} \right]

    W2 is a mean and hides stragglers: a tenth of the particles at a small distance costs as much as
    one particle far away. The share is between 0 and 1; times N it is the number of particles,
    where their masses are equal. Unlike distances it is not symmetric. A share of 0 does not mean
    that the clouds are equal: the particles may sit on a part of the target. Target points without
    mass do not count.

    Parameters
    ----------
    radius : float
        A distance > 0, in units of the coordinates. It should exceed the distance of neighbouring
        target points; `Trajectory.summary` tells such a one, `stray_distance`.

    Raises
    ------
    TypeError
        `radius` is no number. A call: a cloud is not numeric, or the dtypes of two tensors differ.
    ValueError
        `radius` is not > 0. A call: a cloud is not (N, d), is empty or not finite, or the
        dimensions differ.

    Cost: O(N M d), by tiles.

    Source: ours, for the three rings of Glaser, Arbel and Gretton (2021), where MMD flow leaves
    particles behind.

    >>> pf.metrics.LeftBehind(0.5)([[0.2], [1.0], [9.0], [0.6]], [[0.0], [1.0]])
    0.25
    """

    radius: float

    def __post_init__(self) -> None:
        remedy = "pass a distance, e.g. 0.1"
        object.__setattr__(self, "radius", _checks.positive(self.radius, "radius", remedy=remedy))

    @property
    def label(self) -> str:
        return f"share farther than {self.radius:g} from the target"

    def between(self, x: Cloud, y: Cloud) -> float:
        target = y.points if y.log_mass is None else y.points[y.mass > 0]
        mass = x.mass.double()
        far = nearest(x.points, target) > self.radius
        return float(mass[far].sum() / mass.sum())
