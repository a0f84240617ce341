"""The player, a page that shows flows in step, offline.

`pack` turns arrays into few bytes, `facts` gathers what is shown, `page` puts both into
`template.html` with `player.css`. In the page, `unpack.js` reads the arrays, `points.js` draws many
points, `axes.js` the numbers at the edges, `saving.js` writes a frame as PNG or SVG, `pointer.js`
obeys mouse and fingers, and `player.js` does everything else.
"""

from particleflow.plotting.web.page import page, player

__all__ = ["page", "player"]
