"""Colours and themes: what the colour-blind can tell apart, and what can be read."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from particleflow.plotting.style import (
    DARK,
    DIVERGING,
    DIVERGING_DARK,
    LIGHT,
    SEQUENTIAL,
    WHEEL,
    Theme,
    begun,
    colour,
    contrast,
    readable,
    stroke,
    toned,
)

# Machado, Oliveira and Fernandes (2009), table 1, severity 1.0, for linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
# From linear sRGB to XYZ under D65, whose white is the sum of each row.
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def lab(code: str, vision: str) -> tuple[float, float, float]:
    """L*, a* and b* of a colour as somebody with this vision sees it."""
    srgb = np.array(to_rgb(code))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    x, y, z = XYZ @ np.clip(VISIONS[vision] @ linear, 0, 1) / XYZ.sum(1)
    fx, fy, fz = (
        v ** (1 / 3) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in (x, y, z)
    )
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def ciede2000(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """Delta E of two colours in CIELAB (Sharma, Wu and Dalal 2005, equations 2 to 22)."""
    mean = (math.hypot(*one[1:]) + math.hypot(*other[1:])) / 2
    g = 0.5 * (1 - math.sqrt(mean**7 / (mean**7 + 25**7)))
    (l1, a1, b1), (l2, a2, b2) = one, other
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = (math.degrees(math.atan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    dh = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2))
    l, c = (l1 + l2) / 2, (c1 + c2) / 2
    h = (h1 + turn / 2) % 360 if c1 * c2 else h1 + h2
    cos = lambda degrees: math.cos(math.radians(degrees))
    t = 1 - 0.17 * cos(h - 30) + 0.24 * cos(2 * h) + 0.32 * cos(3 * h + 6) - 0.2 * cos(4 * h - 63)
    sl = 1 + 0.015 * (l - 50) ** 2 / math.sqrt(20 + (l - 50) ** 2)
    sc, sh = 1 + 0.045 * c, 1 + 0.015 * c * t
    rotation = -2 * math.sqrt(c**7 / (c**7 + 25**7))
    rotation *= math.sin(math.radians(60 * math.exp(-(((h - 275) / 25) ** 2))))
    parts = (l2 - l1) / sl, (c2 - c1) / sc, dh / sh
    return math.sqrt(sum(part**2 for part in parts) + rotation * parts[1] * parts[2])


def apart(one: str, other: str) -> float:
    """The least Delta E of two colours over all visions."""
    return min(ciede2000(lab(one, vision), lab(other, vision)) for vision in VISIONS)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 2.5, 0.0), (61.0, -5.0, 29.0), 22.8977),
        ((50.0, 2.5, 0.0), (56.0, -27.0, -3.0), 31.9030),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
        ((50.0, -0.001, 2.49), (50.0, 0.0011, -2.49), 4.7461),
    ],
)
def test_the_difference_of_colours_is_that_of_its_published_table(one, other, expected):
    """Six rows of table 1 of Sharma, Wu and Dalal (2005)."""
    assert ciede2000(one, other) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_two_runs_differ_for_the_colour_blind_or_have_other_dashes(theme: Theme):
    for one, other in itertools.combinations([stroke(k, theme) for k in range(24)], 2):
        assert one.dashes != other.dashes or apart(one.colour, other.colour) >= 15, (one, other)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_the_eighth_run_has_a_colour_of_its_own(theme: Theme):
    assert min(apart(colour(7, theme), colour(k, theme)) for k in range(7)) >= 15


def test_the_first_three_runs_differ_by_colour_alone():
    """Particles have no dashes: the runs of most pictures need none."""
    for one, other in itertools.combinations([colour(k) for k in range(3)], 2):
        assert apart(one, other) >= 15


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_colour_is_seen_on_its_ground(theme: Theme):
    """Text as WCAG 2 asks for, particles against the ground and against the target."""
    assert min(contrast(word, theme.ground) for word in (theme.ink, theme.faint)) >= 4.5
    for run in theme.runs:
        assert contrast(readable(run, theme.ground), theme.ground) >= 4.5
        assert apart(run, theme.ground) >= 15
        assert apart(run, theme.target) >= 9.5
    assert readable(theme.ink, theme.ground) == theme.ink.lower()


def test_tones_rise_in_lightness_and_differ_at_their_ends():
    def lightness(stops: tuple[str, ...]) -> list[float]:
        return [lab(stop, "normal")[0] for stop in stops]

    assert np.all(np.diff(lightness(SEQUENTIAL)) > 5)
    for stops, sign in ((DIVERGING, 1), (DIVERGING_DARK, -1)):
        bright = sign * np.array(lightness(stops))
        assert bright.argmax() == 2
        assert np.all(np.diff(bright[:3]) > 10)
        assert np.all(np.diff(bright[2:]) < -10)
        assert apart(stops[0], stops[-1]) >= 15
    assert np.ptp(lightness(WHEEL)) < 10
    np.testing.assert_allclose(toned(np.array([0.0, 1.0]), DIVERGING)[1], to_rgb(DIVERGING[-1]))


def test_a_start_colours_by_direction_and_distance():
    corners = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1], [0.1, 0]]) + 7
    found = begun(corners - corners.mean(0) + 3)
    assert len(np.unique(found.round(3), axis=0)) == 5
    assert found[4].mean() < found[0].mean()
    np.testing.assert_allclose(begun(np.array([[3.0], [-1.0]]))[1], to_rgb(SEQUENTIAL[0]))
