"""Films of recorded runs, or of states as they come, as GIFs."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from scipy.spatial import cKDTree

from particleflow import _checks
from particleflow.clouds import as_cloud
from particleflow.integrators import State
from particleflow.plotting.look import Look
from particleflow.plotting.panels import TALLEST, Panel, above, fitting, sheet
from particleflow.plotting.records import named, one_record, recorded, writable, write
from particleflow.plotting.scene import TAILED, Scene
from particleflow.plotting.style import LIGHT, colour
from particleflow.trajectory import Trajectory

# Pixels per inch.
DPI = 100
# Size of the text, in points.
FONT = 10.5
# Width of a panel, in inches, for 1, 2, 3 or 4 panels in a row.
WIDTHS = (5.2, 4.0, 3.2, 2.75)
# Extra seconds for the first and the last frame, so that viewers see the start and the end.
HOLD = (0.5, 1.5)
# Share of its path that is drawn behind each particle.
TRAIL = 0.12
# Number of frames whose colours make the palette: more cost time and change little.
SAMPLED = 5
# The entry of the 256 in the palette that means "unchanged".
UNCHANGED = 255
# For discs: bits of a channel that tell colours apart, and largest change of it that is not shown.
DISCS = (5, 0)
# The same for densities: haze shows steps with fewer bits, and every pixel of it trembles.
SHADES = (6, 8)

Pixels = UInt8[np.ndarray, "H W 3"]
Indices = UInt8[np.ndarray, "H W"]


def animate(
    paths: Trajectory | Mapping[str, Trajectory],
    file: str | Path,
    *,
    fps: int = 20,
    seconds: float = 5.0,
) -> Path:
    """Write a GIF of one run, or of several side by side on common axes; return its path.

    Each target is grey, under its run. The frames are spread evenly over the steps at which
    anything was recorded. A run without a record at such a step shows its last one before. A run
    that ended early says so and stays still. Tails show where up to 2000 particles came from,
    unless their motion is Brownian. The rest is drawn as in `snapshots`. The background is drawn
    once; pixels that did not change are left out. Cost: about 10 ms a panel and frame, 0.1 s for a
    million particles.

    The frames are spread evenly over the steps at which anything was recorded; a run without a
    record at such a step shows its last one before, and a run that ended early says so and waits.
    Tails show where up to 2000 particles came from, unless their motion is Brownian. What is drawn
    is as in `snapshots`.

    Parameters
    ----------
    paths : Trajectory or mapping of name to Trajectory
    file : str or Path
        Must end in .gif.
    fps : int
        Frames a second, at most 50 (browsers slow down anything faster). With fewer than `fps *
        seconds` records there are fewer frames, each shown for longer.
    seconds : float
        The length of the film; its first and last frame stay half a second and one and a half
        second longer.

    Raises
    ------
    TypeError, ValueError
        No runs, runs in different spaces, another suffix, fps or seconds out of range.
    OSError
        The file cannot be written.

    The background is drawn once, then only what moves; pixels that did not change are left out;
    cost: about 10 ms a panel and frame, 0.1 s for a million particles.
    """
    runs = named(paths)
    path = _gif(file)
    wanted = max(1, round(_rate(fps) * _checks.positive(seconds, "seconds")))
    steps = recorded(runs)
    steps = [steps[k] for k in _evenly(len(steps), wanted)]
    reel = _Film(runs, steps)
    palette = _Palette(
        np.concatenate([reel.frame(k) for k in _evenly(len(steps), SAMPLED)]), *reel.finish
    )
    return _write(
        path, palette, (reel.frame(k) for k in range(len(steps))), _durations(len(steps), seconds)
    )


def film(
    states: Iterable[Any], file: str | Path | None = None, *, target: Any = None, fps: int = 20
) -> Path:
    """Write a GIF of states as they come, one frame a state; return its path.

    No state is kept, so that clouds may be too large for a trajectory.

    >>> states = pf.iterate(flow, x0, target, dt=0.05)              # doctest: +SKIP
    >>> some = itertools.islice(states, 0, 500, 5)                  # doctest: +SKIP
    >>> film(some, "flow.gif", target=target)                       # doctest: +SKIP

    The axes are those of the target and the first state: particles that leave them are counted.
    Otherwise as `animate`, without tails.

    Parameters
    ----------
    states : iterable of State
        Of one run. It ends where they do, or where the run does.
    file : str or Path
        Must end in .gif.
    target : (M, d) points or Cloud, optional
        Shown in grey.
    fps : int
        Frames a second, at most 50; the first and the last frame stay half a second and one and a
        half second longer.

    Raises
    ------
    TypeError, ValueError, OSError
        No states, something else than states, otherwise as `animate`.

    Memory: three states, and some 0.2 MB a frame, compressed. Cost: O(N) and about 20 ms a frame
    beyond the states' own, 0.1 s for a million.
    """
    if isinstance(states, Trajectory):
        raise TypeError(
            "`states` must be states of one run, got a Trajectory: use its own film,"
            " path.animate('flow.gif')"
        )
    if not isinstance(states, Iterator):
        states = _checks.several(
            states, "states", remedy="pass what pf.iterate yields, or use animate"
        )
    if isinstance(
        states, Sequence
    ):  # states are looked at one by one as they come, since making one is work
        for state in states:
            _refuse_unless_state(state)
    if file is None:
        raise TypeError("`file` must be a path that ends in .gif, got None: pass e.g. 'flow.gif'")
    path, fps = _gif(file), _rate(fps)
    cloud = None if target is None else as_cloud(target, "target")
    frames: list[bytes] = []
    reel: _Film | None = None
    for state in states:
        _refuse_unless_state(state)
        run = one_record(state, cloud)
        reel = reel or _Film({"": run}, recorded({"": run}))
        pixels = reel.frame_of(run)
        frames.append(zlib.compress(pixels.tobytes(), 1))
    if reel is None:
        raise ValueError(
            "`states` must hold at least one state, got none: pass e.g."
            " itertools.islice(pf.iterate(...), 0, 500, 5)"
        )
    shape = pixels.shape

    def frame(k: int) -> Pixels:
        return np.frombuffer(zlib.decompress(frames[k]), np.uint8).reshape(shape)

    palette = _Palette(
        np.concatenate([frame(k) for k in _evenly(len(frames), SAMPLED)]), *reel.finish
    )
    return _write(
        path, palette, map(frame, range(len(frames))), _durations(len(frames), len(frames) / fps)
    )


def _refuse_unless_state(state: Any) -> None:
    if not isinstance(state, State):
        if isinstance(state, Trajectory):
            raise TypeError(
                "`states` must be states of one run, got a Trajectory among them: use"
                " animate({'name': path}, 'flow.gif')"
            )
        raise TypeError(
            f"`states` must be states of one run, got {type(state).__name__}: pass what pf.iterate"
            " yields, or use animate"
        )


def _gif(file: str | Path) -> Path:
    return writable(file, (".gif",), "pass e.g. 'flow.gif' (ffmpeg turns it into other formats)")


def _rate(fps: int) -> int:
    if _checks.count(fps, "fps") > 50:
        raise ValueError(
            f"`fps` must be at most 50, got {fps}: browsers play faster GIFs slowly, record fewer"
            " frames"
        )
    return fps


def _write(path: Path, palette: _Palette, frames: Iterable[Pixels], durations: list[int]) -> Path:
    images = map(palette.image, _differences(map(palette.indices, frames), palette.alike))
    made = BytesIO()
    next(images).save(
        made,
        "GIF",
        save_all=True,
        append_images=images,
        duration=durations,
        loop=0,
        disposal=1,
        transparency=UNCHANGED,
        optimize=False,
    )
    write(path, made.getvalue())
    return path


class _Film:
    """The sheet of panels, and its pixels at each frame."""

    def __init__(self, runs: Mapping[str, Trajectory], steps: Sequence[int]) -> None:
        self.steps = steps
        scene = Scene.of(runs, steps)
        rows = math.ceil(len(runs) / len(WIDTHS))
        columns = math.ceil(len(runs) / rows)
        width = WIDTHS[columns - 1] * min(1.0, TALLEST / scene.aspect)
        margins = (
            0.5 + 0.2 * bool(scene.labels[1]),
            0.15,
            0.35 + 0.2 * bool(scene.labels[0]),
            0.35 + 0.25 * any(runs),
        )
        figure = sheet(
            rows,
            columns,
            (width, width * scene.aspect),
            margins,
            (0.15, 0.45 + 0.25 * any(runs)),
            DPI,
        )
        for ax in figure.axes[len(runs) :]:
            ax.remove()
        self.panels = []
        for k, (name, ax) in enumerate(zip(runs, figure.axes, strict=True)):
            outer = (k % columns == 0, k + columns >= len(runs))
            tailed = runs[name].particles.shape[1] <= TAILED and scene.smooth(name)
            look = Look(trails=TRAIL if tailed else 0.0)
            self.panels.append(Panel(ax, scene, name, colour(k), size=FONT, outer=outer, look=look))
            above(
                ax, 5.0 + 1.7 * FONT, name, fitting(name, 1.25 * FONT, width), colour(k)
            ).set_fontweight("bold")
        assert isinstance(figure.canvas, FigureCanvasAgg)
        self.canvas = figure.canvas
        for artist in self._moving():
            artist.set_animated(True)
        self.finish = DISCS if math.isnan(scene.level) else SHADES
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(figure.bbox)

    def frame(self, k: int) -> Pixels:
        """Return the pixels of the k-th frame."""
        return self._pixels(self.steps[k])

    def frame_of(self, run: Trajectory) -> Pixels:
        """Return the pixels of one record of a single run, drawn on this film's axes and tones."""
        (panel,) = self.panels
        panel.scene = replace(panel.scene, paths={panel.name: run})
        return self._pixels(int(run.steps[0]))

    def _pixels(self, step: int) -> Pixels:
        self.canvas.restore_region(self.background)
        for panel in self.panels:
            panel.show(step)
        for artist in self._moving():
            artist.draw(self.canvas.get_renderer())
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()

    def _moving(self) -> Iterator[Artist]:
        for panel in self.panels:
            yield from panel.moving


class _Palette:
    """255 colours for a whole film.

    The colours of the film's parts are kept exactly; a median cut of some frames gives the colours
    of their blends. A table over the leading bits of each channel gives the nearest colour. Two
    colours count as alike if they differ by at most `slack` in each channel.
    """

    def __init__(self, pixels: Pixels, bits: int, slack: int) -> None:
        self.bits, most = bits, 2**bits - 1
        exact = [LIGHT.ground, LIGHT.target, LIGHT.spine, LIGHT.faint, LIGHT.ink, *LIGHT.runs]
        codes = np.unique(self._codes(pixels))
        blends = np.stack([codes >> 2 * bits, (codes >> bits) & most, codes & most], axis=1)
        blends = (blends * 255 / most).round().astype(np.uint8)
        cut = Image.fromarray(blends[None]).quantize(
            UNCHANGED - len(exact), Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
        colours = [int(c[i : i + 2], 16) for c in exact for i in (1, 3, 5)] + list(
            cut.getpalette() or []
        )[: 3 * (UNCHANGED - len(exact))]
        self.colours = colours + (768 - len(colours)) * [255]
        rgb = np.reshape(self.colours, (-1, 3))
        cube = np.indices(3 * (most + 1,)).reshape(3, -1).T * 255 / most
        self.table = cKDTree(rgb[:UNCHANGED]).query(cube)[1].astype(np.uint8)
        self.alike = np.abs(rgb[:, None] - rgb).max(2) <= slack

    def indices(self, pixels: Pixels) -> Indices:
        """Return the nearest colour of each pixel."""
        return self.table[self._codes(pixels)]

    def image(self, indices: Indices) -> Image.Image:
        """Return a PIL image with this palette."""
        image = Image.fromarray(indices, "P")
        image.putpalette(self.colours)
        return image

    def _codes(self, pixels: Pixels) -> Int[np.ndarray, "H W"]:
        """Return the leading bits of the three channels of each pixel, in one integer."""
        some = (pixels >> (8 - self.bits)).astype(np.int32)
        return (some[..., 0] << 2 * self.bits) | (some[..., 1] << self.bits) | some[..., 2]


def _differences(frames: Iterable[Indices], alike: Bool[np.ndarray, "C C"]) -> Iterator[Indices]:
    """Yield the first frame, then the changed pixels of each frame.

    A pixel has changed if it is not like the colour shown so far.
    """
    shown: Indices | None = None
    for frame in frames:
        if shown is None:
            shown = frame
            yield frame
            continue
        same = alike[frame, shown]
        shown = np.where(same, shown, frame)
        yield np.where(same, np.uint8(UNCHANGED), frame)


def _evenly(count: int, wanted: int) -> list[int]:
    """Return at most `wanted` evenly spread indices of 0 ... count - 1, both ends included.

    All indices are returned where there are fewer than `wanted`.
    """
    return [int(k) for k in np.linspace(0, count - 1, min(count, wanted)).round()]


def _durations(count: int, seconds: float) -> list[int]:
    """Return the duration of each frame in milliseconds.

    Durations are multiples of 10 ms, the unit of GIF. They add up to the film's length. The first
    and the last frame are held longer.
    """
    ends = (np.linspace(0, 100 * seconds, count + 1)).round().astype(int)
    each = np.maximum(np.diff(ends), 2)
    each[0] += round(100 * HOLD[0])
    each[-1] += round(100 * HOLD[1])
    return [10 * int(hundredths) for hundredths in each]
