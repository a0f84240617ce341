"""The live window: a flow that runs while a page in the browser shows and steers it.

Nothing here knows a flow or a target by name: a `Maker` turns settings into a scene. The command
line has one made of its records. In reading order:

- `scene`: what a maker gives: clouds, flow, dt, and the controls that the page shows.
- `painting`: from strokes of the mouse to a target's points.
- `frames`: the bytes of one moment.
- `session`: the thread that takes the steps and obeys orders.
- `guard`, `server`: who is answered, and the answers. `page.html`, `live.css`, `live.js`: the page.
"""

from particleflow.live.scene import Control, Maker, Scene
from particleflow.live.server import Server
from particleflow.live.session import Session

__all__ = ["Control", "Maker", "Scene", "Server", "Session"]
