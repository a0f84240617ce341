"""A backend with a kernel, a dimension and a dtype, and how its sums are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from particleflow.kernels import Kernel
from particleflow.kernels.declared import bandwidth_of
from particleflow.pairwise import Field, PairwiseSum
from particleflow.testing.contract import Contract
from particleflow.testing.sums import exact_sums

ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5}
SUMS = ("value", "grad", "laplacian")


@dataclass(frozen=True)
class Case:
    """One backend, kernel, dimension and dtype, with the errors that are allowed."""

    contract: Contract
    backend: PairwiseSum
    kernel: Kernel
    d: int
    dtype: torch.dtype
    rtol: float
    approximates: bool

    def points(self, n: int, seed: int, scale: float = 1.0) -> Tensor:
        return torch.from_numpy(
            scale * np.random.default_rng([seed, self.d]).standard_normal((n, self.d))
        ).to(self.dtype)

    def weights(self, n: int, k: int, seed: int) -> Tensor:
        """Return random weights of both signs, some of them zero."""
        w = np.random.default_rng([seed, k]).standard_normal((n, k))
        w[:: max(2, n // 5)] = 0.0
        return torch.from_numpy(w).to(self.dtype)

    def field(self, x: Tensor, w: Tensor, kernel: Kernel | None = None) -> Field:
        return self.backend.sources(kernel or self.kernel, x).field(w)

    def require(self, held: bool, clause: str, got: str, remedy: str) -> None:
        where = f"{self.kernel!r:.60}, d = {self.d}, {self.dtype}"
        self.contract.require(held, clause, f"{got} ({where})", remedy)

    def close(self, got: Any, want: np.ndarray, scale: np.ndarray | np.floating, what: str) -> None:
        self.contract.tensor(got, want.shape, self.dtype, what)
        allowed = self.rtol * (scale.max() if self.approximates else scale)
        error, allowed = np.broadcast_arrays(np.abs(got.double().cpu().numpy() - want), allowed)
        # Numbers below the smallest normal number of the dtype cannot be resolved.
        over = np.nan_to_num(error - allowed - 1e3 * torch.finfo(self.dtype).tiny, nan=math.inf)
        found = (
            f"an error of {np.nan_to_num(error, nan=math.inf).max():.3g} where {allowed.max():.3g}"
            " is allowed"
        )
        self.require(
            bool((over <= 0).all()),
            f"{what} must be the sum of numpy in float64",
            found,
            "mend the sum, or pass the rtol that it promises",
        )

    def compare(
        self,
        z: Tensor,
        x: Tensor,
        w: Tensor,
        what: str,
        *,
        laplacian: bool = True,
        kernel: Kernel | None = None,
    ) -> None:
        """Compare every sum with the truth; w (N, K)."""
        self.compare_field(
            self.field(x, w, kernel), z, x, w, what, laplacian=laplacian, kernel=kernel
        )

    def compare_field(
        self,
        field: Field,
        z: Tensor,
        x: Tensor,
        w: Tensor,
        what: str,
        *,
        laplacian: bool = True,
        kernel: Kernel | None = None,
    ) -> None:
        want = exact_sums(kernel or self.kernel, z, x, w)
        value, grad = field.value_and_grad(z)
        self.close(field.value(z), want.value, want.value_scale, f"value ({what})")
        self.close(field.grad(z), want.grad, want.grad_scale[..., None], f"grad ({what})")
        self.close(value, want.value, want.value_scale, f"the value of value_and_grad ({what})")
        self.close(
            grad, want.grad, want.grad_scale[..., None], f"the gradient of value_and_grad ({what})"
        )
        if laplacian:
            self.close(
                field.laplacian(z), want.laplacian, want.laplacian_scale, f"laplacian ({what})"
            )

    @property
    def kinked(self) -> bool:
        """Tell whether the slope grows without bound at 0."""
        unit = bandwidth_of(self.kernel) or 1.0
        near, nearer = (
            abs(float(self.kernel.slope(torch.tensor([s * unit**2], dtype=torch.float64))))
            for s in (1e-6, 1e-12)
        )
        return nearer > 10 * near
