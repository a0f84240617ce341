"""The time that a film takes, and its bytes: a GIF and an MP4 of the same run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

import particleflow as pf
from particleflow.plotting import animate

from ..timing import family_seconds
from .rows import measured

# Records of the run: fewer than frames, as in most runs.
RECORDS = 100
# Frames a second.
FPS = 40


def films(n: int, frames: int) -> dict[str, Any]:
    """Time a GIF and an MP4 of an MMD flow in the plane, with trails and a curve of sliced W2.

    The processor's seconds are those of this process and of ffmpeg, without imports.
    """
    path = _run(n)
    seconds: dict[str, float | None] = {}
    sizes: dict[str, int] = {}
    notes = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("gif", "mp4"):
            file = Path(folder) / f"flow.{kind}"
            try:
                animate(path, file, fps=FPS, seconds=2 / FPS)
            except ImportError as error:
                seconds[kind] = None
                notes.append(str(error))
                continue
            began = family_seconds()
            animate(path, file, fps=FPS, seconds=frames / FPS)
            seconds[kind] = family_seconds() - began
            sizes[kind] = file.stat().st_size
            notes.append(f"{kind}: {seconds[kind]:.3g} s, {sizes[kind] / 1e6:.2g} MB")
    share = sizes["mp4"] / sizes["gif"] if "mp4" in sizes else None
    return measured({**seconds, "share": share}, "; ".join(notes))


def _run(n: int) -> pf.Trajectory:
    rng = torch.Generator().manual_seed(0)
    x0 = 0.3 * torch.randn(n, 2, generator=rng, dtype=torch.float64)
    return pf.simulate(
        pf.mmd_flow(pf.kernels.Gaussian(0.4)),
        x0,
        pf.samplers.Rings().sample(9 * n // 10, seed=1),
        steps=4 * RECORDS,
        dt=0.5,
        save=pf.SaveAt(every=4),
        metrics={"sliced W2": pf.metrics.SlicedW2()},
    )
