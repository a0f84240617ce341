"""The folder of a run: it serves one run at a time, and is cleared of an earlier run's results."""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

from particleflow._refusals import RefusedValueError
from particleflow.cli.names import FLOWS
from particleflow.cli.parts import FILMS
from particleflow.cli.paths import CHECKPOINT, CONFIG, home, is_kept
from particleflow.cli.sweeps import many, problems, short, swept
from particleflow.cli.task import Task
from particleflow.cli.toml import MARK, Settings, write

# Settings that change nothing in what a run computes: they may differ where it goes on.
FREE = ("threads", "film")
# The files of a study besides config.toml and players of swept sizes; its folder of rows is kept,
# so that it can go on.
STUDIED = (
    "results.json",
    "results.csv",
    "results.md",
    "curves.png",
    "player.html",
    "report.html",
)


def folder(path: str) -> Path:
    """`path` as a folder that exists and can be written to.

    Raises
    ------
    RefusedValueError
        The path is a file, cannot be made or written to, or holds a folder called config.toml.
    """
    out = home(path, "out")
    if os.path.exists(out) and not out.is_dir():
        raise RefusedValueError(
            "out", f"must be a folder, and there is a file {out}", remedy="choose another name"
        )
    if os.path.isdir(out / CONFIG):
        raise RefusedValueError(
            "out",
            f"must be a folder for a file {CONFIG}, and there is a folder {out / CONFIG}",
            remedy="choose another",
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(b" ")
    except OSError as error:
        raise RefusedValueError(
            "out",
            "must be a folder that can be written to",
            out,
            f"{error.strerror}: choose another",
        ) from None
    return out


def keep_apart(task: Task, out: Path, *, single: bool) -> None:
    """Refuse a folder where the run would overwrite its own input: config.toml could not repeat it.

    Raises
    ------
    RefusedValueError
        A file of the target or of the start has the name of a result.
    """
    names = (
        [*STUDIED, *players_of(task.settings)]
        if many(task.settings)
        else results_of(task.plans, single=single, film=film_of(task))
    )
    results = {str((out / name).resolve()) for name in (CONFIG, *names)}
    for role in ("target", "start"):
        if task.settings[role] in results:
            file = task.settings[role]
            raise RefusedValueError(
                "out",
                f"must not hold the file that is the {role}, {file}, which the run would write"
                " over",
                remedy="choose another",
            )


def keep_checkpoint(task: Task, out: Path) -> None:
    """Refuse a folder that holds the checkpoint of another run.

    Raises
    ------
    RefusedValueError
        The settings differ from those in its config.toml.
    """
    if not is_kept(out):
        return
    try:
        old = _told(tomllib.loads((out / CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        old = {}
    new = _told(task.settings)
    differ = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if differ:
        name = differ[0]
        more = f" and {len(differ) - 1} more" if len(differ) > 1 else ""
        raise RefusedValueError(
            "out",
            "must be a new folder, or that of the same run",
            f"{out}, whose {CHECKPOINT} is of a run with {name} {old.get(name)}, not"
            f" {new.get(name)}{more}",
            f"choose another, or go on with that run: particleflow run --resume {out}",
        )


def _told(settings: Settings) -> dict[str, str]:
    """Settings in words, those of a single flow with its name before them."""
    flat = {
        f"{name}.{key}": one
        for name, value in settings.items()
        for key, one in (value.items() if isinstance(value, dict) else [("", value)])
    }
    return {
        name.strip("."): str(list(value) if isinstance(value, tuple) else value)
        for name, value in flat.items()
        if name.strip(".") not in FREE
    }


def earlier(out: Path, keep: Iterable[str]) -> list[Path]:
    """The results of an earlier run in `out`, to be removed.

    The files then all belong to the config.toml beside them. Only files that the run in the old
    config.toml writes are listed, and only if that file says that it was written here. Files in
    `keep` are left out.
    """
    try:
        text = (out / CONFIG).read_text(encoding="utf-8")
        old = tomllib.loads(text)
    except (OSError, ValueError):
        return []
    if not text.startswith(f"# {MARK}"):
        return []
    single = "flow" in old
    listed = [old["flow"]] if single else old.get("flows")
    flows = [flow for flow in FLOWS if isinstance(listed, list) and flow in listed]
    film = old["film"] if old.get("film") in FILMS else "gif"
    if many(old):
        try:
            names = [*STUDIED, *players_of(old)]
        except ValueError:  # its sweeps were changed by hand
            names = list(STUDIED)
    else:
        names = results_of(flows, single=single, film=film)
    files = [out / name for name in names]
    return [file for file in files if file.is_file() and str(file.resolve()) not in keep]


def settle(task: Task, out: Path, header: str) -> None:
    """Write the settings of a run, then remove the results of an earlier one.

    In this order nothing is lost where the settings cannot be written.

    Raises
    ------
    RefusedValueError
        The settings cannot be written.
    """
    old = earlier(out, keep=(task.settings["target"], task.settings["start"]))
    try:
        write(task.settings, out / CONFIG, header)
    except OSError as error:
        raise RefusedValueError(
            "out",
            "must be a folder that can be written to",
            out,
            f"{CONFIG}: {error.strerror}: choose another",
        ) from None
    for file in old:
        file.unlink(missing_ok=True)


def results_of(flows: Iterable[str], *, single: bool, film: str) -> list[str]:
    """The files that a run writes besides config.toml.

    They are the table, curves, snapshots, player, film, and a trajectory for each flow. `film` is
    the kind of the film, or none.
    """
    return [
        "metrics.csv",
        "metrics.png",
        "snapshots.png",
        "player.html",
        *([f"flow.{film}" if single else f"flows.{film}"] if film != "none" else []),
        *(trajectory_of(flow, single) for flow in flows),
    ]


def players_of(settings: Settings) -> list[str]:
    """The player of each size of the clouds that is swept, "player-n=12.html", or player.html.

    Raises
    ------
    RefusedValueError
        The settings have a sweep that cannot be.
    """
    return [
        "-".join(["player", *(f"{name}={short(value)}" for name, value in sizes.items())]) + ".html"
        for sizes in problems(swept(settings))
    ]


def film_of(task: Task) -> str:
    """The kind of the film, or none; a study makes none."""
    return str(task.settings.get("film", "none"))


def trajectory_of(flow: str, single: bool) -> str:
    return "trajectory.npz" if single else f"{flow}.npz"
