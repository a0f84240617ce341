"""The command `live`: the records' flows and targets, as scenes of a page that steers them."""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import webbrowser
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from particleflow import samplers, schedules
from particleflow._refusals import Argument, RefusedValueError
from particleflow._typing import Points
from particleflow._words import nearest
from particleflow.cli import starts
from particleflow.cli.defaults import MOST_SHOWN, SHOWN
from particleflow.cli.files import Choices, drawn, target
from particleflow.cli.flows import PARTS, plan
from particleflow.cli.idle import acting
from particleflow.cli.maker import Maker, Problem
from particleflow.cli.names import FLOWS, TARGETS
from particleflow.cli.option import Option
from particleflow.cli.options import options_of
from particleflow.cli.records import Record, table
from particleflow.cli.starts import short
from particleflow.cli.toml import Settings, given
from particleflow.cli.values import checked
from particleflow.live import Control, Scene, Server, Session
from particleflow.live.painting import spread, strokes
from particleflow.memo import Memo
from particleflow.stopping import Stop

# The flow at first.
FIRST = "mmd"
# The names of targets that no record has.
OWN = table(
    Record(name="painted", line="strokes of the mouse"),
    Record(name="file", line="the file of --target"),
)
# The settings of the page in its order, and their words.
LABELS = {
    "flow": "flow",
    "target": "target",
    "kernel": "kernel",
    "ratio": "ratio",
    "mobility": "mobility",
    "critic": "critic",
    "bandwidth": "bandwidth",
    "lam": "lam",
    "beta": "noise beta",
    "shift": "shift",
    "temperature": "temperature",
    "dt": "time step dt",
    "integrator": "integrator",
    "n": "particles N",
}
# The integrator of Langevin dynamics; it is not chosen, since no other flow needs it.
BROWNIAN = FLOWS["langevin"].defaults["integrator"]
# The page's own lines about names whose records speak of flags, or of a schedule.
LINES = {
    "mmd-noise": "MMD flow with noise injection: the force is felt at x + beta u",
    "mono": "MonoFlow: climbs h(log ratio) of target and particles; h is the mobility",
    "w1": "climbs a Kantorovich potential at unit speed: optimal transport's, or a WGAN's critic",
    "vanilla": "log(1 + exp(d + shift)): the vanilla GAN, Jensen-Shannon at shift 0",
    "digits": "1797 handwritten digits (scikit-learn), in their first principal components",
    "iris": "150 iris flowers (scikit-learn), in their first principal components",
    "wine": "178 wines (scikit-learn), standardised, in their first principal components",
}
# Clouds that are kept, so that a setting of the flow alone changes neither of them.
KEPT = 4


@dataclass(frozen=True, eq=False)
class Aim:
    """A target's sampler and its samples, under the name `key`."""

    key: tuple[str, str]
    name: str
    law: samplers.Sampler
    y: Tensor


class Records:
    """A maker of scenes from the settings of the command line and of the page.

    A file that the command line names is read once, here. The page chooses among names only.
    """

    def __init__(self, settings: Settings) -> None:
        name = settings.get("target") or "rings"
        known = {**TARGETS, "painted": OWN["painted"]}
        self._file: samplers.Sampler | None = None
        choices = Choices.of(settings)
        if settings.get("pca") not in (None, 2):
            raise RefusedValueError(
                "pca",
                "must be 2, the number of coordinates of the page",
                settings.get("pca"),
                "leave it out",
            )
        if name not in TARGETS:
            known["file"] = replace(OWN["file"], line=Path(name).name)
            self._file, _ = target(
                name,
                pca=settings.get("pca") or 0,
                key=choices.key["target"],
                columns=choices.columns["target"],
                bright=choices.bright,
            )
            if self._file.dim != 2:
                raise RefusedValueError(
                    "target",
                    "must have two coordinates, those of the page",
                    self._file.dim,
                    ("add ", Argument("pca"), " 2, or choose two with ", Argument("columns")),
                )
        self._given = settings
        self._seed = given(settings.get("seed"), 0)
        options = {option.name: option for option in options_of("live")}
        options = {option: options[option] for option in LABELS}
        options["target"] = replace(options["target"], names=known, files=())
        options["n"] = replace(options["n"], most=MOST_SHOWN, lower="take fewer")
        self._options: dict[str, Option] = options
        self._aims: Memo[Aim] = Memo(KEPT)
        self._starts: Memo[Points] = Memo(KEPT)
        self.first = {option: settings.get(option) for option in LABELS}
        self.first |= {
            "flow": settings.get("flow") or FIRST,
            "target": name if name in TARGETS else "file",
            "n": given(settings.get("n"), SHOWN),
        }

    def make(self, settings: Mapping[str, Any]) -> Scene:
        """The scene of these settings. See `particleflow.live.Maker`."""
        wanted = {name: self._checked(name, value) for name, value in settings.items()}
        wishes = {name: value for name, value in wanted.items() if value is not None}
        aim = self._aim(wishes)
        flow = wishes.get("flow", FIRST)
        asked = {**self._given, **{name: wanted.get(name) for name in LABELS}}
        acts = _acting(asked, flow)
        mine: Settings = {name: asked.get(name) for name in acts}
        # the bandwidth stays until somebody moves its slider, and so does the step's length
        mine |= {"anneal": 0.0, "integrator": mine.get("integrator") or _usual(flow)}
        bulk, scale = starts.measured(aim.y, mine.get("bandwidth"))
        n = wishes.get("n", SHOWN)
        x0 = self._starts.get(
            (*aim.key, n, scale),
            lambda: starts.start({"n": n}, bulk, scale, self._seed + 1)[0],
        )
        problem = Problem(mine, [flow], aim.name, aim.law, scale, x0, aim.y)
        planned, own = plan(problem, flow, {**PARTS, "noise": _noise})
        own |= {"flow": flow, "target": aim.name, "n": n}
        shown = [name for name in LABELS if name in {*acts, "flow", "target", "n"}]
        controls = tuple(_control(self._options[name], scale) for name in shown)
        return Scene(
            x0,
            aim.y,
            planned.flow,
            planned.integrator,
            planned.dt,
            settings={name: own[name] for name in shown},
            chosen=tuple(c.name for c in controls if c.automatic and wanted.get(c.name) is None),
            controls=controls,
        )

    def _checked(self, name: str, value: Any) -> Any:
        if name == "strokes":
            return None if value is None else strokes(value)
        if name not in self._options:
            raise RefusedValueError(
                name,
                "is not a setting of the page",
                remedy=nearest(name, LABELS) or f"known are {', '.join(LABELS)}",
            )
        return None if value is None else checked(self._options[name], value)

    def _aim(self, wishes: Mapping[str, Any]) -> Aim:
        name, painted = wishes.get("target", "rings"), wishes.get("strokes")
        if name == "painted" and painted is None:
            raise RefusedValueError(
                "target", "painted has no strokes yet", remedy="paint some on the page"
            )
        own = json.dumps([stroke.tolist() for stroke in painted or ()])
        key = name, own if name == "painted" else ""
        return self._aims.get(key, lambda: self._drawn(key, painted))

    def _drawn(self, key: tuple[str, str], painted: Any) -> Aim:
        name, size = key[0], given(self._given.get("m"), SHOWN)
        law: samplers.Sampler
        if name == "painted":
            law = samplers.FromArray(spread(painted, size, seed=self._seed))
        elif name == "file":
            assert self._file is not None
            law = self._file
        else:
            law, _ = target(name, pca=TARGETS[name].defaults.get("pca", 0))
        return Aim(key, name, law, drawn(law, self._given.get("m"), "m", self._seed, default=size))


def _acting(settings: Settings, flow: str) -> set[str]:
    """The options that act in a flow, and are chosen."""
    acts = acting(settings, flow)
    if FLOWS[flow].brownian:
        acts.discard("integrator")
    return acts


def _usual(flow: str) -> Any:
    return FLOWS[flow].defaults.get("integrator", "euler")


def _noise(maker: Maker, record: Record) -> schedules.Schedule:
    """Noise that stays until somebody moves its slider."""
    return schedules.Constant(maker.value("beta", short(maker.problem.scale)))


def _control(option: Option, scale: float) -> Control:
    """The control of an option, for a target whose standard deviation is `scale`."""
    name, label = option.name, LABELS[option.name]
    if option.names is not None:
        names = [record for record in option.names.values() if record.name != BROWNIAN]
        lines = tuple((record.name, LINES.get(record.name, record.line)) for record in names)
        return Control(name, label, "choice", lines)
    area = 10.0 ** round(2 * math.log10(scale))
    return {
        # from a fine grain of the target to several times its size
        "bandwidth": Control(name, label, "log", low=0.02 * scale, high=5 * scale, automatic=True),
        "lam": Control(name, label, "log", low=1e-4, high=10.0),
        "beta": Control(name, label, "linear", low=0.0, high=2 * scale, automatic=True),
        "shift": Control(name, label, "linear", low=-5.0, high=5.0),
        "temperature": Control(name, label, "linear", low=0.0, high=4.0),
        # the rate of a flow is about that of its kernel, 1 / bandwidth^2, or larger
        "dt": Control(name, label, "log", low=1e-5 * area, high=1e2 * area, automatic=True),
        "n": Control(name, label, "whole", low=20, high=5000),
    }[name]


def live(settings: Settings, stop: Stop, say: Callable[[str], None]) -> int:
    """Serve the page until a signal ends it; returns the exit code. `say` prints its address."""
    maker = Records(settings)
    session = Session(maker, maker.first, seed=given(settings.get("seed"), 0))
    server = Server(session, given(settings.get("port"), 0))
    say(f"particleflow live: {server.address} (Ctrl-C ends it)")
    session.start()
    try:
        if settings.get("browser") is not False and _has_screen():
            # in a thread: a browser may keep its caller waiting
            opening = threading.Thread(target=webbrowser.open, args=[server.once()], daemon=True)
            opening.start()
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
        session.close()
    return 0 if stop.said == "Ctrl-C" else stop.code


def _has_screen() -> bool:
    """May a browser open a window here? Where there is no screen, some open in the terminal."""
    return sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
