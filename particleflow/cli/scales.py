"""The kernels of a run, and the bandwidths between which those of the flows fall."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from particleflow import kernels
from particleflow._refusals import Argument, RefusedValueError
from particleflow._typing import Points
from particleflow.automatic import planned
from particleflow.cli.defaults import STEPS
from particleflow.cli.idle import chosen, share
from particleflow.cli.names import FLOWS
from particleflow.cli.parts import KERNELS
from particleflow.cli.starts import short
from particleflow.cli.toml import Settings, of_flow
from particleflow.clouds import extent


def kernel_of(settings: Settings, y: Tensor) -> tuple[kernels.Kernel, float | None]:
    """The kernel of the metrics, and its bandwidth, chosen from the target if it is not given."""
    record, bandwidth = KERNELS[settings.get("kernel") or "gaussian"], settings.get("bandwidth")
    if "bandwidth" not in record.arguments:
        if bandwidth is not None:
            told = f"has no meaning for the kernel {record.name}"
            raise RefusedValueError("bandwidth", told, remedy="leave it out")
        return record.make(), None
    bandwidth = usual(y) if bandwidth is None else bandwidth
    return record.make(lambda _: bandwidth), bandwidth


def usual(y: Tensor) -> float:
    """The bandwidth chosen from a target.

    Raises
    ------
    RefusedValueError
        Its points coincide.
    """
    try:
        return short(kernels.default_bandwidth(y))
    except ValueError:
        raise RefusedValueError(
            "bandwidth",
            "cannot be chosen from the target, most of whose points coincide",
            remedy="give a length",
        ) from None


def refuse_kernel(flow: str, kernel: str) -> None:
    """Refuse a kernel that a flow cannot use."""
    if FLOWS[flow].positive and not KERNELS[kernel].positive:
        raise RefusedValueError(
            "kernel",
            f"{kernel} is not positive, which {flow} needs",
            remedy="use it with mmd or mmd-noise, or take laplace",
        )


def first(asked: float | None, bandwidth: float, x0: Points, y: Tensor) -> float:
    """The bandwidth from which that of a flow falls to `bandwidth`: the extent of both clouds."""
    if asked is None:
        return max(short(extent(x0, y)), bandwidth)
    if asked < bandwidth:
        raise RefusedValueError(
            "start_bandwidth",
            f"must be at least the last bandwidth, {bandwidth:g}",
            f"{asked:g}",
            ("raise it, or lower ", Argument("bandwidth")),
        )
    return asked


def steps(settings: Settings, flows: Sequence[str], x0: Points, y: Tensor) -> int:
    """The steps of a run that leaves them open: enough for each bandwidth that falls."""
    wanted = [STEPS]
    for flow in flows:
        if share(settings, flow) and "kernel" in chosen(settings, flow):
            last = of_flow(settings, flow, "bandwidth")
            last = usual(y) if last is None else last
            start = first(of_flow(settings, flow, "start_bandwidth"), last, x0, y)
            wanted.append(planned(start, last))
    return max(wanted)
