"""The file of a film: its kind and rate, and frames written as a GIF or an MP4."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from particleflow import _checks
from particleflow._refusals import RefusedTypeError, RefusedValueError
from particleflow.plotting.drawing.sheets import words
from particleflow.plotting.films import gif, mp4
from particleflow.plotting.films.gif import Frame, Palette
from particleflow.plotting.films.reel import Format, Reel
from particleflow.plotting.notebook import Film
from particleflow.plotting.scenes.records import writable, write

# Extra seconds for the first and the last frame, so that viewers see the start and the end.
HOLD = (0.5, 1.5)
# Most frames a second of each kind: browsers play faster GIFs slowly, and screens show no more.
FASTEST = {".gif": 50, ".mp4": 120}
# Number of frames whose colours make the palette of a GIF: more cost time and change little.
SAMPLED = 5
# Fewest pixels per inch: below it numbers at the ticks cannot be read.
COARSEST = 50


@dataclass(frozen=True)
class Output:
    """Where a film goes and how; `asked` checks what users pass.

    Attributes
    ----------
    path : ends in .gif or .mp4.
    fps : frames a second.
    form : the picture around the panels.
    """

    path: Path
    fps: int
    form: Format

    @classmethod
    def asked(
        cls, file: Any, *, fps: Any, transparent: Any, title: Any, size: Any, dpi: Any
    ) -> Output:
        """Return the output that was asked for.

        Raises
        ------
        TypeError, ValueError, FileNotFoundError
            Another suffix, no such folder, or an option of another type or value.
        ImportError
            The file ends in .mp4 and imageio-ffmpeg is missing.
        """
        path = writable(file, tuple(FASTEST), "pass e.g. 'flow.gif' or 'flow.mp4'")
        kind = path.suffix.lower()
        if (rate := _checks.count(fps, "fps")) > FASTEST[kind]:
            why = "browsers play faster ones slowly" if kind == ".gif" else "screens show no more"
            raise RefusedValueError(
                "fps", f"must be at most {FASTEST[kind]} for a {kind} file", rate, why
            )
        if _checks.flag(transparent, "transparent") and kind == ".mp4":
            raise RefusedValueError(
                "transparent",
                "cannot be True for an .mp4 file, whose pixels are all opaque",
                path.name,
                "write a .gif, or leave it out",
            )
        if kind == ".mp4":
            mp4.ffmpeg()
        resolution = _checks.count(dpi, "dpi", least=COARSEST)
        form = Format(words(title, "title"), _size(size), resolution, bool(transparent))
        return cls(path, rate, form)

    def write(self, reel: Reel, seconds: float) -> Film:
        """Write all frames of a reel, which last so many seconds, and the holds at the ends."""
        frames = (reel.frame(k) for k in range(len(reel)))
        if self.path.suffix.lower() == ".mp4":
            self._mp4(reel, zip(frames, self._ticks(len(reel), seconds), strict=True))
        else:
            some = (reel.frame(k) for k in spread(len(reel), SAMPLED))
            palette = Palette(some, reel.colours, reel.finish)
            self._gif(reel, frames, palette, gif.durations(len(reel), seconds, HOLD))
        return Film(self.path)

    def write_states(self, reel: Reel, frames: Iterator[Frame]) -> Film:
        """Write frames as they come, one after the other, and the holds at the ends."""
        if self.path.suffix.lower() == ".mp4":
            self._mp4(reel, self._held(frames))
            return Film(self.path)
        kept = list(_packed(frames))
        chosen = set(spread(len(kept), SAMPLED))
        some = (frame for k, frame in enumerate(_unpacked(kept, reel.size)) if k in chosen)
        palette = Palette(some, reel.colours, reel.finish)
        durations = gif.durations(len(kept), len(kept) / self.fps, HOLD)
        self._gif(reel, _unpacked(kept, reel.size), palette, durations)
        return Film(self.path)

    def _gif(
        self, reel: Reel, frames: Iterable[Frame], palette: Palette, durations: Sequence[int]
    ) -> None:
        indices = (
            gif.on_clear_ground(frames, palette)
            if self.form.clear
            else gif.changes(frames, palette)
        )
        made = gif.encoded(indices, palette, durations, whole=self.form.clear)
        write(self.path, b"".join(made))

    def _mp4(self, reel: Reel, frames: Iterable[tuple[Frame, int]]) -> None:
        with mp4.written(self.path, reel.size, self.fps, reel.theme.ground) as encoder:
            for frame, ticks in frames:
                encoder.add(frame, ticks)

    def _ticks(self, count: int, seconds: float) -> list[int]:
        """Return for how many frames of the film each frame of the reel is shown."""
        total = max(count, round(self.fps * seconds))
        ticks = np.diff(np.linspace(0, total, count + 1).round().astype(int))
        ticks[0] += round(self.fps * HOLD[0])
        ticks[-1] += round(self.fps * HOLD[1])
        return [int(times) for times in ticks]

    def _held(self, frames: Iterator[Frame]) -> Iterator[tuple[Frame, int]]:
        """Yield each frame with its number of ticks; the last one is known when no other comes."""
        last = next(frames).copy()
        ticks = 1 + round(self.fps * HOLD[0])
        for frame in frames:
            yield last, ticks
            np.copyto(last, frame)
            ticks = 1
        yield last, ticks + round(self.fps * HOLD[1])


def spread(count: int, wanted: int) -> list[int]:
    """Return at most `wanted` evenly spread indices of 0 ... count - 1, both ends included.

    All indices are returned where there are fewer than `wanted`.
    """
    return [int(k) for k in np.linspace(0, count - 1, min(count, wanted)).round()]


def _size(value: Any) -> tuple[float, float | None] | None:
    """Return width and height; None for a height that follows from the width."""
    if value is None:
        return None
    remedy = "pass inches, the width or (width, height), e.g. (9.6, 5.4), or leave it out"
    if isinstance(value, Real):
        return _checks.positive(value, "size", remedy=remedy), None
    sides = [
        _checks.positive(side, "size", remedy=remedy)
        for side in _checks.several(value, "size", remedy=remedy)
    ]
    if len(sides) != 2:
        raise RefusedTypeError("size", "must be one or two numbers", _checks.said(value), remedy)
    return sides[0], sides[1]


def _packed(frames: Iterable[Frame]) -> Iterator[tuple[bytes, bytes]]:
    """Yield which pixels of each frame differ from the frame before, and their colours."""
    last: Frame | None = None
    for frame in frames:
        last = np.zeros_like(frame) if last is None else last
        moved = frame != last
        np.copyto(last, frame)
        yield zlib.compress(np.packbits(moved).tobytes(), 1), zlib.compress(frame[moved], 1)


def _unpacked(kept: Iterable[tuple[bytes, bytes]], size: tuple[int, int]) -> Iterator[Frame]:
    """Yield the frames again; each is valid until the next one."""
    frame = np.zeros(size[::-1], np.uint32)
    for which, colours in kept:
        bits = np.unpackbits(np.frombuffer(zlib.decompress(which), np.uint8), count=frame.size)
        frame[bits.reshape(frame.shape).astype(bool)] = np.frombuffer(
            zlib.decompress(colours), np.uint32
        )
        yield frame
