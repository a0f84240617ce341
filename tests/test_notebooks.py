"""The notebooks of docs/notebooks run from top to bottom, and show what a reader must see."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"
# What each cell of code shows, in their order.
SEEN = {
    "first_flow": ["text", "bar", "text", "picture", "player", "film"],
    "compare": ["nothing", "bar", "text", "picture", "picture", "player"],
    "your_own_data": ["nothing", "value", "value", "bar text", "picture", "player", "text"],
}
# Seconds in which a cell has to end.
LONGEST = 60
# Bytes of a notebook without outputs.
SMALL = 8000


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a notebook in an empty folder, with the settings of a new user."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    work = tmp_path / "work"
    work.mkdir()

    def run(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
        place = {"metadata": {"path": str(work)}}
        return NotebookClient(
            notebook, timeout=LONGEST, kernel_name="python3", resources=place
        ).execute()

    return run


def seen(output: nbformat.NotebookNode) -> str:
    """What a reader sees of an output."""
    if output.output_type == "stream":
        if output.name == "stderr":
            return f"complaint: {output.text}"
        # each bar of text is written over the one before
        return "bar" if output.text.startswith("\r") else "text"
    data = output.data
    if "application/vnd.jupyter.widget-view+json" in data:
        return "bar"
    if "image/png" in data:
        return "picture"
    page = unescape(data.get("text/html", ""))
    if page.startswith('<iframe srcdoc="<!doctype html>') and '<main id="player">' in page:
        return "player"
    if '<img alt="' in page and 'src="data:image/gif;base64,R0lGOD' in page:
        return "film"
    return "value"


def shown(notebook: nbformat.NotebookNode) -> list[str]:
    """What the cells of code show; a kind that a cell shows several times is named once."""
    return [
        " ".join(dict.fromkeys(map(seen, cell.outputs))) or "nothing"
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.parametrize("name", sorted(SEEN))
def test_a_notebook_shows_what_it_promises(name: str, run: Any) -> None:
    assert shown(run(nbformat.read(FOLDER / f"{name}.ipynb", 4))) == SEEN[name]


def test_notebooks_are_kept_small_and_without_outputs() -> None:
    files = sorted(FOLDER.glob("*.ipynb"))
    assert {file.stem for file in files} == set(SEEN)
    for file in files:
        notebook = nbformat.read(file, 4)
        nbformat.validate(notebook)
        assert file.stat().st_size < SMALL
        for cell in notebook.cells:
            if cell.cell_type == "code":
                assert (cell.outputs, cell.execution_count) == ([], None)
                assert not re.search(r"^[%!]", cell.source, re.M), "no magic is needed"
