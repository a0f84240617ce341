"""Runs that go on from their folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from particleflow import _checks
from particleflow._inputs import Metrics
from particleflow._refusals import RefusedFileError
from particleflow.clouds import Randomness
from particleflow.engine import begin
from particleflow.flows import Flow
from particleflow.integrators import Integrator
from particleflow.run_folder import Checkpoint, Place, opened
from particleflow.running import Run, Stop, StopRule
from particleflow.trajectory import Trajectory


def resume(
    folder: str | Path | Checkpoint,
    *,
    flow: Flow | None = None,
    target: Any = None,
    integrator: Integrator | None = None,
    metrics: Metrics | None = None,
    stop: StopRule | Stop | None = None,
    draws: Randomness | None = None,
    progress: bool = False,
) -> Trajectory:
    """Go on with the run in a folder, bit for bit as if it had never been interrupted.

    `simulate(..., checkpoint=folder)` has begun it. `report["resumed"]` tells the step from which
    it went on, and what was damaged. A run that has ended is given back.

    Parameters
    ----------
    folder : str, Path or Checkpoint
        The folder that `simulate` was given.
    flow, target, integrator, metrics, stop, draws
        The parts that the folder cannot hold: functions, networks and classes of your own. They
        must be those of the run: their reprs are compared. The others are read from the folder.
    progress : bool
        Show a progress bar on a terminal.

    Returns
    -------
    Trajectory
        The whole run, from its first record on. Its records are memory maps of the folder.

    Raises
    ------
    FileNotFoundError
        The folder holds no run.
    ValueError
        A part must be given, or one that was given is another one.
        Another process writes to the folder.
    TypeError
        `folder` is no str, path or Checkpoint.
    OSError
        It is damaged from the first commit on, or cannot be read.

    Cost: that of the steps that are left, and of those since the last write, which are made again
    (see `Checkpoint`).

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))
    >>> path = pf.simulate(drift, [[8.0]], steps=3, dt=0.5, checkpoint="run")
    >>> torch.equal(pf.resume("run").particles, path.particles)
    True
    """
    _checks.flag(progress, "progress")
    with opened(Checkpoint.of(folder, "folder"), "folder") as place:
        assert place is not None
        run = _begun(
            place,
            {
                "flow": flow,
                "target": target,
                "integrator": integrator,
                "metrics": metrics,
                "stop": stop,
                "draws": draws,
            },
            progress=progress,
        )
        run.go()
        try:
            return run.trajectory()
        except KeyboardInterrupt:  # all steps are taken: the rest is short
            return run.trajectory()


def _begun(place: Place, given: Mapping[str, Any], *, progress: bool) -> Run:
    """The run in a folder, with its parts from there where they are not given."""
    if place.found is None:
        raise RefusedFileError(
            "folder",
            f"must hold a run, and there is none in '{place.settings.folder}'",
            remedy="pass the folder that simulate was given as its checkpoint",
        )
    asked, parts = place.known, {name: place.part(name, one) for name, one in given.items()}
    if parts["target"] is None and place.store.head["fixed"]:
        parts["target"] = place.first()
    start = place.start(parts["draws"])
    return begin(
        parts["flow"],
        start,
        parts["target"],
        steps=asked["steps"],
        t1=asked["t1"],
        dt=None if asked["dt_suggested"] else asked["dt"],
        integrator=parts["integrator"],
        stop=parts["stop"],
        save=place.part("save", None),
        metrics=parts["metrics"],
        seed=None,
        draws=parts["draws"],
        progress=progress,
        place=place,
    )
