"""Pictures and films of trajectories: functions of one `Trajectory`, or of several by name, which are then shown side by side."""

from particleflow.plotting.animation import animate
from particleflow.plotting.static import curves, snapshots

__all__ = ["animate", "curves", "snapshots"]
