"""Pictures, films and pages of trajectories, and films of states as they come.

The functions take one `Trajectory`, or several by name, which are shown side by side. A cloud of
more than 20000 points is shown as a density.

- `style`: colours, dashes, themes. `look`: the options. `records`: runs, steps and files.
- `views`, `framing`, `scene`: where points are seen. `density`, `known`: densities at pixels.
- `shades`, `layers`, `marks`, `panels`, `pictures`: what is drawn into one pair of axes.
- `static`, `spacetime`, `sheets`: snapshots. `seen`, `fields`: the field. `series`, `floors`,
  `ticks`, `ends`, `charts`: curves.
- `pace`: the moments of a film. `insets`, `reel`: its frames. `gif`, `mp4`, `output`: its file.
  `animation`: films. `web`: the player.
"""

from particleflow._words import suggesting
from particleflow.plotting.animation import animate, film
from particleflow.plotting.charts import curves
from particleflow.plotting.fields import field
from particleflow.plotting.static import snapshots
from particleflow.plotting.web import player

__all__ = ["animate", "curves", "field", "film", "player", "snapshots"]

__getattr__ = suggesting(__name__)
