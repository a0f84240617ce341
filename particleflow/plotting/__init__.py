"""Pictures, films and pages of trajectories, and films of states as they come.

The functions take one `Trajectory`, or several by name, which are shown side by side. A cloud of
more than 20000 points is shown as a density.
"""

from particleflow._words import suggesting
from particleflow.plotting.animation import animate, film
from particleflow.plotting.static import curves, snapshots
from particleflow.plotting.web import player

__all__ = ["animate", "curves", "film", "player", "snapshots"]

__getattr__ = suggesting(__name__)
