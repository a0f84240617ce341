"""The environment of a measurement: the processor, versions, the date.

Names of machines and paths are not recorded.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from particleflow._threads import processors

# Packages whose versions may change numbers or speeds.
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "POT")


def describe(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Describe the machine and the versions."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processors": processors(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "particleflow": _version("particleflow-sim"),
        **{name: _version(name) for name in packages},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _processor() -> str:
    """Return the name of the processor's model, if the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        "unknown",
    )
