"""The points of a target or a start: of a name, of a file of points, or of a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from torch import Tensor

from particleflow import _checks, samplers
from particleflow._files import at_home
from particleflow._refusals import Argument, Refusal, RefusedValueError
from particleflow._typing import Points
from particleflow.cli.names import PICTURES, POINT_FILES, TARGETS
from particleflow.cli.paths import absolute
from particleflow.cli.toml import Settings
from particleflow.samplers.data import Rows, principal_axes
from particleflow.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class Projection:
    """The projection of points on principal axes, the rows of `axes`."""

    mean: np.ndarray
    axes: np.ndarray

    def of(self, points: Points) -> np.ndarray:
        return (points.numpy() - self.mean) @ self.axes.T


def suffix_of(name: str) -> str:
    """The ending of a file that `name` stands for; empty for the name of a target."""
    return "" if name in TARGETS else Path(name).suffix.lower()


@dataclass(frozen=True)
class Choices:
    """The array, columns and pixels chosen in the files of target and start.

    Each option applies to every file that it fits, and must fit one.
    """

    key: Mapping[str, str | None]
    columns: Mapping[str, Sequence[str] | None]
    bright: bool

    @classmethod
    def of(cls, settings: Settings) -> Choices:
        key, columns, bright = (
            settings.get("key"),
            settings.get("columns"),
            bool(settings.get("bright")),
        )
        target_name = settings.get("target") or "rings"
        both = {"target": target_name, "start": of_start(settings)}
        for role, name in both.items():
            if name is not None and suffix_of(name):
                absolute(name, role)  # refused before anything is read
        files = {role: suffix_of(name) for role, name in both.items() if name is not None}
        named = f"the target is {target_name}" + (
            f" and the start {both['start']}" if both["start"] is not None else ""
        )
        tables = [role for role, suffix in files.items() if suffix in POINT_FILES]
        packed = [role for role, suffix in files.items() if suffix == ".npz"]
        several = [role for role in packed if key in arrays_of(str(both[role]))] or packed[:1]
        if bright and not set(files.values()) & set(PICTURES):
            raise RefusedValueError(
                "bright",
                f"is for pictures ({' '.join(PICTURES)}), and {named}",
                remedy="leave it out",
            )
        if key is not None and not several:
            raise RefusedValueError(
                "key", f"chooses an array of an .npz file, and {named}", remedy="leave it out"
            )
        if columns is not None and not tables:
            raise RefusedValueError(
                "columns",
                f"chooses coordinates in a file of points, and {named}",
                remedy="leave it out",
            )
        return cls(
            {role: key if role in several else None for role in both},
            {role: columns if role in tables else None for role in both},
            bright,
        )


def of_start(settings: Settings) -> str | None:
    """The file or the target's name that the particles start from; None for a Gaussian start."""
    name = settings.get("start") or "auto"
    return None if name in ("auto", "gaussian") else name


def target(
    name: str,
    *,
    pca: int = 0,
    key: str | None = None,
    columns: Sequence[str] | None = None,
    bright: bool = False,
) -> tuple[samplers.Sampler, Projection | None]:
    """The sampler of a name or a file, and the projection of other points with it."""
    suffix = suffix_of(name)
    record = TARGETS.get(name)
    if pca and (suffix in PICTURES or (record and "pca" not in record.arguments)):
        raise RefusedValueError(
            "pca",
            f"is for data of more than two dimensions, and the target {name} is in the plane",
            remedy="leave it out",
        )
    if record is not None:
        drawn = _sampler(name, pca or None)
        if not pca:
            return drawn, None
        return drawn, Projection(*principal_axes(_all_of(name).numpy(), pca))
    if suffix in PICTURES:
        return _picture(name, bright, "target"), None
    rows = rows_of(name, "target", key, columns, wide=pca > 0)
    if not pca:
        return rows, None
    most = min(rows.points.shape)
    if _checks.count(pca, "pca") > most:
        raise RefusedValueError(
            "pca",
            f"must be at most {most} for {name}, {len(rows)} points of {rows.dim} coordinates",
            pca,
        )
    from sklearn.decomposition import PCA

    fitted = PCA(pca, svd_solver="full")
    return samplers.FromArray(fitted.fit_transform(rows.points.numpy())), Projection(
        fitted.mean_, fitted.components_
    )


def start(
    name: str,
    dim: int,
    project: Projection | None = None,
    *,
    key: str | None = None,
    columns: Sequence[str] | None = None,
    bright: bool = False,
) -> samplers.Sampler:
    """The sampler of a name or a file as a start, in the target's space of `dim` dimensions.

    Points of more coordinates go through the projection of the target. A data set in another space
    is shown in its own principal components.
    """
    record = TARGETS.get(name)
    if record and not record.arguments:
        return _sampler(name)
    if suffix_of(name) in PICTURES:
        return _picture(name, bright, "start")
    rows: samplers.FromFile | samplers.FromArray
    rows = (
        samplers.FromArray(_all_of(name))
        if record
        else rows_of(name, "start", key, columns, wide=project is not None)
    )
    if rows.dim == dim:
        return rows
    if project is not None and project.mean.shape == (rows.dim,):
        return samplers.FromArray(project.of(rows.points))
    if record and dim <= rows.dim:
        return _sampler(name, dim)
    if project is None:
        return rows
    raise RefusedValueError(
        "start",
        (
            Argument("start"),
            f" must have all coordinates of the target or its {dim} of ",
            Argument("pca"),
        ),
        f"{rows.dim} in {name}",
        ("choose them with ", Argument("columns")),
    )


def _sampler(name: str, pca: int | None = None) -> samplers.Sampler:
    """The sampler of a name, for a data set in its first `pca` principal components."""
    made = TARGETS[name].make(lambda _: pca)
    assert isinstance(made, samplers.Sampler)
    return made


def _all_of(name: str) -> Points:
    """The rows of a data set, unprojected."""
    whole = _sampler(name)
    assert isinstance(whole, Rows)
    return whole.points


def rows_of(
    name: str,
    setting: str,
    key: str | None = None,
    columns: Sequence[str] | None = None,
    *,
    wide: bool = False,
) -> samplers.FromFile | samplers.FromArray:
    """The points in a file; for a trajectory those at its end.

    An error names `setting`, the setting that gave the file.
    """
    try:
        if (last := _last_of(name, key)) is not None:
            if columns is not None:
                raise RefusedValueError(
                    "columns",
                    f"chooses coordinates in a table, and {name} is a trajectory",
                    remedy="leave it out",
                )
            return samplers.FromArray(last)
        return samplers.FromFile(name, key=key, columns=columns, wide=wide)
    except Refusal as error:
        raise error.renamed({"path": Argument(setting), "points": "its array"}) from None


def arrays_of(name: str) -> list[str]:
    """The arrays in an .npz file that a key may choose among.

    Empty for a file with one array, for a trajectory, and for a file that cannot be read.
    """
    if not os.path.isfile(at_home(name)):
        return []
    try:
        with np.load(at_home(name), allow_pickle=False) as file:
            return [] if len(file.files) < 2 or "state/points" in file.files else list(file.files)
    except (OSError, ValueError, AttributeError, EOFError, BadZipFile):
        return []


def _last_of(name: str, key: str | None) -> Points | None:
    """The particles at the end of a trajectory; None where the file is not one."""
    if key is not None or Path(name).suffix.lower() != ".npz" or not os.path.isfile(at_home(name)):
        return None
    try:
        with np.load(at_home(name), allow_pickle=False) as file:
            if not {"facts", "state/points"} <= set(file.files):
                return None
    except (OSError, ValueError, EOFError, BadZipFile):
        return None
    state = Trajectory.load(at_home(name)).state
    if state.x.log_mass is not None:
        raise RefusedValueError(
            "path",
            f"{name} holds particles of unequal masses, which would be lost",
            remedy="give points of equal masses",
        )
    return state.x.points


def _picture(name: str, bright: bool, setting: str) -> samplers.FromImage:
    try:
        return samplers.FromImage(name, bright=bright)
    except Refusal as error:
        if error.argument == "threshold":
            kind, remedy = ("bright", "leave out ") if bright else ("dark", "add ")
            raise RefusedValueError(
                setting, f"{name} has no {kind} pixel", remedy=(remedy, Argument("bright"))
            ) from None
        raise error.renamed({"path": Argument(setting)}) from None


def drawn(law: samplers.Sampler, size: int | None, name: str, seed: int, *, default: int) -> Tensor:
    """`size` samples; all rows of a file, in their order, where all are asked for."""
    rows = len(law) if isinstance(law, Rows) else None
    if size is None:
        size = default if rows is None else min(default, rows)
    if isinstance(law, Rows) and size == rows:
        return law.points.clone()
    return law.sample(_checks.count(size, name), seed=seed)
