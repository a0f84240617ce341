"""A running flow: one thread takes the steps, obeys orders, and keeps the latest moment."""

from __future__ import annotations

import math
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import RefusedValueError, Sentence
from particleflow._supplied import in_short
from particleflow._typing import Points
from particleflow._words import nearest
from particleflow.clouds import Clock, Cloud, Draws, corners
from particleflow.engine import iterate
from particleflow.integrators import Snapshot, State
from particleflow.live.frames import Moment, origin, packed, plain
from particleflow.live.scene import Control, Maker, Scene

# Frames a second at most: more than a screen shows, so that a late one is made up for.
MOST_FRAMES = 100
# Seconds of steps that are made up for where the thread woke up late.
LATE = 0.05
# Seconds after the last request for a frame in which the flow goes on: it rests unwatched.
WATCHED = 3.0
# Seconds between two values of the fit: a value costs about as much as a step.
VALUED = 0.2
# Orders that may wait; a page waits for each answer, so that more are no page's.
MOST_ORDERS = 32
# Seconds that an order is waited for: longer than a step of any flow that can be watched.
PATIENCE = 60.0
# Seconds that the end waits for a step; a longer one is cut off with the program.
CLOSING = 2.0
# Steps a second at first: each is one frame.
SPEED = 60.0
# Said where particles do not stay at a change of target.
FAR = "most particles lay far outside the new target's picture: they begin at its start"
# The share of the largest energy of a scene below which a negative one is rounding: sums over pairs
# that cancel are known to 1e-7 or better.
ROUNDING = 1e-6
# What a page may order.
ORDERS = ("set", "run", "pause", "step", "restart")
# The control of the session itself.
PACE = Control("speed", "steps a second", "log", low=1.0, high=1000.0)


class BusyError(Exception):
    """An order was not obeyed in time, or too many wait."""


class Session:
    """A flow that runs, is steered, and is looked at from other threads.

    The constructor makes the first scene, and refuses settings that cannot be used. `start` begins
    the steps. The flow rests while nobody asks for frames. No error ends it: a run that cannot go
    on pauses at its last good particles, with the message in `facts`.

    Parameters
    ----------
    maker : Maker
    settings : mapping
        What the user has chosen; the maker chooses the rest.
    seed : int
        Of the flow's own random numbers.
    """

    def __init__(self, maker: Maker, settings: Mapping[str, Any], *, seed: int = 0) -> None:
        self._maker, self._seed = maker, seed
        self._settings = dict(settings)
        self._scene = maker.make(self._settings)
        self._changed = threading.Condition()
        self._orders: deque[tuple[Mapping[str, Any], Future[dict[str, Any]]]] = deque()
        self.closed = False
        self._asked = -math.inf
        self._running, self._speed = True, SPEED
        self._message = self._note = ""
        self._told = self._scenes = self._number = 0
        self._velocity, self._value, self._valued = math.nan, math.nan, -math.inf
        self._seconds, self._shown, self._due = math.nan, -math.inf, 0.0
        self._frame = b""
        self._clouds = {"target": b"", "start": b""}
        self._states: Iterator[State] | None = None
        self._begin(self._scene, self._first(self._scene))
        self._thread = threading.Thread(target=self._work, name="live flow", daemon=True)

    # ------------------------------------------------------------ asked from other threads

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the thread, and answer all who wait."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(CLOSING)

    def order(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Obey an order between two steps; returns the facts that hold from then on.

        `{"do": "set", "values": {"bandwidth": 0.3}}` changes settings, None leaves one to the
        program. "run", "pause", "step" and "restart" need nothing else.

        Raises
        ------
        ValueError, TypeError
            The order cannot be obeyed. Nothing has changed.
        BusyError
            It was not obeyed within a minute, or too many orders wait.
        """
        answer: Future[dict[str, Any]] = Future()
        with self._changed:
            if self.closed or len(self._orders) >= MOST_ORDERS:
                raise BusyError("too many orders wait, or the window is closed: try again")
            self._orders.append((wish, answer))
            self._changed.notify_all()
        try:
            return answer.result(PATIENCE)
        except (TimeoutError, CancelledError):
            answer.cancel()
            told = f"no answer within {PATIENCE:g} s: wait for the step, or restart the program"
            raise BusyError(told) from None

    def frame(self, after: int, patience: float) -> bytes:
        """The latest frame if its number is not `after`; else the next; empty if none comes."""
        with self._changed:
            self._asked = time.monotonic()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.closed or self._number != after, patience)
            return self._frame if self._number != after else b""

    def cloud(self, name: str) -> bytes:
        """The points of "target" or "start", as float32."""
        return self._clouds[name]

    @property
    def facts(self) -> dict[str, Any]:
        """All that the page says in words and numbers."""
        return self._facts

    # ------------------------------------------------------------ the thread of the flow

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self.closed and not self._orders:
                    self._changed.wait(self._rest())
                if self.closed:
                    break
                order = self._orders.popleft() if self._orders else None
            if order is not None:
                self._answer(*order)
            elif self._rest() == 0:
                self._due = max(self._due + 1 / self._speed, time.monotonic() - LATE)
                self._advance()
        for _, answer in self._orders:
            answer.cancel()

    def _rest(self) -> float | None:
        """Seconds to the next step; None while none is due."""
        now = time.monotonic()
        if not self._running:
            return None
        left = self._asked + WATCHED - now
        return max(0.0, self._due - now) if left > 0 else None

    def _answer(self, wish: Mapping[str, Any], answer: Future[dict[str, Any]]) -> None:
        if not answer.set_running_or_notify_cancel():
            return
        try:
            self._obey(wish)
        except Exception as error:  # whatever a maker or a fit raises is told, and changes nothing
            answer.set_exception(error)
        else:
            answer.set_result(self._facts)

    def _obey(self, wish: Mapping[str, Any]) -> None:
        do = wish.get("do")
        if not isinstance(do, str) or do not in ORDERS:
            guess = nearest(do, ORDERS) if isinstance(do, str) else ""
            wanted = f"must be one of {', '.join(ORDERS)}"
            raise RefusedValueError("do", wanted, _checks.said(do), guess or "send one of these")
        if do == "set":
            self._set(wish.get("values"))
        elif do == "restart":
            self._begin(self._scene, self._first(self._scene))
        elif do == "step":
            self._running = False
            self._advance()
        else:
            self._running = do == "run"
        self._tell()
        self._publish()

    def _set(self, values: Any) -> None:
        if not isinstance(values, dict):
            raise RefusedValueError(
                "values", "must be a table of settings", _checks.said(values), "send {name: value}"
            )
        values, speed = dict(values), self._speed
        if PACE.name in values:
            speed = _checks.real(values.pop(PACE.name), PACE.name)
            if not PACE.low <= speed <= PACE.high:
                raise RefusedValueError(
                    PACE.name, f"must be from {PACE.low:g} to {PACE.high:g}", f"{speed:g}"
                )
        if values:
            settings, state = {**self._settings, **values}, self._state
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", RuntimeWarning)
                scene = self._maker.make(settings)
                far = scene.y is not self._scene.y and _far(state.x.points, scene)
                if _same_but_for_dt(scene, self._scene):
                    start: Snapshot = state
                elif far:
                    start = self._first(scene)
                else:
                    points = _sized(state.x.points, scene.x0)
                    start = Snapshot(clock=state.clock, x=Cloud(points))
                self._begin(scene, start)
            self._settings = {name: value for name, value in settings.items() if value is not None}
            notes = [in_words(warning.message) for warning in caught] + [FAR] * far
            self._note = "; ".join(dict.fromkeys(notes))
        self._speed = speed

    def _first(self, scene: Scene) -> Snapshot:
        """The start of a run: the start's particles at time zero."""
        return Snapshot(clock=Clock(draws=Draws(self._seed)), x=Cloud(scene.x0))

    def _begin(self, scene: Scene, start: Snapshot) -> None:
        """Go on from `start` in this scene. Nothing has changed if it raises."""
        states = iterate(scene.flow, start, scene.y, dt=scene.dt, integrator=scene.integrator)
        state = next(states)
        last = self._scene
        if not self._scenes or scene.y is not last.y or scene.x0 is not last.x0:
            self._scenes += 1
            self._origin, self._largest = origin(*corners(scene.y, scene.x0)), 0.0
            self._clouds = {
                name: plain(points, self._origin)
                for name, points in (("target", scene.y), ("start", scene.x0))
            }
        self._scene, self._states, self._state = scene, states, state
        self._message = self._note = ""
        self._velocity, self._valued = math.nan, -math.inf
        self._tell()
        self._publish()

    def _advance(self) -> None:
        """One step. A run that cannot go on pauses."""
        began, before = time.perf_counter(), self._state
        message = self._message
        try:
            if self._states is None:
                self._begin(self._scene, before)
                assert self._states is not None
            state = next(self._states)
        except Exception as error:
            self._states, self._running = None, False
            self._message = in_words(error)
        else:
            self._seconds = time.perf_counter() - began
            if state.ended:
                self._states, self._running = None, False
            else:
                used = state.clock.t - before.clock.t
                moved = state.x.points - before.x.points
                self._velocity = float(moved.square().sum(1).mean().sqrt()) / used
            self._state, self._message = state, state.message
        if self._message != message:
            self._tell()
        if not self._running or time.monotonic() - self._shown >= 1 / MOST_FRAMES:
            self._publish()

    def _tell(self) -> None:
        """Make the facts anew."""
        scene = self._scene
        low, high = (corner - self._origin for corner in corners(scene.y, scene.x0))
        self._told += 1
        self._facts = {
            "facts": self._told,
            "scene": self._scenes,
            "settings": {**scene.settings, PACE.name: self._speed},
            "chosen": list(scene.chosen),
            "controls": [asdict(control) for control in (*scene.controls, PACE)],
            "particles": len(scene.x0),
            "samples": len(scene.y),
            # positions on the page are measured from here
            "origin": self._origin.tolist(),
            "box": [*low.tolist(), *high.tolist()],
            "value": "energy" if scene.flow.conservative else "value of the fit",
            "running": self._running,
            "ended": self._states is None,
            "message": self._message or self._note,
        }

    def _publish(self) -> None:
        """Make the present moment the latest frame. No frame waits: a slow page skips some."""
        state, now = self._state, time.monotonic()
        if now - self._valued >= VALUED or not self._running:
            value = _value(state)
            self._largest = max(self._largest, 0.0 if math.isnan(value) else abs(value))
            # an energy near its least value, zero, is a difference of large sums
            rounded = self._scene.flow.conservative and -ROUNDING * self._largest < value < 0
            self._value, self._valued = 0.0 if rounded else value, now
        moment = Moment(
            facts=self._told,
            scene=self._scenes,
            step=state.clock.step,
            t=state.clock.t,
            speed=self._velocity,
            value=self._value,
            dt=float(state.stepper.get("dt", self._scene.dt)),
            seconds=self._seconds,
        )
        with self._changed:
            self._number += 1
            self._frame = packed(self._number, moment, state.x.points, self._origin)
            self._shown = now
            self._changed.notify_all()


def in_words(told: object) -> str:
    """The text of an error or a warning, with the page's names for arguments."""
    if isinstance(told, Sentence):
        return told.said(lambda argument: argument.name.replace("_", " "))
    if isinstance(told, BaseException) and not isinstance(told, ValueError | TypeError | Warning):
        return in_short(told)
    return str(told)


def _value(state: State) -> float:
    """The value of a state's fit; NaN where there is none."""
    try:
        value = state.fit.value
    except Exception:  # a number beside the picture must not end the window
        return math.nan
    return math.nan if value is None else value


def _same_but_for_dt(one: Scene, other: Scene) -> bool:
    """Are clouds and flow the same? What the fit remembers then serves on."""
    flows = [{**scene.settings, "dt": None} for scene in (one, other)]
    return flows[0] == flows[1] and one.y is other.y and one.x0 is other.x0


def _far(x: Points, scene: Scene) -> bool:
    """Are most particles outside the box around start and target, three times as long as these?"""
    low, high = corners(scene.y, scene.x0)
    side = (high - low).max()
    outside = ((x < low - side) | (x > high + side)).any(1)
    return bool(outside.double().mean() > 0.5)


def _sized(x: Points, new: Tensor) -> Tensor:
    """The present particles, some left out or more of the start put to them: as many as `new`."""
    return x[: len(new)] if len(new) <= len(x) else torch.cat([x, new[len(x) :]])
