"""Statements about unbalanced flows: four wells from one, the total mass, help for stragglers."""

from __future__ import annotations

from functools import cache, partial

import torch

import particleflow as pf

from .laws import normals
from .statement import Statement

PAGE = "unbalanced page, four wells from one"
# The middles of the wells, which hold a quarter of the target each; the particles start in the
# first.
WELLS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
# The standard deviation of a well.
SPREAD = 0.2


def wells(seed: int, n: int = 200, m: int = 240) -> tuple[torch.Tensor, torch.Tensor]:
    """n particles in the first well, and m target points, a quarter of them in each well."""
    y = SPREAD * normals(m, 2, seed, "target") + WELLS[torch.arange(m) % 4]
    return SPREAD * normals(n, 2, seed, "start") + WELLS[0], y


def shares(x: pf.Cloud) -> torch.Tensor:
    """The share of the mass that is nearest to each well, (4,)."""
    well = torch.cdist(x.points, WELLS).argmin(1)
    mass = x.mass / x.mass.sum()
    return torch.stack([mass[well == k].sum() for k in range(4)])


def flows(y: torch.Tensor) -> dict[str, pf.Flow]:
    """The flows that are compared, of the default bandwidth."""
    kernel = pf.kernels.Gaussian(pf.kernels.default_bandwidth(y))
    plain = pf.mmd_flow(kernel)
    return {"mmd": plain, "fisher-rao": pf.unbalanced(plain), "ift": pf.ift_flow(kernel)}


def off(name: str, steps: int, seed: int) -> float:
    """The largest difference of a well's share of the mass from a quarter, in points."""
    x, y = wells(seed)
    path = pf.simulate(flows(y)[name], x, y, steps=steps, seed=seed, save=pf.SaveAt(steps=[0]))
    return 100 * float((shares(path.state.x) - 0.25).abs().max())


def lost_mass(scheme: pf.integrators.Integrator, seed: int) -> float:
    """The largest |sum m - 1| over 1000 steps."""
    x, y = wells(seed, 24, 40)
    flow = flows(y)["fisher-rao"]
    path = pf.simulate(flow, x, y, steps=1000, dt=0.2, integrator=scheme, seed=seed)
    assert path.log_mass is not None
    return float((path.log_mass.exp().sum(1) - 1).abs().max())


@cache
def _straggling(help_: str, seed: int) -> float:
    """W2 at the end where 10 of 200 particles start 15 away from all others."""
    x, y = 0.5 * normals(200, 2, seed, "start"), normals(220, 2, seed, "target")
    x[:10, 0] += 15
    flow = pf.mmd_flow(pf.kernels.Gaussian(1.0))
    if help_ == "pull":
        flow = pf.stragglers(flow, pull=pf.kernels.Energy())
    elif help_ == "reborn":
        flow = pf.stragglers(flow, reborn=True)
    save = pf.SaveAt(steps=[0])
    path = pf.simulate(flow, x, y, steps=200, dt=0.5, seed=seed, save=save)
    return pf.metrics.W2()(path.state.x, y)


def helped(help_: str, seed: int) -> float:
    return _straggling(help_, seed) / _straggling("none", seed)


SCHEMES = {"Euler": pf.Euler(), "Heun": pf.Heun(), "RK4": pf.RK4()}

STATEMENTS = (
    Statement(
        name="wells-mmd",
        words="MMD flow that starts in one of four wells leaves more than 3 points too much or too"
        " little in some well.",
        source=PAGE,
        number="the largest |share - 25 %|, points, 1000 steps",
        low=3.0,
        measure=partial(off, "mmd", 1000),
        seconds=0.5,
    ),
    Statement(
        name="wells-fisher-rao",
        words="With birth and death each of the four wells gets 25 +- 3 % of the mass.",
        source=PAGE,
        number="the largest |share - 25 %|, points, 1000 steps",
        high=3.0,
        measure=partial(off, "fisher-rao", 1000),
        seconds=0.45,
    ),
    Statement(
        name="wells-ift",
        words="With force transport each of the four wells gets 25 +- 3 % of the mass.",
        source=PAGE,
        number="the largest |share - 25 %|, points, 300 steps",
        high=3.0,
        measure=partial(off, "ift", 300),
        seconds=1.0,
    ),
    *(
        Statement(
            name=f"total-mass-{name.lower()}",
            words=f"An unbalanced flow keeps its total mass over 1000 steps of {name}.",
            source="unbalanced page, birth and death",
            number="the largest |sum m - 1|",
            high=1e-12,
            measure=partial(lost_mass, scheme),
            seconds=seconds,
        )
        for (name, scheme), seconds in zip(SCHEMES.items(), (0.35, 0.6, 1.1), strict=True)
    ),
    Statement(
        name="stragglers-pulled",
        words="Stragglers that the energy kernel pulls end nearer to the target.",
        source="unbalanced page, stragglers",
        number="W2 at the end, pulled / plain MMD flow",
        high=1.0,
        measure=partial(helped, "pull"),
        group="stragglers",
        seconds=0.6,
    ),
    Statement(
        name="stragglers-reborn",
        words="Stragglers that are placed at other particles end nearer to the target.",
        source="unbalanced page, stragglers",
        number="W2 at the end, reborn / plain MMD flow",
        high=1.0,
        measure=partial(helped, "reborn"),
        group="stragglers",
        seconds=0.4,
    ),
)
