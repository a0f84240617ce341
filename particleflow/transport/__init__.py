"""New points along a finished flow, and the density to which the flow carries that of its start.

`Trajectory.transport`, `Trajectory.log_density` and `Trajectory.kl` lead here.

- `replay`: a run made again, forward and, by segments, backward.
- `step`: one step of the run for other points, and its derivative.
- `inverse`: the inverse of a step.
- `points`: points moved along the run.
- `density`: log densities along the run, and the divergence from a target.
"""

from particleflow._words import suggesting
from particleflow.transport.density import Divergence, KernelDensity

__all__ = ["Divergence", "KernelDensity"]

__getattr__, __dir__ = suggesting(__name__)
