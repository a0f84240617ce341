"""Pictures, films and pages of trajectories, and films of states as they come.

The functions take one `Trajectory`, or several by name, which are shown side by side. A cloud of
more than 20000 points is shown as a density. In reading order:

- `style`: the colours, dashes and themes of all.
- `scenes`: what is shown, and where; `drawing`: how it is put on paper.
- `figures`, `films`, `web`: snapshots, fields and curves; GIF and MP4; the player.
"""

from particleflow._words import suggesting
from particleflow.plotting.figures.charts import curves
from particleflow.plotting.figures.fields import field
from particleflow.plotting.figures.snapshots import snapshots
from particleflow.plotting.films.animation import animate, film
from particleflow.plotting.web import player

__all__ = ["animate", "curves", "field", "film", "player", "snapshots"]

__getattr__, __dir__ = suggesting(__name__)
