"""Pictures and films of trajectories: functions of one `Trajectory`, or of several by name, which
are then shown side by side; or of states as they come. A cloud of more than 20000 points is shown
as a density.
"""

from particleflow._words import suggesting
from particleflow.plotting.animation import animate, film
from particleflow.plotting.static import curves, snapshots

__all__ = ["animate", "curves", "film", "snapshots"]

__getattr__ = suggesting(__name__)
