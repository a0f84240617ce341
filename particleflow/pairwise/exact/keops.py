"""Sum exactly by KeOps, the exact backend on CUDA.

Each kernel and sum has one formula, compiled at its first use. Points enter a formula as
(x - centre) / unit, computed in float64. Clouds far from the origin thus keep their digits in
float32, and a new bandwidth compiles nothing. With s = |z - x|^2, r = |z - x| in
that unit, every kernel is

    k = common * profile,      grad_z k = common * pull (x - z) / unit,
    laplacian_z k = common * bend / unit^2.

B. Charlier, J. Feydy, J. A. Glaunes, F.-D. Collin, G. Durif: Kernel operations on the GPU, with
autodiff, without memory overflows (JMLR 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from particleflow import _checks
from particleflow.kernels import Kernel
from particleflow.kernels.built_in import BUILT_IN
from particleflow.kernels.declared import bandwidth_of, facts_of
from particleflow.kernels.facts import KeOpsFormula
from particleflow.memo import Turn
from particleflow.pairwise.base import Queries
from particleflow.pairwise.exact import keops_probe
from particleflow.pairwise.field import SumField
from particleflow.pairwise.inputs import (
    checked_points,
    checked_weights,
    kept_queries,
    masked,
    points_of,
)
from particleflow.pairwise.terms import What

# Names of the parts of a formula that `written` fills in.
_TERMS = ("common", "profile", "pull", "bend", "log", "log_pull")

# Formula of the terms (K, components) that are summed over j, for weights w (K,).
_SUMS = {
    What.VALUE: "(w*{common})*{profile}",
    What.GRAD: "TensorProd(w*{common},{pull}*(x-z))",
    What.BOTH: "TensorProd(w*{common},Concat({profile},{pull}*(x-z)))",
    What.LAPLACIAN: "(w*{common})*{bend}",
}

# Numbers of weight vectors that a formula is compiled for.
WIDTHS = (1, 4, 16)
# Most accumulators that a GPU's registers hold.
ACCUMULATORS = 64

_compiled: set[tuple[object, ...]] = set()
_turn = Turn()  # at pykeops, whose tables and routines are not made for several threads of Python


@dataclass(frozen=True)
class KeOps:
    r"""Exact sums by pykeops, the exact backend on CUDA.

    .. math::

        S(z) = \sum_{i=1}^{N} w_i\, k(z, x_i) , \qquad \nabla S(z) .

    It needs pykeops (``pip install 'particleflow-sim[keops]'``) and a C++ compiler. A formula is
    compiled at its first use (about 10 s on the CPU) and kept in a private folder, ``keops-...`` in
    ``$XDG_CACHE_HOME/particleflow``. On CUDA tensors stay on the device. Sums are accumulated in
    float64, except logarithms on CUDA. On the CPU all of a sum is in float64. The errors are
    rounding only, and the same input gives the same bits for any number of threads.

    The first use in a program imports pykeops with that folder and flags of its own; where the
    program has imported pykeops before, its folder and flags are used.

    Parameters
    ----------
    timeout : float
        Longest wait, in seconds, for the one trial in another process, which compiles a formula,
        and for another process that is compiling.

    Raises
    ------
    TypeError
        `timeout` is no number. Later, from `sources`: the kernel has no formula, as it is not built
        in.
    ValueError
        `timeout` is not positive and finite.
    ImportError
        From `sources`: pykeops is missing.
    RuntimeError
        From `sources`: pykeops cannot work here; the message says why, and the remedy.

    Cost: O(Q N d), memory O(Q + N).

    Source: Charlier, Feydy, Glaunes, Collin and Durif (2021).
    """

    timeout: float = 120.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "timeout", _checks.positive(self.timeout, "timeout"))

    def sources(self, kernel: Kernel, points: Tensor) -> KeOpsSources:
        points = checked_points(points, kernel)
        facts = facts_of(kernel)
        if facts is None:
            names = ", ".join(known.__name__ for known in BUILT_IN)
            raise TypeError(
                f"`kernel` must be one of {names} for KeOps(), got {type(kernel).__name__}: use"
                " Dense(), which takes any kernel"
            )
        why = unavailable(points.device, timeout=self.timeout)
        if why:
            error = ImportError if why == keops_probe.NOT_INSTALLED else RuntimeError
            raise error(f"KeOps() cannot be used here: {why}")
        with _turn:
            keops_probe.load(keops_probe.cache_folder(), self.timeout)
        unit = facts.keops.unit * (bandwidth_of(kernel) or 1.0)
        centre = middle(points)
        return KeOpsSources(
            kernel, points, facts.keops, unit, centre, scaled(points, centre, unit), self.timeout
        )


def written(formula: KeOpsFormula, text: str, d: int) -> str:
    """Return `text` with the formula's terms in the place of their names."""
    s = "SqDist(z,x)"
    # r >= 1e-15, as in kernels/contract.py, so that the force between coincident points is zero
    # times something finite; IntCst(10**15) is no int.
    names = {
        "s": s,
        "r": f"Sqrt({s})",
        "i": f"Rsqrt({s}+Square(Inv(IntCst({10**9}))*Inv(IntCst({10**6}))))",
        "d": d,
    }
    return text.format(**{name: getattr(formula, name).format(**names) for name in _TERMS})


def unavailable(device: torch.device | str = "cpu", *, timeout: float = 120.0) -> str:
    """Tell why KeOps cannot sum on `device`, with the remedy, or return an empty string.

    The answer is found once per process, without an import of pykeops in this process.
    """
    kind = torch.device(device).type
    if kind not in ("cpu", "cuda"):
        return f"pykeops sums on the CPU and on CUDA devices, not on {kind}: use Dense()"
    return keops_probe.trouble(kind == "cuda", timeout)


def middle(points: Tensor) -> Tensor:
    """Return the median of each coordinate, (d,) float64: outliers would move a mean."""
    return points.nanmedian(dim=0).values.double()


def scaled(points: Tensor, centre: Tensor, unit: float) -> Tensor:
    """Return (points - centre) / unit, rounded once to the dtype of the sums."""
    return ((points.double() - centre) / unit).to(summed_in(points)).contiguous()


def summed_in(points: Tensor) -> torch.dtype:
    """Return the dtype of the sums: on CUDA the points' dtype, on the CPU float64.

    On the CPU, vectorised expf falls back to scalars where it underflows, and takes twice as long.
    """
    return points.dtype if points.is_cuda else torch.float64


@dataclass(frozen=True)
class KeOpsQueries:
    """Query points, and the same points as one set of sources scales them."""

    points: Tensor
    sources: KeOpsSources
    scaled: Tensor


@dataclass(frozen=True, eq=False)
class KeOpsSources:
    kernel: Kernel
    points: Tensor
    formula: KeOpsFormula
    unit: float
    centre: Tensor
    scaled: Tensor
    timeout: float

    def field(self, w: Tensor) -> SumField:
        return SumField(((self, checked_weights(w, self.points)),))

    def prepare(self, z: Tensor) -> KeOpsQueries:
        z = kept_queries(z, self.points)
        return KeOpsQueries(z, self, scaled(z, self.centre, self.unit))

    def sums(self, what: What, w: Tensor, z: Tensor | Queries) -> Tensor:
        d, columns = self.points.shape[1], w.shape[1]
        components = what.components(d)
        width = next((n for n in WIDTHS if n >= columns), WIDTHS[-1])
        while width > 1 and width * components > ACCUMULATORS:
            width //= 4
        padded = torch.nn.functional.pad(w.to(self.scaled.dtype), (0, -columns % width))
        routine = _routine(self.formula, what, d, width, w.is_cuda)
        here = self._scaled(z)
        with _turn:
            parts = [
                self._evaluate(routine, here, part.contiguous())
                for part in padded.split(width, dim=1)
            ]
        total = torch.cat(parts, dim=1).view(len(here), -1, components)[:, :columns]
        if what is What.LAPLACIAN:
            total /= self.unit**2
        elif what is not What.VALUE:
            total[..., -d:] /= self.unit
        return masked(total.to(self.points.dtype), points_of(z))

    def log_sum(self, w: Tensor, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        """Return the logarithm (Q,) and its gradient (Q, d) in one pass.

        The pass gives sum_j exp(log k + log w - m) [1, log_pull (x - z)] and the largest exponent
        m.
        """
        dtype = self.scaled.dtype
        routine = _routine(self.formula, None, self.points.shape[1], 1, w.is_cuda)
        # -inf - -inf would be NaN in KeOps: a finite logarithm of zero, below that of anything
        # else.
        nothing = torch.finfo(dtype).min / 256
        log_w = w.to(dtype).log().clamp_min(nothing)[:, None]
        here = self._scaled(z)
        with _turn:
            out = self._evaluate(routine, here, log_w)
        top, total, force = out[:, 0], out[:, 1], out[:, 2:]
        empty = top < nothing / 2
        log = torch.where(empty, -math.inf, top + total.log())
        grad = torch.where(empty[:, None], 0.0, force / (total[:, None] * self.unit))
        return masked(log.to(self.points.dtype), points_of(z)), masked(
            grad.to(self.points.dtype), points_of(z)
        )

    def _scaled(self, z: Tensor | Queries) -> Tensor:
        return (
            z.scaled
            if isinstance(z, KeOpsQueries) and z.sources is self
            else scaled(points_of(z), self.centre, self.unit)
        )

    def _evaluate(self, routine: Callable[..., Tensor], z: Tensor, w: Tensor) -> Tensor:
        arguments = (z, self.scaled, w)
        device, dtype = z.device, z.dtype
        if device.type == "cuda" and torch.cuda.current_stream(device) != torch.cuda.default_stream(
            device
        ):
            torch.cuda.current_stream(
                device
            ).synchronize()  # KeOps works on the default stream, and waits for it
        backend = "GPU_1D" if device.type == "cuda" else "CPU"
        key = routine, dtype, device
        if key not in _compiled:
            with _building(self.timeout):
                try:
                    routine(*(argument[:1] for argument in arguments), backend=backend)
                except (ImportError, ValueError) as error:
                    raise RuntimeError(
                        f"pykeops could not compile a formula for {self.kernel}, {dtype} ({error}):"
                        f" use Dense(), or see that {keops_probe.compiler() or 'a C++ compiler'}"
                        f" and the folder {keops_probe.cache_folder()} are in order"
                    ) from error
            _compiled.add(key)
        return routine(*arguments, backend=backend)


def _building(timeout: float) -> AbstractContextManager[None]:
    """Admit one builder at a time to our folder. Another folder is left to its owner."""
    from pykeops.config import get_build_folder

    folder = keops_probe.cache_folder()
    return (
        keops_probe.building(folder, timeout)
        if Path(get_build_folder()).is_relative_to(folder)
        else nullcontext()
    )


@cache
def _routine(
    formula: KeOpsFormula, what: What | None, d: int, width: int, on_cuda: bool
) -> Callable[..., Tensor]:
    """Return the routine of the sum `what`, or of the logarithm for None.

    Sums accumulate in float64: on CUDA block by block, on the CPU in a plain loop, which gcc
    vectorises. KeOps' log-sum-exp can only accumulate in the dtype of its arguments, by blocks.
    """
    from pykeops.torch import Genred

    variables = [f"z=Vi({d})", f"x=Vj({d})", f"w=Vj({width})"]
    if what is None:
        exponent, weights = (
            written(formula, "{log}+w", d),
            written(formula, "Concat(IntCst(1),{log_pull}*(x-z))", d),
        )
        return Genred(
            exponent,
            variables,
            "Max_SumShiftExpWeight",
            axis=1,
            formula2=weights,
            sum_scheme="block_sum",
            use_fast_math=False,
        )
    scheme = "block_sum" if on_cuda else "direct_sum"
    text = written(formula, _SUMS[what], d)
    return Genred(
        text, variables, "Sum", axis=1, dtype_acc="float64", sum_scheme=scheme, use_fast_math=False
    )
