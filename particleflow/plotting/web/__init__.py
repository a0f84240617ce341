"""The player, a page that shows flows in step, offline.

`pack` turns arrays into few bytes, `page` puts them into `template.html` with `player.css` and
`player.js`, which draws.
"""

from particleflow.plotting.web.page import frame, page, player

__all__ = ["frame", "page", "player"]
