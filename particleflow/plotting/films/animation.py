"""Films of recorded runs, or of states as they come: GIF and MP4."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow.clouds import Cloud, as_cloud
from particleflow.integrators import State
from particleflow.plotting.drawing.look import Look, framed
from particleflow.plotting.films.gif import Frame
from particleflow.plotting.films.insets import distance
from particleflow.plotting.films.output import Output
from particleflow.plotting.films.reel import Reel
from particleflow.plotting.notebook import Film
from particleflow.plotting.scenes.known import LogDensity
from particleflow.plotting.scenes.pace import moments, paced, steady
from particleflow.plotting.scenes.records import named, one_record
from particleflow.plotting.scenes.scene import TAILED, Scene
from particleflow.samplers.base import Density
from particleflow.trajectory import Trajectory

# Share of its path that is drawn behind each particle by default.
TRAIL = 0.12
# Degrees by which the eye goes round during a film by default (d = 3).
ORBIT = 90.0
# Most seconds of a film: at 20 frames a second and 0.03 s a frame it takes as long to make.
LONGEST = 1800.0


def animate(
    paths: Trajectory | Mapping[str, Trajectory],
    file: str | Path,
    *,
    fps: int = 20,
    seconds: float = 5.0,
    pace: str = "path",
    title: str = "",
    color: Any = "flow",
    trails: float | bool | None = None,
    arrows: bool = False,
    inset: bool = True,
    dark: bool = False,
    transparent: bool = False,
    axes: tuple[int, int] | None = None,
    xlim: tuple[float, float] | None = None,
    ylim: tuple[float, float] | None = None,
    density: Density | LogDensity | None = None,
    as_images: tuple[int, int] | None = None,
    orbit: float | None = None,
    size: float | tuple[float, float] | None = None,
    dpi: int = 200,
) -> Film:
    """Write a film of one run, or of several side by side on common axes; return its path.

    The suffix of the file chooses its kind. A GIF plays everywhere. An MP4 (H.264) is several times
    smaller and has all colours; it needs the package imageio-ffmpeg.

    Each target is grey, under its run. A run that ended early says so and stays still.

    - d = 1: histograms over rugs.
    - d = 2: the particles.
    - d = 3: a view in perspective that turns.
    - d > 3: the plane of the target's first two principal axes.

    A cloud of more than 20000 points is shown as a density.

    Parameters
    ----------
    paths : Trajectory or mapping of name to Trajectory
        Runs in one dimension; each has a panel.
    file : str or Path
        Must end in .gif or .mp4.
    fps : int
        Frames a second, at most 50 for a GIF and 120 for an MP4.
    seconds : float
        The length of the film, at most 1800. Its first frame stays half a second longer and its
        last frame one and a half.
    pace : str
        What the frames are even in. "path": the distance that the particles travel, of several runs
        the mean of their shares. "steps": the number of steps. "time": the time of the flow, of
        several runs the mean of their shares.
        Between two records particles move on straight lines, so that there are `fps * seconds`
        frames however few records there are. Brownian particles do not: they are shown at their
        last record. A film of Brownian runs alone has at most a frame for each record.
    title : str
        Stands above all panels.
    color : str, or (N,) labels
        "flow": one colour for each run. "start": by where a particle began. "speed": |v| on a
        logarithmic scale. "mass": of unbalanced flows. Labels, whole numbers or texts: by the class
        of each particle, at most 32 classes.
    trails : float or bool, optional
        The share of the path's length, 0 to 1, that is drawn behind the particles (of more than
        2000, behind some). Default: 0.12, but none for Brownian runs and more than 2000 particles.
    arrows : bool
        Velocities of some particles as arrows (d > 1).
    inset : bool
        A small curve above each panel that recorded W2 (else sliced W2 or W1): its value at each
        moment, with the floor, the distance of two fresh samples of the target, as a dashed line
        for clouds of at most 1000 points.
    dark : bool
        A dark ground.
    transparent : bool
        A transparent ground, for a GIF alone. Its pixels are clear or opaque: what covers a part of
        its pixels has its pure colour at such a share of them.
    axes : (i, j), optional
        Two coordinates to be shown, from 0 on.
    xlim, ylim : (low, high), optional
        The limits of the axes, in units of the coordinates; `xlim` alone where d = 1, with `axes`
        where d = 3.
    density : density or callable, optional
        A target whose density p is known, as Langevin flows have it: what has `log_density`, such
        as a sampler, or a function from z (Q, d) to log p (Q,), up to a constant. It is drawn in
        grey (d <= 2).
    as_images : (height, width), optional
        Show the first 36 particles as pictures, height * width = d.
    orbit : float, optional
        Degrees by which the eye goes round during the film (d = 3). Default: 90.
    size : float or (width, height), optional
        Of the whole picture, in inches: (9.6, 5.4) has 1920 x 1080 pixels at 200 dpi. Default: up
        to 12 inches wide, by the number of runs.
    dpi : int
        Pixels per inch, at least 50.

    Returns
    -------
    Path
        Of the film, which a notebook plays.

    Raises
    ------
    TypeError
        `paths` is no Trajectory and no mapping to them, or an option has another type. Nothing has
        been drawn by then.
    ValueError
        There is no run, the runs have different dimensions, `file` has another suffix, or an option
        has another value or does not act on these runs. Nothing has been drawn by then.
    ImportError
        The file ends in .mp4 and imageio-ffmpeg is missing. Nothing has been drawn by then.
    OSError
        The file cannot be written, or its folder does not exist. An old file stays as it was.

    Cost: about 15 ms a panel and frame, 0.1 s for a million particles.

    >>> x0 = pf.samplers.Gaussian(dim=2, std=0.1).sample(30, seed=0)
    >>> y = pf.samplers.Rings().sample(40, seed=1)
    >>> path = pf.simulate(pf.mmd_flow(pf.kernels.Gaussian(0.2)), x0, y, steps=20)
    >>> film = pf.plotting.animate(
    ...     {"MMD flow": path}, "flow.gif", seconds=0.4, fps=10, dpi=50
    ... )
    >>> film.name, film.exists()
    ('flow.gif', True)
    """
    runs = named(paths)
    output = Output.asked(file, fps=fps, transparent=transparent, title=title, size=size, dpi=dpi)
    seconds, pace = _length(seconds), paced(pace)
    look = Look.asked(
        runs,
        color=color,
        trails=False if trails is None else trails,
        arrows=arrows,
        dark=dark,
        as_images=as_images,
    )
    shown = framed(runs, look, axes=axes, xlim=xlim, ylim=ylim, density=density)
    turn = _turn(runs, orbit, flat=axes is not None or look.as_images is not None)
    wanted = distance if _checks.flag(inset, "inset") else None
    between = frozenset(name for name, run in runs.items() if steady(run))
    steps = moments(runs, max(1, round(fps * seconds)), pace, between=bool(between))
    scene = Scene.of(runs, steps.tolist(), orbit=turn, between=between, **shown)
    short = replace(look, trails=TRAIL if trails is None and _trailed(scene, look) else look.trails)
    few = {name for name in between if runs[name].particles.shape[1] <= TAILED}
    found = {
        name: measured
        for name, run in runs.items()
        if wanted and (measured := wanted(run, steps, between=name in between)) is not None
    }
    looks = {name: short if name in few else look for name in runs}
    reel = Reel(scene, looks, output.form, distances=found, orbit=turn)
    return output.write(reel, seconds)


def film(
    states: Iterable[Any],
    file: str | Path | None = None,
    *,
    target: Any = None,
    fps: int = 20,
    title: str = "",
    color: Any = "flow",
    dark: bool = False,
    transparent: bool = False,
    axes: tuple[int, int] | None = None,
    xlim: tuple[float, float] | None = None,
    ylim: tuple[float, float] | None = None,
    density: Density | LogDensity | None = None,
    as_images: tuple[int, int] | None = None,
    size: float | tuple[float, float] | None = None,
    dpi: int = 200,
) -> Film:
    """Write a film of states as they come, one frame a state; return its path.

    No state is kept, so that clouds may be too large for a trajectory. The axes are those of the
    target and the first state: particles that leave them are counted. There are no trails and no
    curves. What is drawn in d = 1, 2, 3 and above is that of `animate`; the eye stands still.

    Parameters
    ----------
    states : iterable of State
        Of one run, as `pf.iterate` yields them. It ends where they do, or where the run does.
    file : str or Path
        Must end in .gif or .mp4. It is needed.
    target : (M, d) points or Cloud, optional
        Shown in grey.
    fps : int
        Frames a second, at most 50 for a GIF and 120 for an MP4. The first frame stays half a
        second longer and the last frame one and a half.
    title : str
        Stands above the panel.
    color : str, or (N,) labels
        "flow": one colour. "start": by where a particle began. "mass": of unbalanced flows. Labels:
        by the class of each particle.
    dark : bool
        A dark ground.
    transparent : bool
        A transparent ground, for a GIF alone.
    axes : (i, j), optional
        Two coordinates to be shown, from 0 on.
    xlim, ylim : (low, high), optional
        The limits of the axes; `xlim` alone where d = 1, with `axes` where d = 3.
    density : density or callable, optional
        A target whose density is known, drawn in grey (d <= 2), as in `animate`.
    as_images : (height, width), optional
        Show the first 36 particles as pictures, height * width = d.
    size : float or (width, height), optional
        Of the whole picture, in inches.
    dpi : int
        Pixels per inch, at least 50.

    Returns
    -------
    Path
        Of the film, which a notebook plays.

    Raises
    ------
    TypeError
        `states` are something else than states, `file` is left out, or an option has another type.
    ValueError
        There is no state, `file` has another suffix, or an option has another value or does not act
        on these states, such as color="speed".
    ImportError
        The file ends in .mp4 and imageio-ffmpeg is missing.
    OSError
        The file cannot be written, or its folder does not exist. An old file stays as it was.

    Cost: O(N) and about 20 ms a frame beyond the states' own, 0.1 s for a million particles.
    Memory: three states; of a GIF also some 0.3 MB a frame, compressed.

    >>> import itertools
    >>> x0 = pf.samplers.Gaussian(dim=2, std=0.1).sample(30, seed=0)
    >>> y = pf.samplers.Rings().sample(40, seed=1)
    >>> states = pf.iterate(pf.mmd_flow(pf.kernels.Gaussian(0.2)), x0, y, dt=0.05)
    >>> some = itertools.islice(states, 0, 7, 2)  # four frames: steps 0, 2, 4, 6
    >>> pf.plotting.film(some, "flow.gif", target=y, dpi=50).name
    'flow.gif'
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
        raise TypeError(
            "`file` must be a path that ends in .gif or .mp4, got None: pass e.g. 'flow.gif'"
        )
    output = Output.asked(file, fps=fps, transparent=transparent, title=title, size=size, dpi=dpi)
    dark = _checks.flag(dark, "dark")
    if isinstance(color, str) and color == "speed":
        raise RefusedValueError(
            "color",
            "must be one of 'flow', 'start', 'mass' in a film of states",
            color,
            "record a trajectory, and pass it to animate",
        )
    cloud = None if target is None else as_cloud(target, "target")

    def opened(run: Trajectory) -> Reel:
        runs = {"": run}
        look = Look.asked(runs, color=color, dark=dark, as_images=as_images)
        shown = framed(runs, look, axes=axes, xlim=xlim, ylim=ylim, density=density)
        scene = Scene.of(runs, run.steps.tolist(), **shown)
        return Reel(scene, {"": look}, output.form)

    frames = _drawn(states, cloud, opened)
    try:
        first, reel = next(frames)
    except StopIteration:
        raise ValueError(
            "`states` must hold at least one state, got none: pass e.g."
            " itertools.islice(pf.iterate(...), 0, 500, 5)"
        ) from None
    return output.write_states(reel, itertools.chain([first], (frame for frame, _ in frames)))


def _drawn(
    states: Iterable[Any], target: Cloud | None, opened: Callable[[Trajectory], Reel]
) -> Iterator[tuple[Frame, Reel]]:
    """Yield the frame of each state, and the reel, which is opened for the first state."""
    reel: Reel | None = None
    for state in states:
        _refuse_unless_state(state)
        run = one_record(state, target)
        reel = reel or opened(run)
        yield reel.frame_of(run), reel
        del state, run


def _trailed(scene: Scene, look: Look) -> bool:
    return scene.flat and look.as_images is None


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


def _length(seconds: Any) -> float:
    length = _checks.positive(seconds, "seconds")
    if length > LONGEST:
        raise RefusedValueError(
            "seconds", f"must be at most {LONGEST:g}", f"{length:g}", "pass e.g. 10.0"
        )
    return length


def _turn(runs: Mapping[str, Trajectory], orbit: Any, *, flat: bool) -> float:
    """Return the degrees of an orbit; 0 where points are not seen in perspective."""
    space = next(iter(runs.values())).particles.shape[2] == 3 and not flat
    if orbit is None:
        return ORBIT if space else 0.0
    degrees = _checks.real(orbit, "orbit", remedy="pass degrees, e.g. 90, or 0 to stand still")
    if not space:
        raise RefusedValueError(
            "orbit", "needs points in perspective (d = 3)", f"{degrees:g}", "leave it out"
        )
    return degrees
