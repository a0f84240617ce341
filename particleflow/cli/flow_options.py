"""The options of the flows: kernel, steps, and what single flows take.

This file imports only the standard library: `particleflow --help` answers at once.
"""

from __future__ import annotations

from particleflow.cli.defaults import (
    ANNEAL,
    FIRST_STEPS,
    HALVINGS,
    LAM,
    LONGEST,
    RESAMPLE,
    RTOL,
    STEPS,
)
from particleflow.cli.names import FLOWS
from particleflow.cli.option import FLOW, Option, Tuned
from particleflow.cli.parts import (
    CRITICS,
    INTEGRATORS,
    KERNELS,
    MOBILITIES,
    RATIOS,
    STRAGGLERS,
)

# The options of the flows, which `options` lists among the others.
FLOW_OPTIONS = (
    Option(
        "kernel",
        "text",
        FLOW,
        f"the kernel (default: gaussian; of auto {FLOWS['auto'].defaults['kernel']})",
        "NAME",
        KERNELS,
        default="gaussian",
    ),
    Option(
        "bandwidth",
        "number",
        FLOW,
        "its length, the last one where it falls (default: in the plane a quarter of the target's"
        " median distance)",
        "L",
        above=0,
        remedy="leave it out to have one chosen",
        tuned=Tuned(0.25, 4.0, relative=True),
    ),
    Option(
        "anneal",
        "number",
        FLOW,
        "auto, mmd, kale, mono: the share of the steps in which the bandwidth falls; 0: it stays"
        f" (default: {ANNEAL}; 0 with another integrator than paced)",
        "SHARE",
        least=0,
        most=1,
        lower="1 lets it fall to the end",
        default=0.0,
        nothing=0.0,
    ),
    Option(
        "start_bandwidth",
        "number",
        FLOW,
        "the bandwidth at first (default: the longest side of the box around both clouds)",
        "L",
        above=0,
        remedy="leave it out to have one chosen",
    ),
    Option(
        "steps",
        "whole",
        FLOW,
        f"number of steps (default: {STEPS}; more where a bandwidth has far to fall)",
        "STEPS",
        least=1,
        most=LONGEST,
        lower="raise --dt",
    ),
    Option(
        "dt",
        "number",
        FLOW,
        "time step; of paced the first one (default: each flow's own, from its fastest rate)",
        "DT",
        above=0,
        remedy="leave it out to have one chosen",
        tuned=Tuned(0.125, 8.0, relative=True),
    ),
    Option(
        "integrator",
        "text",
        FLOW,
        "how to step (default: euler; without --dt paced, for auto, mmd, kale and mono with a"
        " kernel; of langevin euler-maruyama)",
        "NAME",
        INTEGRATORS,
    ),
    Option(
        "rtol",
        "number",
        FLOW,
        f"relative accuracy of sums over pairs (default: {RTOL:g}; of kale"
        f" {FLOWS['kale'].defaults['rtol']:g})",
        "RTOL",
        above=0,
        most=0.1,
        default=RTOL,
    ),
    Option(
        "lam",
        "number",
        FLOW,
        "kale, mono with --ratio kale: the penalty; large: MMD, small: KL-like, stiff (default:"
        f" {LAM})",
        "LAM",
        above=0,
        default=LAM,
        tuned=Tuned(1e-4, 1.0),
    ),
    Option(
        "beta",
        "number",
        FLOW,
        "mmd-noise: noise at first (default: the target's deviation)",
        "BETA",
        least=0,
        tuned=Tuned(0.1, 4.0, relative=True),
    ),
    Option(
        "beta_half",
        "number",
        FLOW,
        f"mmd-noise: steps that halve it (default: --steps / {HALVINGS})",
        "STEPS",
        above=0,
        tuned=Tuned(0.25, 4.0, relative=True),
    ),
    Option(
        "ratio",
        "text",
        FLOW,
        "mono: the estimator of the ratio (default: kde)",
        "NAME",
        RATIOS,
        default="kde",
    ),
    Option(
        "mobility",
        "text",
        FLOW,
        "mono: h of the log ratio (default: logit)",
        "NAME",
        MOBILITIES,
        default="logit",
    ),
    Option(
        "shift",
        "number",
        FLOW,
        "mono with --mobility vanilla: the shift C (default: 0)",
        "C",
        default=0.0,
        nothing=0.0,
        tuned=Tuned(0.0, 5.0, linear=True),
    ),
    Option(
        "critic",
        "text",
        FLOW,
        "w1: the potential (default: exact)",
        "NAME",
        CRITICS,
        default="exact",
    ),
    Option(
        "first_steps",
        "whole",
        FLOW,
        "mono with --ratio classifier, w1 with a network: steps of Adam before the first step"
        f" (default: {FIRST_STEPS})",
        "STEPS",
        least=1,
        most=LONGEST,
        default=FIRST_STEPS,
        tuned=Tuned(100, 3000),
    ),
    Option(
        "birth_death",
        "number",
        FLOW,
        "all but langevin: the rate at which masses change beside the motion, their total kept: by"
        " birth and death (Fisher-Rao), of ift by force transport (default: 0, masses stay; of ift"
        f" {FLOWS['ift'].defaults['birth_death']:g})",
        "RATE",
        least=0,
    ),
    Option(
        "resample",
        "number",
        FLOW,
        "where masses change: resample when the effective number of particles is below this share"
        f" of all; 0: never (default: {RESAMPLE:g})",
        "SHARE",
        least=0,
        most=0.99,
        lower=f"{RESAMPLE:g} is usual",
        default=RESAMPLE,
    ),
    Option(
        "stragglers",
        "text",
        FLOW,
        "all but langevin: what is done with particles beyond the kernel's reach (default: none)",
        "NAME",
        STRAGGLERS,
        default="none",
    ),
    Option(
        "beyond",
        "number",
        FLOW,
        "the distance to the nearest target point beyond which a particle is a straggler (default:"
        " where the kernel has fallen to a hundredth, of a gaussian 3 bandwidths)",
        "L",
        above=0,
        remedy="leave it out to have one chosen",
    ),
    Option(
        "temperature",
        "number",
        FLOW,
        "langevin: of the Brownian motion (default: 1)",
        "T",
        least=0,
        default=1.0,
    ),
)
