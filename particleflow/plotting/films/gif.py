"""GIFs: one palette for a whole film, and the pixels that changed from frame to frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt32
from matplotlib.colors import to_rgb
from PIL import Image
from scipy.spatial import cKDTree

# The entry of the 256 in the palette that is clear: such a pixel keeps what is below it.
CLEAR = 255
# The least opacity, of 255, at which each of 4 x 4 pixels is drawn on a clear ground: Bayer's
# pattern, in which pixels of neighbouring levels lie far apart.
PATTERN = (
    (255 / 16) * (np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) + 0.5)
).astype(np.uint8)
# GIF counts time in hundredths of a second; browsers slow down frames shorter than two of them.
SHORTEST = 2
# Longest duration of a frame in hundredths of a second, so that its ends can be held besides: the
# format has 16 bits for it.
LONGEST = 65_000

Frame: TypeAlias = UInt32[np.ndarray, "H W"]
"""The pixels of a frame: the bytes red, green, blue and opacity of each in one number."""
Indices: TypeAlias = UInt8[np.ndarray, "..."]


@dataclass(frozen=True)
class Finish:
    """What nobody sees: bits of a channel that tell colours apart, and changes left out of it."""

    bits: int
    slack: int


# Discs have few colours and sharp edges.
DISCS = Finish(bits=5, slack=0)
# Haze shows steps with fewer bits, and every pixel of it trembles.
SHADES = Finish(bits=6, slack=8)


def pixel(colour: str) -> UInt32[np.ndarray, "1"]:
    """Return the pixel of a colour."""
    return np.array([*(round(255 * c) for c in to_rgb(colour)), 255], np.uint8).view(np.uint32)


class Palette:
    """255 colours for a whole film.

    The colours of the film's parts, `exact`, are kept, the first one before all others. A median
    cut of some frames gives the
    colours of their blends. A table over the leading bits of each channel gives the nearest colour.
    Two colours count as alike if they differ by at most `finish.slack` in each channel.
    """

    def __init__(self, frames: Iterable[Frame], exact: Sequence[str], finish: Finish) -> None:
        self.bits, most = finish.bits, 2**finish.bits - 1
        seen = np.zeros(2 ** (3 * self.bits), bool)
        for frame in frames:
            seen[self._codes(frame.ravel())] = True
        codes = np.flatnonzero(seen)
        blends = np.stack([codes >> 2 * self.bits, (codes >> self.bits) & most, codes & most], 1)
        blends = (blends * 255 / most).round().astype(np.uint8)
        cut = Image.fromarray(blends[None]).quantize(
            CLEAR - len(exact), Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
        named = [round(255 * channel) for colour in exact for channel in to_rgb(colour)]
        mixed = list(cut.getpalette() or [])[: 3 * (CLEAR - len(exact))]
        self.colours = np.full((256, 3), 255, np.uint8)
        self.colours[: (len(named) + len(mixed)) // 3] = np.reshape([*named, *mixed], (-1, 3))
        rgb = self.colours.astype(int)
        cube = np.indices(3 * (most + 1,)).reshape(3, -1).T * 255 / most
        self.table = cKDTree(rgb[:CLEAR]).query(cube)[1].astype(np.uint8)
        for k, colour in reversed(list(enumerate(exact))):
            self.table[self._codes(pixel(colour))] = k
        self.alike: Bool[np.ndarray, "C C"] = np.abs(rgb[:, None] - rgb).max(2) <= finish.slack

    def indices(self, pixels: UInt32[np.ndarray, "..."]) -> Indices:
        """Return the nearest colour of each pixel."""
        return self.table[self._codes(pixels)]

    def _codes(self, pixels: UInt32[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
        """Return the leading bits of the three channels of each pixel, in one integer."""
        channels = pixels.view(np.uint8).reshape(*pixels.shape, 4)
        red, green, blue = ((channels[..., k] >> (8 - self.bits)).astype(np.intp) for k in range(3))
        return (red << 2 * self.bits) | (green << self.bits) | blue


def changes(frames: Iterable[Frame], palette: Palette) -> Iterator[Indices]:
    """Yield the first frame, then the changed pixels of each frame; the others are `CLEAR`.

    A pixel has changed if it is not like the colour shown so far.
    """
    last: Frame | None = None
    for frame in frames:
        if last is None:
            last, shown = frame.copy(), palette.indices(frame)
            yield shown.copy()
            continue
        moved = np.flatnonzero(frame != last)
        colours = palette.indices(frame.ravel()[moved])
        seen = ~palette.alike[colours, shown.ravel()[moved]]
        moved, colours = moved[seen], colours[seen]
        written = np.full_like(shown, CLEAR)
        written.ravel()[moved] = colours
        shown.ravel()[moved] = colours
        np.copyto(last, frame)
        yield written


def on_clear_ground(frames: Iterable[Frame], palette: Palette) -> Iterator[Indices]:
    """Yield whole frames in which clear pixels are `CLEAR`.

    A pixel of a GIF is clear or opaque. A trail that covers a third of its pixels has its pure
    colour at a third of them, in a fixed pattern, and so has no colour of a ground in it.
    """
    for frame in frames:
        height, width = frame.shape
        tiles = -(-height // 4), -(-width // 4)
        least = np.tile(PATTERN, tiles)[:height, :width]
        opaque = frame.view(np.uint8).reshape(height, width, 4)[..., 3] > least
        yield np.where(opaque, palette.indices(frame), np.uint8(CLEAR))


def encoded(
    frames: Iterable[Indices], palette: Palette, durations: Sequence[int], *, whole: bool
) -> Iterator[bytes]:
    """Yield the bytes of a GIF89a that repeats for ever.

    Parameters
    ----------
    frames : of the same shape.
    durations : of each frame, in milliseconds.
    whole : bool
        Each frame replaces the one before. Otherwise it is laid over that.
    """
    disposal = 2 if whole else 1
    for k, (frame, milliseconds) in enumerate(zip(frames, durations, strict=True)):
        if not k:
            height, width = frame.shape
            yield b"GIF89a" + _short(width, height) + b"\xf7\x00\x00"
            yield palette.colours.tobytes()
            yield b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
        top, bottom, left, right = _used(frame)
        part = np.ascontiguousarray(frame[top:bottom, left:right])
        yield b"\x21\xf9\x04" + bytes([disposal << 2 | 1])
        yield _short(milliseconds // 10) + bytes([CLEAR, 0])
        yield b"\x2c" + _short(left, top, right - left, bottom - top) + b"\x00"
        yield b"\x08" + Image.fromarray(part).tobytes("gif", "L", 8, 0) + b"\x00"
    yield b"\x3b"


def durations(count: int, seconds: float, hold: tuple[float, float]) -> list[int]:
    """Return the duration of each frame in milliseconds, of a film of so many seconds.

    The first and the last frame are held longer, for the seconds in `hold`.
    """
    ends = (np.linspace(0, 100 * seconds, count + 1)).round().astype(int)
    each = np.clip(np.diff(ends), SHORTEST, LONGEST)
    each[0] += round(100 * hold[0])
    each[-1] += round(100 * hold[1])
    return [10 * int(hundredths) for hundredths in each]


def _used(frame: Indices) -> tuple[int, int, int, int]:
    """Return the rows and columns that hold all pixels that are not clear, at least one pixel."""
    used = frame != CLEAR
    rows, columns = np.flatnonzero(used.any(1)), np.flatnonzero(used.any(0))
    if not len(rows):
        return 0, 1, 0, 1
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _short(*numbers: int) -> bytes:
    """Return numbers of 16 bits, the lower byte first."""
    return np.array(numbers, "<u2").tobytes()
