"""Metrics of how far the particles are from the target: `metric(x, y) -> float`.

| metric | quantity | exact | cost |
|---|---|---|---|
| `MMD2`, `MMD` | squared MMD and its root | yes | O((N + M)^2 d) |
| `EnergyDistance` | squared | yes | O((N + M)^2 d) |
| `W2`, `W1` | distance (root for W2) | d = 1, or <= `max_points` points | about O(N M (N + M)) |
| `SlicedW2` | root of the mean square | on fixed directions | O(projections (N + M) log(N + M)) |
| `LeftBehind` | share of the particles beyond a radius | yes | O(N M d) |

All but `LeftBehind` are symmetric. x and y are `Cloud` objects, whose masses count, or plain (n, d)
tensors or arrays of equally heavy points. A list or a numpy array takes the dtype and device of the
other argument, if that is a tensor. `label` names the quantity for an axis. `label_of(x, y)` also
tells the number of points drawn, where not all are compared. `floor(metric, y, n)` is the value
that a fresh sample of the target would have. `two_sample(x, y)` tests whether two clouds are
samples of one distribution.
"""

from particleflow._words import suggesting
from particleflow.metrics.base import Metric, Subsampling, label_of
from particleflow.metrics.behind import LeftBehind
from particleflow.metrics.discrepancies import MMD, MMD2, EnergyDistance
from particleflow.metrics.floors import Floor, floor
from particleflow.metrics.sliced import SlicedW2
from particleflow.metrics.transport import W1, W2
from particleflow.metrics.two_samples import TwoSample, two_sample

__all__ = [
    "MMD",
    "MMD2",
    "W1",
    "W2",
    "EnergyDistance",
    "Floor",
    "LeftBehind",
    "Metric",
    "SlicedW2",
    "Subsampling",
    "TwoSample",
    "floor",
    "label_of",
    "two_sample",
]

__getattr__, __dir__ = suggesting(__name__)
