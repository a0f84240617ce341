"""Pictures, films and pages that a notebook shows where they are the last line of a cell."""

from __future__ import annotations

import base64
import io
import sys
from dataclasses import dataclass
from html import escape
from pathlib import PosixPath, WindowsPath

from matplotlib.figure import Figure

if sys.platform == "win32":
    _Path = WindowsPath
else:
    _Path = PosixPath

# Pixels of a browser's page in an inch (CSS).
CSS_PIXELS = 96
# Height of a player in a notebook, in pixels of a browser's page.
HEIGHT = 620
# The kinds of the files that a page can hold.
KINDS = {".gif": "image/gif", ".mp4": "video/mp4"}


class Picture(Figure):
    """A figure of matplotlib that a notebook shows without %matplotlib.

    pyplot does not know it, so that it needs no `close` and no window.
    """

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The picture at its own resolution, shown at its size in inches."""
        made = io.BytesIO()
        self.savefig(made, format="png", dpi=self.dpi, facecolor=self.get_facecolor())
        return made.getvalue(), {"width": round(self.get_figwidth() * CSS_PIXELS)}


class Film(_Path):
    """The path of a film, which a notebook plays."""

    def _repr_html_(self) -> str | None:
        kind = KINDS.get(self.suffix.lower())
        if kind is None or not self.is_file():
            return None
        source = f"data:{kind};base64,{base64.b64encode(self.read_bytes()).decode()}"
        if kind == "video/mp4":
            return f'<video controls loop style="max-width:100%" src="{source}"></video>'
        return f'<img alt="{escape(self.name, quote=True)}" style="max-width:100%" src="{source}">'


class Page(_Path):
    """The path of a player's page, which a notebook shows."""

    def _repr_html_(self) -> str | None:
        return Frame(self.read_text(encoding="utf-8"))._repr_html_() if self.is_file() else None


@dataclass(frozen=True, repr=False)
class Frame:
    """A player's page that is in no file, and that a notebook shows as a frame within its own.

    Attributes
    ----------
    html : the text of the page.
    """

    html: str

    def __repr__(self) -> str:
        return f"Frame(a page of {len(self.html) / 1e6:.1f} MB, which a notebook shows)"

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html, quote=True)}" title="particle flow" width="100%"'
            f' height="{HEIGHT}" style="border:0" allow="fullscreen" loading="lazy"></iframe>'
        )
