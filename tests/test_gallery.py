"""The examples of the gallery run, and a notebook shows what they end with."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure

import particleflow as pf

DOCS = Path(__file__).parent.parent / "docs"
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))
# The examples that take a second.
QUICK = {"shift"}
# The first bytes of a PNG.
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, id=file.stem, marks=() if file.stem in QUICK else pytest.mark.slow)
        for file in EXAMPLES
    ],
)
def test_an_example_runs(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    plt.close("all")
    runpy.run_path(str(file))
    plt.close("all")
    assert list(tmp_path.iterdir()) == []  # the build of the pages leaves nothing beside them


def test_the_gallery_shows_all_examples() -> None:
    tree = ast.parse((DOCS / "gallery_pictures.py").read_text(encoding="utf-8"))
    order = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "ORDER"
    )
    assert sorted(order) == [file.stem for file in EXAMPLES]
    assert len(order) == len(set(order)) >= 19


@pytest.fixture(scope="module")
def path() -> pf.Trajectory:
    y = torch.linspace(-1, 1, 14, dtype=torch.float64).reshape(7, 2)
    x = 0.1 * y[:5]
    return pf.simulate(pf.mmd_flow(pf.kernels.Gaussian(1.0)), x, y, steps=4, dt=0.1)


def test_a_picture_shows_itself(path: pf.Trajectory) -> None:
    figure = path.plot(dpi=50)
    png, size = figure._repr_png_()
    assert isinstance(figure, Figure)
    assert png.startswith(PNG)
    assert size == {"width": round(figure.get_figwidth() * 96)}
    assert plt.get_fignums() == []


def test_a_film_shows_itself(path: pf.Trajectory, tmp_path: Path) -> None:
    film = path.animate(tmp_path / "a.gif", seconds=0.2, fps=10, dpi=50)
    assert film == tmp_path / "a.gif"
    assert 'src="data:image/gif;base64,R0lGOD' in film._repr_html_()
    film.unlink()
    assert film._repr_html_() is None
