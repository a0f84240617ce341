"""`check_mobility`: the contract of a mobility (`particleflow.mobilities`), clause by clause."""

from __future__ import annotations

import torch
from torch import Tensor

from particleflow.mobilities import Mobility
from particleflow.testing.contract import Contract

# Largest |log ratio| that is checked.
WIDE = 80.0
# Largest |log ratio| at which derivatives are compared: no round number, where kinks would lie.
NEAR = 9.87
# Step of central differences in the log ratio.
STEP = 1e-5
# Relative error allowed of a central difference.
DIFFERENCE = 1e-5
# Error allowed for rounding.
ROUNDING = 1e-9
REMEDY = (
    "compute each entry from the same entry of d by torch operations, without changing d in place"
)


def check_mobility(mobility: Mobility) -> None:
    """Check every clause of a mobility's contract; a broken one raises AssertionError.

    With d = log r, the log ratio:

    - `h`, `slope` and `curvature` map d elementwise. They keep the shape and the dtype of d, and do
      not change d.
    - All three are finite for |d| <= 9.87, where slope = :math:`h'(d)` and curvature =
      :math:`h''(d)`.
    - slope > 0 for |d| <= 9.87, and slope >= 0 for |d| <= 80. A class with
      `allow_nonmonotone = True` is excused from this clause.

    Parameters
    ----------
    mobility : Mobility
        The part to be checked, an instance.

    Raises
    ------
    AssertionError
        A clause is broken. The message names it, what came, and the remedy.

    Cost: a few milliseconds.

    >>> pf.testing.check_mobility(pf.mobilities.Arcsinh())
    >>> class Wrong(pf.mobilities.Arcsinh):
    ...     def slope(self, d):
    ...         return 1 / (1 + d**2)  # the root is missing
    >>> pf.testing.check_mobility(Wrong())
    Traceback (most recent call last):
    AssertionError: ...slope(d) must be d h / dd, got ...
    """
    contract = Contract("a mobility", mobility)
    what = (
        f"the class {mobility.__name__}" if isinstance(mobility, type) else type(mobility).__name__
    )
    clause = "a mobility must have h, slope and curvature"
    contract.require(
        not isinstance(mobility, type) and isinstance(mobility, Mobility),
        clause,
        what,
        "add the methods that are missing",
    )
    near = torch.linspace(-NEAR, NEAR, 83, dtype=torch.float64)
    for name in ("h", "slope", "curvature"):
        _elementwise(contract, name, getattr(mobility, name), near)
    for name, of in (("slope", "h"), ("curvature", "slope")):
        function = getattr(mobility, of)
        above, below, told = (
            function(near + STEP),
            function(near - STEP),
            getattr(mobility, name)(near),
        )
        measured = (above - below) / (2 * STEP)
        size = torch.maximum(measured.abs(), told.abs())
        wrong = (measured - told).abs() > DIFFERENCE * size + ROUNDING * torch.maximum(
            above.abs(), below.abs()
        ).clamp_min(1e-3)
        at = int(wrong.to(torch.int8).argmax())
        found = (
            f"{float(told[at]):.6g} at d = {float(near[at]):.3g}, where differences give"
            f" {float(measured[at]):.6g}"
        )
        remedy = (
            f"differentiate {of} in d = log r, not in the ratio r, or pass pf.mobilities.Custom"
        )
        contract.require(not bool(wrong.any()), f"{name}(d) must be d {of} / dd", found, remedy)
    if getattr(mobility, "allow_nonmonotone", False):
        return
    wide = torch.linspace(-WIDE, WIDE, 16001, dtype=torch.float64)
    slope = mobility.slope(wide)
    failing = slope.isnan() | (slope < 0) | ((slope == 0) & (wide.abs() <= NEAR))
    at = int(failing.to(torch.int8).argmax())
    found = f"{float(slope[at]):.3g} at d = {float(wide[at]):.3g}"
    remedy = (
        "particles move away from the target where h' < 0: take an increasing h, or give the class"
        " allow_nonmonotone = True"
    )
    contract.require(not bool(failing.any()), "slope(d) must be > 0", found, remedy)


def _elementwise(contract: Contract, name: str, method: object, near: Tensor) -> None:
    assert callable(method)
    for dtype in (torch.float64, torch.float32):
        d = near.to(dtype)
        with contract.unchanged(f"{name}(d)", d=d):
            answer = contract.call(
                method, d, clause=f"{name}(d) must map a tensor d", remedy=REMEDY
            )
        contract.tensor(answer, tuple(d.shape), dtype, f"{name}(d)")
        contract.finite(
            answer,
            f"{name}(d) for |d| <= {NEAR:g}",
            "take a form that does not overflow, such as torch.nn.functional.softplus",
        )
        alone = contract.call(
            method, d[11:13], clause=f"{name}(d) must be elementwise", remedy=REMEDY
        )
        contract.tensor(alone, (2,), dtype, f"{name}(d)")
        agrees = torch.allclose(
            alone, answer[11:13], rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=0.0
        )
        contract.require(
            agrees, f"{name}(d) must be elementwise", "other numbers for two entries alone", REMEDY
        )
