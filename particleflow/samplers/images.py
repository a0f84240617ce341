"""A sampler of points spread over the dark parts of a picture."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

import numpy as np

from particleflow import _checks
from particleflow._refusals import Argument, Keyword, Notice, RefusedValueError
from particleflow.samplers.base import Seeded
from particleflow.samplers.files import existing

# Suffixes of picture files that an error may suggest in place of a misspelt name.
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")
# Range of darkness (0 to 1) below which a picture shows nothing: 0.01 is about two of 255 grey
# levels.
FLAT = 0.01
# Share of the edge's pixels (0 to 1) above which the drawn parts are taken for a background.
FRAMED = 0.9


@dataclass(frozen=True)
class FromImage(Seeded):
    r"""The dark parts of a picture, as a distribution in the plane.

    .. math::

        p(z) \propto \text{ink}(z) \; [\, \text{ink}(z) > \text{threshold} \,]

    ink is the darkness of the pixel at z: 0 for white and 1 for black. A point is uniform within
    its pixel, so p is constant on each pixel. The centre of the picture is the origin, y points
    upwards, and the longer side has length `extent`. The object reads the picture once, when it is
    made. The dimension is 2; there is no `log_density`.

    Parameters
    ----------
    path : str or Path
        Anything that Pillow reads: PNG, JPEG, colour or grey. Transparent parts count as
        background. Where pixels have 16 or 32 bits or are floats, the least value of the file is
        black and the largest is white, since files hardly ever use the full range.
    bright : bool
        Sample the bright pixels instead: brightness replaces darkness, and transparent parts count
        as black.
    threshold : float
        In [0, 1): a pixel is drawn where its darkness (or brightness) exceeds it.
    extent : float
        The length of the picture's longer side, > 0.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    TypeError
        `path`, `bright`, `threshold` or `extent` has another type.
    ValueError
        The file is no picture, has no contrast, has a pixel that is not finite, or has no pixel
        above the threshold. Or `threshold` or `extent` is out of its range.

    Cost: O(pixels) once, O(n log pixels) a sample.

    >>> from PIL import Image
    >>> picture = Image.new("L", (4, 2), "white")
    >>> picture.putpixel((0, 0), 0)  # the upper left pixel is black
    >>> picture.save("dot.png")
    >>> x = pf.samplers.FromImage("dot.png").sample(100)
    >>> (x.min(0).values * 2).floor().tolist()  # x in [-1, -0.5], y in [0, 0.5]
    [-2.0, 0.0]
    """

    path: str | Path
    _: KW_ONLY
    bright: bool = False
    threshold: float = 0.1
    extent: float = 2.0
    _shape: tuple[int, int] = field(init=False, repr=False, compare=False)
    _pixels: np.ndarray = field(
        init=False, repr=False, compare=False
    )  # flat index of each pixel above the threshold
    _cumulated: np.ndarray = field(
        init=False, repr=False, compare=False
    )  # cumulative probabilities of these pixels

    def __post_init__(self) -> None:
        _checks.positive(self.extent, "extent")
        _checks.flag(self.bright, "bright")
        if not 0 <= _checks.real(self.threshold, "threshold") < 1:
            raise RefusedValueError(
                "threshold",
                "must be in [0, 1)",
                f"{self.threshold:g}",
                "0 is the background, 1 the full ink",
            )
        path = existing(self.path, PICTURES, "pass the path of a PNG or JPEG file")
        ink = _ink(path, bright=self.bright)
        if float(ink.max() - ink.min()) < FLAT:
            raise ValueError(
                f"{path} has hardly any contrast, its {'brightness' if self.bright else 'darkness'}"
                f" is {ink.min():.2g} to {ink.max():.2g} of 1: stretch it"
                " (PIL.ImageOps.autocontrast), or pass a picture with a shape in it"
            )
        pixels = np.flatnonzero(ink > self.threshold)
        if not len(pixels):
            kind, other = ("bright", "dark") if self.bright else ("dark", "bright")
            raise RefusedValueError(
                "threshold",
                (
                    f"{path} has no {kind} pixel: ",
                    Argument("threshold"),
                    f" is {self.threshold:g} and the most {kind} one has {ink.max():.2g}",
                ),
                remedy=(
                    f"sample its {other} pixels with ",
                    Keyword("bright", not self.bright),
                    ", or lower ",
                    Argument("threshold"),
                ),
            )
        edge = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]]) > self.threshold
        if edge.mean() > FRAMED and len(pixels) > ink.size / 2:
            kind, other = ("bright", "dark") if self.bright else ("dark", "bright")
            _checks.warn(
                Notice(
                    f"{path} is {kind} at {edge.mean():.0%} of its edge, so most points fall on its"
                    " background: ",
                    Keyword("bright", not self.bright),
                    f" takes its {other} parts",
                    Keyword("threshold", None, ", and a higher ", " leaves grey out"),
                )
            )
        object.__setattr__(self, "_shape", ink.shape)
        object.__setattr__(self, "_pixels", pixels)
        cumulated = np.cumsum(ink.flat[pixels])
        object.__setattr__(self, "_cumulated", cumulated / cumulated[-1])

    @property
    def dim(self) -> int:
        return 2

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        height, width = self._shape
        row, column = np.divmod(
            self._pixels[np.searchsorted(self._cumulated, rng.random(n), side="right")], width
        )
        across, down = rng.random((2, n))
        scale = self.extent / max(height, width)
        return scale * np.stack([column + across - width / 2, height / 2 - row - down], axis=1)


def _ink(path: Path, *, bright: bool) -> np.ndarray:
    """Return darkness (or brightness) in [0, 1] of each pixel, (height, width), upper row first."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith(("I", "F")):  # convert("L") would clip them
                return _deep(np.asarray(picture, dtype=np.float64), path, bright=bright)
            picture = picture.convert("RGBA")
            paper = Image.new("RGBA", picture.size, "black" if bright else "white")
            light = (
                np.asarray(Image.alpha_composite(paper, picture).convert("L"), dtype=np.float64)
                / 255
            )
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} cannot be read as a picture: {error}: pass a PNG or JPEG file"
        ) from None
    return light if bright else 1 - light


def _deep(light: np.ndarray, path: Path, *, bright: bool) -> np.ndarray:
    """Return darkness or brightness of a picture of floats or of whole numbers beyond 255.

    Such formats define neither black nor white: the file's least and largest values are taken.
    """
    if not np.isfinite(light).all():
        lost = int((~np.isfinite(light)).sum())
        raise ValueError(
            f"{path} must have finite pixels, got {lost} that are not: fill them, or save the"
            " picture with 8 bits"
        )
    low, high = float(light.min()), float(light.max())
    if low == high:
        raise ValueError(
            f"{path} has no contrast, all its pixels are {low:g}: pass a picture with a shape in it"
        )
    scaled = (light - low) / (high - low)
    return scaled if bright else 1 - scaled
