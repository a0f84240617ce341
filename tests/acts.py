"""How every parameter acts: two values of it that make a difference, and arguments that another one
switches off. See `test_arguments`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from seen import (
    A_CONTENDER,
    A_TASK,
    CLASSIFIER,
    HEAVY,
    LOSSES,
    NOISY,
    ROUGH,
    SCHEDULES,
    WIDE,
    Acts,
    E,
    Elsewhere,
    Falling,
    FewStates,
    Fresh,
    G,
    K,
    Later,
    P,
    Refused,
    S,
    Warned,
    X,
    Y,
    Z,
    archive,
    fitted,
    itself,
    made_wide,
    made_with,
    normal,
    of_bandwidth,
    of_cloud,
    of_cloud_pair,
    of_contender,
    of_entropy,
    of_features,
    of_files,
    of_fit,
    of_flow,
    of_kernel,
    of_loss,
    of_metric,
    of_mobility,
    of_neurons,
    of_noise,
    of_path,
    of_ratio,
    of_ratio_fit,
    of_rule,
    of_runs,
    of_sampler,
    of_schedule,
    of_states,
    of_study,
    of_sum,
    of_task,
    of_two_fits,
    picture,
    run,
    runs,
    table,
    wide,
)
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC

import particleflow as pf
from particleflow.clouds import Clock, Cloud, Draws, Replay

BANDWIDTH = {"bandwidth": (0.5, 1.0)}
TRAINED = {
    "width": (4, 5),
    "depth": (1, 2),
    "steps": (1, 2),
    "first_steps": (3, 4),
    "learning_rate": (1e-3, 1e-2),
    "betas": ((0.9, 0.999), (0.5, 0.9)),
    "batch": (5, 8),
    "standardise": (True, False),
}
SMALL = {"width": 4, "depth": 1, "steps": 2, "first_steps": 3, "batch": 8}
TRAINED_MODULE = {
    **TRAINED,
    "module": (None, lambda d: torch.nn.Linear(d, 1), {"width": 64, "depth": 2}),
}
PAIRWISE = {"pairwise": (P.Dense(), ROUGH)}
PAGE = {
    "title": ("", "Two clouds"),
    "as_images": (None, (2, 1)),
    "labels": (None, [0, 1, 2] * 4),
    "python": ("", "import particleflow"),
}
RULES = {"pca": (2, None), "standardise": (True, False)}
# What all pictures take.
PICTURED = {
    "title": ("", "A title"),
    "dark": (False, True),
    "size": (None, 6.0),
    "dpi": (160, 80),
    "ax": Elsewhere("test_axes_of_a_users_figure"),
}
SHOWN = {
    "color": ("flow", "start"),
    "trails": (False, 0.5),
    "arrows": (False, True),
    "axes": (None, (1, 0)),
    "xlim": (None, (-1.0, 2.0)),
    "ylim": (None, (-1.0, 2.0)),
    "density": (None, S.Gaussian(dim=2)),
    "as_images": (None, (1, 2)),
}
# A film is short and coarse, so that it takes a tenth of a second.
SHORT = {"seconds": 0.15, "dpi": 50}
SMALL_PICTURE = {"records": (0, -1), "dpi": 50}
FILMED = {
    "fps": (20, 10),
    "title": ("", "A title"),
    "dark": (False, True),
    "transparent": (False, True),
    "axes": (None, (1, 0)),
    "xlim": (None, (-1.0, 2.0)),
    "ylim": (None, (-1.0, 2.0)),
    "density": (None, S.Gaussian(dim=2)),
    "as_images": (None, (1, 2)),
    "size": (None, 4.0),
    "dpi": (50, 60),
}
ANIMATED = {
    "seconds": (0.15, 0.3),
    "pace": ("path", "steps"),
    "color": ("flow", "start"),
    "trails": (None, False),
    "arrows": (False, True),
    "inset": (False, True),
    "orbit": (None, Refused(10.0, "`orbit`")),
}
TRANSPORT = {
    "max_points": (5, 9),
    "max_iterations": (10**6, Warned(1, "raise max_iterations")),
    "seed": (0, 1, {"max_points": 5}),
}

WITH_ENDS = {"initial": 1.0, "final": 0.2, "length": 5.0}
ENDS: dict[str, Any] = {
    "initial": (1.0, 2.0),
    "final": (0.2, 0.1),
    "length": (5.0, 3.0),
    "of": (SCHEDULES.by_step, SCHEDULES.by_time),
}
HALVING, FALLING = SCHEDULES.Geometric(2.0, ratio=0.5, every=1), pf.Continuation(5)


def of_ends(start: float) -> dict[str, torch.Tensor]:
    """The memory of a fit with the rule `Continuation`."""
    return {"rule/ends": torch.tensor([start, 0.2, 0.0], dtype=torch.float64)}


ACTS: dict[str, Acts] = {
    **{
        f"kernels.{name}": Acts(of_kernel, **BANDWIDTH)
        for name in ("Cauchy", "Gaussian", "IMQ", "Laplace", "Matern32", "Matern52")
    },
    "kernels.Radial": Acts(
        of_kernel,
        {"of": lambda s: torch.exp(-s)},
        of=(lambda s: torch.exp(-s), lambda s: 1 / (1 + s)),
        bandwidth=(0.5, 2.0),
    ),
    "kernels.FeatureKernel": Acts(
        lambda k: pf.metrics.MMD2(k)(normal(4, 4, 0), normal(6, 4, 1)),
        map=(K.Neurons(X), K.Neurons(Y)),
    ),
    "kernels.Neurons": Acts(
        of_neurons,
        {"data": X},
        data=(X, Y),
        activation=(K.ReLU(), K.Tanh()),
        output_weight=(True, False),
    ),
    "kernels.Landmarks": Acts(of_features, count=(4, 6)),
    "kernels.RandomWaves": Acts(of_features, count=(4, 6)),
    "kernels.Median": Acts(of_rule, factor=(1.0, 2.0)),
    "kernels.Scott": Acts(of_rule, factor=(1.0, 2.0)),
    "kernels.as_kernel": Acts(of_kernel, kernel=(G, lambda s: 1 / (1 + s))),
    "kernels.default_bandwidth": Acts(itself, points=(X, Y)),
    "kernels.median_distance": Acts(itself, points=(X, Y)),
    "estimators.KALE": Acts(
        of_fit,
        {"kernel": G},
        kernel=(G, WIDE),
        lam=(0.1, 0.2),
        reverse=(False, True),
        rtol=(1e-12, 1e-1),
        max_iterations=(50, 1),
        **PAIRWISE,
    ),
    "estimators.KDE": Acts(
        of_fit,
        {"kernel": G},
        kernel=(G, WIDE),
        shared=(K.Scott(), K.Median(), {"kernel": None}),
        **PAIRWISE,
    ),
    "estimators.KLIEP": Acts(
        of_fit,
        {"kernel": G},
        kernel=(G, WIDE),
        centres=(3, 6),
        folds=(2, 5, {"kernel": None}),
        max_iterations=(100, 1),
        **PAIRWISE,
    ),
    "estimators.MMD": Acts(of_fit, kernel=(G, WIDE), pairwise=(P.Dense(), ROUGH, {"kernel": G})),
    **{
        f"estimators.{name}": Acts(
            of_fit,
            {"kernel": G, "lam": 0.1},
            kernel=(G, WIDE),
            lam=(0.1, 0.2),
            centres=(3, 6),
            rounded=(False, True, {"lam": 0.01}),
            **PAIRWISE,
            **more,
        )
        for name, more in (
            ("ULSIF", {}),
            ("RuLSIF", {"alpha": (0.1, 0.3), "ceiling": (0.95, 0.3, {"alpha": 0.5})}),
        )
    },
    "estimators.CTransformCritic": Acts(
        of_fit,
        exact_up_to=(100, 5),
        regularisation=(0.3, 0.6),
        tolerance=(None, 0.3, {"regularisation": 0.3}),
        max_iterations=(1000, 1, {"regularisation": 0.3}),
    ),
    "estimators.Classifier": Acts(
        of_two_fits,
        SMALL,
        **TRAINED_MODULE,
        loss=(LOSSES.BCE(), LOSSES.NWJ()),
        gradient_penalty=(0.0, 1.0),
        penalty_centre=(0.0, 1.0, {"gradient_penalty": 1.0}),
        log_output=(True, False, {"loss": LOSSES.NWJ()}),
    ),
    "estimators.ClosedForm": Acts(
        of_fit,
        {"target": S.Gaussian(dim=2)},
        target=(S.Gaussian(dim=2), S.Gaussian(dim=2, std=2.0)),
        current=(None, E.Moments()),
        clip=(math.inf, 1.0),
    ),
    "estimators.Moments": Acts(
        lambda m: of_fit(E.ClosedForm(S.Gaussian(dim=2), m)), jitter=(0.0, 0.5)
    ),
    "estimators.DrMMD": Acts(
        of_fit,
        {"kernel": G, "lam": 0.1},
        kernel=(G, WIDE),
        lam=(0.1, 0.2),
        **PAIRWISE,
        rtol=(1e-12, 1e-1, {"see": partial(of_fit, y=normal(600, 2, 1)), "pairwise": P.Compiled()}),
    ),
    "estimators.Moreau": Acts(
        of_fit,
        {"kernel": G, "lam": 0.1, "divergence": pf.divergences.Jeffreys()},
        kernel=(G, WIDE),
        lam=(0.1, 0.2),
        rtol=(1e-12, 1e-1),
        divergence=(pf.divergences.Jeffreys(), pf.divergences.KL()),
        max_iterations=(50, 1),
        **PAIRWISE,
    ),
    "estimators.GradientPenaltyCritic": Acts(
        of_two_fits, SMALL, **TRAINED_MODULE, weight=(10.0, 1.0), one_sided=(True, False)
    ),
    "estimators.LipschitzCritic": Acts(of_two_fits, SMALL, **{**TRAINED, "width": (4, 6)}),
    "estimators.WeightClippingCritic": Acts(of_two_fits, SMALL, **TRAINED_MODULE, clip=(0.1, 0.01)),
    "estimators.KernelLogistic": Acts(
        of_fit,
        {"kernel": G, "lam": 0.1},
        kernel=(G, WIDE),
        lam=(0.1, 0.2),
        features=(K.Landmarks(4), K.Landmarks(6)),
        rtol=(1e-10, 1.0),
        max_iterations=(100, 1),
    ),
    "estimators.SklearnClassifier": Acts(
        of_fit,
        {"model": LogisticRegression()},
        model=(LogisticRegression(), LogisticRegression(C=0.1)),
        calibrate=(None, True),
        folds=(2, 4, {"model": LinearSVC()}),
        clip=(40.0, 0.1),
        step=(6e-6, 1e-1, {"model": GaussianNB()}),
        accept_unconverged=(False, True, {"model": LogisticRegression(max_iter=1)}),
    ),
    "mobilities.Linear": Acts(of_mobility, factor=(1.0, 2.0)),
    "mobilities.Exponential": Acts(of_mobility, alpha=(1.0, 2.0)),
    "mobilities.Vanilla": Acts(of_mobility, shift=(0.0, 1.0)),
    "mobilities.LSGAN": Acts(
        of_mobility,
        {"allow_nonmonotone": True},
        fake=(0.0, -1.0),
        real=(1.0, 2.0),
        aim=(1.0, 0.5),
        allow_nonmonotone=(True, Refused(False, "allow_nonmonotone"), {"aim": 0.5}),
    ),
    **{
        f"mobilities.{name}": Acts(
            of_mobility,
            {"divergence": pf.divergences.KL()},
            divergence=(pf.divergences.KL(), pf.divergences.Jeffreys()),
            allow_nonmonotone=(
                True,
                Refused(False, "allow_nonmonotone"),
                {"divergence": pf.divergences.TotalVariation()},
            ),
        )
        for name in ("Induced", "from_divergence")
    },
    "mobilities.Custom": Acts(
        of_mobility,
        {"function": torch.exp},
        function=(torch.exp, torch.sinh),
        first=(None, lambda w: 2 * w.exp()),
        second=(None, lambda w: 2 * w.exp()),
        allow_nonmonotone=(True, Refused(False, "increas"), {"function": torch.cos}),
    ),
    "mobilities.custom": Acts(
        of_mobility,
        {"h": torch.exp},
        h=(torch.exp, torch.sinh),
        slope=(None, lambda w: 2 * w.exp()),
        curvature=(None, lambda w: 2 * w.exp()),
        allow_nonmonotone=(True, Refused(False, "increas"), {"h": torch.cos}),
    ),
    "mobilities.check_increasing": Acts(
        itself, mobility=(pf.mobilities.Unit(), Refused(Falling(), "for every log ratio"))
    ),
    "samplers.Checkerboard": Acts(of_sampler, noise=(0.0, 0.1), squares=(4, 6)),
    **{f"samplers.{name}": Acts(of_sampler, **RULES) for name in ("Digits", "Iris", "Wine")},
    "samplers.FromArray": Acts(of_sampler, points=(X, Y)),
    "samplers.FromFile": Acts(
        of_sampler,
        {"path": Later(table)},
        path=(Later(table), Later(lambda f: table(f, "b.csv", "1,2\n3,4.5\n"))),
        key=("a", "b", {"path": Later(archive)}),
        columns=(None, (0, 2)),
        header=(None, True),
        wide=(True, Refused(False, "wide=True"), {"path": Later(wide)}),
    ),
    "samplers.FromImage": Acts(
        of_sampler,
        {"path": Later(picture)},
        path=(Later(picture), Later(lambda f: picture(f, falling=False))),
        bright=(False, True),
        threshold=(0.1, 0.3),
        extent=(2.0, 3.0),
    ),
    "samplers.Gaussian": Acts(
        of_sampler,
        dim=(1, 2),
        mean=(0.0, 1.0, {"dim": 2}),
        std=(None, 2.0, {"dim": 2}),
        cov=(None, [[2.0, 0.5], [0.5, 1.0]], {"dim": 2}),
    ),
    "samplers.Minibatch": Acts(
        lambda batch: of_cloud(batch.at(Clock(0.0, 3))),
        {"sampler": S.Rings(), "size": 4},
        sampler=(S.Rings(), S.Moons()),
        size=(4, 5),
        dtype=(None, torch.float32),
        device=("cpu", Refused("nowhere", "nowhere")),
    ),
    "samplers.Mixture": Acts(
        of_sampler,
        {"components": (S.Gaussian(dim=2), S.Gaussian(dim=2, mean=5.0))},
        weights=(None, (0.9, 0.1)),
        components=(
            (S.Gaussian(dim=2), S.Gaussian(dim=2)),
            (S.Gaussian(dim=2), S.Gaussian(dim=2, mean=5.0)),
        ),
    ),
    "samplers.Moons": Acts(of_sampler, noise=(0.0, 0.1)),
    "samplers.Rings": Acts(
        of_sampler,
        noise=(0.0, 0.1),
        centres=(((0.0, 0.0),), ((1.0, 0.0),)),
        radius=(0.3, 0.6),
        spaced=(False, True),
    ),
    "samplers.Sphere": Acts(of_sampler, dim=(2, 3)),
    "samplers.Spiral": Acts(of_sampler, noise=(0.0, 0.1), arms=(2, 3), turns=(1.0, 2.0)),
    "samplers.SwissRoll": Acts(of_sampler, noise=(0.0, 0.1)),
    "pairwise.Auto": Acts(
        partial(of_sum, n=40000),
        {"rtol": 1e-3},
        rtol=(1e-3, 1e-12),
        atol=(None, 1e-13),
        max_pairs=(5e10, Refused(10.0, "`max_pairs`"), {"see": partial(of_sum, n=30, d=5)}),
    ),
    "pairwise.Compiled": Acts(partial(of_sum, n=4000), portable=(False, True)),
    "pairwise.Culled": Acts(
        partial(of_sum, n=4000, kernel=K.Gaussian(0.05)), rtol=(1e-5, 1e-1), atol=(None, 1e-9)
    ),
    "pairwise.Dense": Acts(partial(of_sum, n=4000), max_bytes=(8 * 2**20, 2**12)),
    "pairwise.Fourier": Acts(
        of_sum,
        rtol=(1e-6, 1e-2),
        atol=(None, 1e-12),
        max_modes=(2**23, 4),
        max_pairs=(
            2e10,
            Refused(10.0, "`max_pairs`"),
            {"max_modes": 4, "see": partial(of_sum, kernel=K.IMQ(0.3))},
        ),
    ),
    "pairwise.Mesh": Acts(
        partial(of_sum, n=2000),
        rtol=(1e-5, 1e-2),
        atol=(None, 1e-9),
        max_cells=(2**24, Warned(16, "`max_cells`")),
        max_pairs=(2e10, Refused(10.0, "`max_pairs`"), {"max_cells": 16}),
    ),
    "pairwise.Nystroem": Acts(
        partial(of_sum, d=6),
        {"rank": 20, "rtol": 0.5},
        rank=(20, 30),
        rtol=(0.5, 1e-3, {"rank": None}),
        atol=(None, 1e-6, {"rank": None}),
        max_pairs=(5e10, Refused(10.0, "`max_pairs`"), {"rank": None, "rtol": 1e-12}),
    ),
    "metrics.MMD": Acts(of_metric, {"kernel": G}, kernel=(G, WIDE), **PAIRWISE),
    "metrics.MMD2": Acts(of_metric, {"kernel": G}, kernel=(G, WIDE), **PAIRWISE),
    "metrics.EnergyDistance": Acts(of_metric, pairwise=(P.Dense(), Refused(3, "`pairwise`"))),
    "metrics.W1": Acts(of_metric, **TRANSPORT),
    "metrics.W2": Acts(of_metric, **TRANSPORT),
    "metrics.SlicedW2": Acts(of_metric, projections=(20, 30), seed=(0, 1)),
    "metrics.floor": Acts(
        lambda floor: (floor.value, floor.spread),
        {"metric": pf.metrics.W2(), "y": Y, "n": 5},
        metric=(pf.metrics.W2(), pf.metrics.W1()),
        y=(Y, X),
        n=(5, 12),
        seed=(0, 1),
    ),
    "two_sample": Acts(
        str,
        {"x": X, "y": Y},
        x=(X, X + 1),
        y=(Y, Y + 1),
        kernel=(G, WIDE),
        permutations=(99, 49),
        seed=(0, 1),
    ),
    "metrics.label_of": Acts(
        itself,
        {"metric": pf.metrics.W2(max_points=14), "name": "a", "x": Cloud(X), "y": Cloud(X)},
        metric=(pf.metrics.W2(), pf.metrics.W1()),
        name=("a", "b", {"metric": lambda x, y: 1.0}),
        x=(Cloud(X), Cloud(Y)),
        y=(Cloud(X), Cloud(Y)),
    ),
    "schedules.Constant": Acts(of_schedule, value=(1.0, 2.0)),
    "schedules.Power": Acts(
        of_schedule,
        {"initial": 1.0},
        initial=(1.0, 2.0),
        exponent=(0.5, 1.0),
        scale=(1.0, 3.0),
        of=(SCHEDULES.by_step, SCHEDULES.by_time),
    ),
    "schedules.Geometric": Acts(
        of_schedule,
        {"initial": 1.0},
        initial=(1.0, 2.0),
        ratio=(0.5, 0.9),
        every=(1.0, 3.0),
        smooth=(False, True, {"every": 3.0}),
        of=(SCHEDULES.by_step, SCHEDULES.by_time),
    ),
    "schedules.GeometricBetween": Acts(of_schedule, WITH_ENDS, **ENDS),
    "schedules.Cosine": Acts(of_schedule, WITH_ENDS, **ENDS),
    "schedules.Piecewise": Acts(
        of_schedule,
        {"boundaries": (2.0,), "values": (1.0, 3.0)},
        boundaries=((2.0,), (1.0,)),
        values=((1.0, 3.0), (1.0, 4.0)),
        of=(SCHEDULES.by_step, SCHEDULES.by_time),
    ),
    "schedules.Decreasing": Acts(
        lambda lam: pf.simulate(pf.kale_flow(G, lam=lam), X, Y, steps=4, dt=0.5).particles,
        {"start": 0.5},
        start=(0.5, 0.2),
        least=(0.0, 0.45),
    ),
    "schedules.as_schedule": Acts(
        of_schedule,
        {"value": 1.0, "name": "noise"},
        value=(1.0, 2.0),
        name=(Refused("noise", "`noise`"), Refused("beta", "`beta`"), {"value": "x"}),
    ),
    "schedules.by_step": Acts(itself, clock=(Clock(0.0, 1), Clock(0.0, 2))),
    "schedules.by_time": Acts(itself, clock=(Clock(0.5, 1), Clock(1.0, 1))),
    "divergences.Tsallis": Acts(of_entropy, alpha=(0.5, 1.5)),
    "divergences.ChiSquare": Acts(
        lambda f: f.conjugate(torch.linspace(-6, 1, 5, dtype=torch.float64)),
        nonnegative=(True, False),
    ),
    "losses.LSGAN": Acts(of_loss, fake=(0.0, -1.0), real=(1.0, 2.0)),
    "losses.DonskerVaradhan": Acts(of_loss, normaliser=(0.0, 1.0)),
    "clouds.as_cloud": Acts(
        of_cloud,
        {"value": X.numpy(), "name": "x"},
        value=(X, Y),
        name=(Refused("x", "`x`"), Refused("z", "`z`"), {"value": "no"}),
        like=(None, X.float()),
    ),
    "clouds.as_clouds": Acts(
        of_cloud_pair,
        {"x": X, "y": Y},
        x=(X, X + 1),
        y=(Y, Y + 1),
        x_name=(Refused("x", "`x`"), Refused("left", "`left`"), {"x": "no"}),
        y_name=(Refused("y", "`y`"), Refused("right", "`right`"), {"y": "no"}),
    ),
    "clouds.FixedTarget": Acts(
        lambda target: of_cloud(target.at(Clock())), cloud=(Cloud(X), Cloud(Y))
    ),
    "Cloud": Acts(
        of_cloud,
        {"points": X},
        points=(X, X + 1),
        unnamed=((), Refused((HEAVY,), "by name")),
        mass=(None, HEAVY),
        log_mass=(None, HEAVY),
    ),
    "Clock": Acts(
        lambda clock: (clock.t, clock.step, clock.draws),
        t=(0.0, 1.0),
        step=(0, 1),
        draws=(Draws(0), Draws(1)),
    ),
    "Draws": Acts(lambda draws: draws.normal("noise", 0, X), seed=(0, 1)),
    "Replay": Acts(
        lambda replay: (replay.normal("noise", 0, X), replay.child_seed("a", 0)),
        {"arrays": {"noise": X[None]}},
        arrays=({"noise": X[None]}, {"noise": X[None] + 1}),
        seed=(0, 1),
    ),
    "Flow": Acts(
        of_flow,
        {"estimator": E.KDE(G)},
        estimator=(E.KDE(G), E.KDE(WIDE)),
        mobility=(pf.mobilities.Unit(), pf.mobilities.Exponential()),
        noise=(None, 0.3),
        diffusion=(None, 0.3),
        reaction=(None, lambda w: 0.1 * w),
    ),
    "kale_flow": Acts(
        of_flow,
        {"kernel": G, "lam": 0.1},
        kernel=(G, WIDE),
        lam=(0.1, 0.2),
        bandwidth=(None, SCHEDULES.Constant(0.3)),
        noise=(None, 0.3),
        **PAIRWISE,
    ),
    "mmd_flow": Acts(
        of_flow,
        {"kernel": G},
        kernel=(G, WIDE),
        bandwidth=(None, SCHEDULES.Constant(0.3)),
        noise=(None, 0.3),
        **PAIRWISE,
    ),
    "estimators.Annealed": Acts(
        of_fit,
        {"estimator": E.MMD(G), "bandwidth": SCHEDULES.Constant(0.3)},
        estimator=(E.MMD(G), E.KDE(G)),
        bandwidth=(SCHEDULES.Constant(0.3), SCHEDULES.Constant(0.6)),
    ),
    "Continuation": Acts(
        of_bandwidth,
        {"steps": 6},
        steps=(6, 9),
        share=(0.6, 0.9),
        start=(None, 9.0),
        end=(None, 0.05),
    ),
    "TargetSignal": Acts(
        of_bandwidth,
        {"every": 2},
        every=(2, 3),
        least=(None, 50.0),
        kernel=(K.Gaussian(1.0), K.Cauchy(1.0)),
    ),
    "adaptive.SignalNoise": Acts(of_noise, {"target": Y}, target=(Y, Y + 1)),
    "Arbel": Acts(of_noise, most=(128, 3), draws=(4, 1)),
    "mono_flow": Acts(
        of_flow,
        {"estimator": E.KDE(G)},
        estimator=(E.KDE(G), E.KDE(WIDE)),
        mobility=(pf.mobilities.Unit(), pf.mobilities.Exponential()),
        noise=(None, 0.3),
    ),
    "wgan_flow": Acts(
        of_flow,
        {"critic": E.CTransformCritic()},
        critic=(E.CTransformCritic(), E.CTransformCritic(regularisation=0.3)),
        noise=(None, 0.3),
    ),
    "langevin": Acts(
        of_flow,
        {"target": S.Gaussian(dim=2)},
        target=(S.Gaussian(dim=2), S.Gaussian(dim=2, std=2.0)),
        temperature=(1.0, 2.0),
    ),
    "fit": Acts(
        lambda fit: fit.witness.value_and_grad(Z),
        {"estimator": E.KDE(G), "x": X, "y": Y},
        estimator=(E.KDE(G), E.KDE(WIDE)),
        x=(X, X + 1),
        y=(Y, Y + 1),
        seed=(0, 1, {"estimator": E.Classifier(**SMALL)}),
    ),
    "iterate": Acts(
        of_states,
        {"flow": pf.mmd_flow(G), "x0": X, "target": Y, "dt": 0.1},
        flow=(pf.mmd_flow(G), pf.mmd_flow(WIDE)),
        x0=(X, X + 1),
        target=(Y, Y + 1),
        dt=(0.1, 0.2),
        integrator=(None, pf.Heun()),
        seed=(0, 1, {"flow": NOISY}),
        draws=(None, Draws(3), {"flow": NOISY}),
    ),
    "simulate": Acts(
        of_path,
        {"flow": pf.mmd_flow(G), "x0": X, "target": Y, "dt": 0.1, "steps": 4},
        flow=(pf.mmd_flow(G), pf.mmd_flow(WIDE)),
        x0=(X, X + 1),
        target=(Y, Y + 1),
        dt=(0.1, 0.2),
        steps=(4, 5),
        t1=(0.3, 0.7, {"steps": None}),
        integrator=(None, pf.Heun()),
        save=(None, pf.SaveAt(every=2)),
        metrics=(None, {"W2": pf.metrics.W2()}),
        seed=(0, 1, {"flow": NOISY}),
        draws=(None, Draws(3), {"flow": NOISY}),
        progress=Elsewhere("test_a_progress_bar"),
    ),
    "study.Range": Acts(
        lambda part: (part.at(0.3), part.default),
        {"low": 0.1, "high": 10.0, "default": 1.0},
        low=(0.1, 0.2),
        high=(10.0, 20.0),
        default=(1.0, 2.0),
        linear=(False, True),
    ),
    "study.Choice": Acts(
        lambda part: (part.at(0.9), part.default),
        {"values": ["a", "b"], "default": "a"},
        values=(["a", "b"], ["a", "c"]),
        default=("a", "b"),
    ),
    "study.Setup": Acts(
        repr,
        {"flow": pf.mmd_flow(G)},
        flow=(pf.mmd_flow(G), pf.mmd_flow(WIDE)),
        dt=(None, 0.1),
        integrator=(None, pf.Heun()),
    ),
    "study.Contender": Acts(
        of_contender,
        {"name": "mmd", "make": made_with},
        name=("mmd", "other"),
        make=(made_with, made_wide),
        parameters=({}, {"lam": pf.study.Range(0.1, 1.0, 0.5)}),
        title=("", "MMD flow"),
        stepping=(pf.study.Range(0.5, 2.0, 1.0), None),
    ),
    "study.Task": Acts(
        of_task,
        {
            "name": "a",
            "start": S.Gaussian(dim=2),
            "target": S.Rings(),
            "particles": 5,
            "targets": 7,
        },
        name=("a", "b"),
        start=(S.Gaussian(dim=2), S.Gaussian(dim=2, std=2.0)),
        target=(S.Rings(), S.Moons()),
        title=("", "rings"),
        particles=(5, 6),
        targets=(7, 8),
        bandwidth=(None, 0.3),
        steps=(10, 20),
        as_images=(None, (1, 2)),
    ),
    "study.Study": Acts(
        of_study,
        {
            "tasks": [A_TASK],
            "contenders": [A_CONTENDER],
            "seeds": 1,
        },
        tasks=([A_TASK], [A_TASK, pf.study.Task("b", S.Gaussian(dim=2), S.Rings(), steps=2)]),
        contenders=([A_CONTENDER], [pf.study.Contender("wide", made_wide)]),
        seeds=(1, 2),
        tuning=(0, 1),
        tuning_seeds=(1, 2, {"tuning": 1}),
        seconds=Elsewhere("test_a_run_goes_on_until_its_seconds_are_used"),
        metrics=({"W2": pf.metrics.W2()}, {"W1": pf.metrics.W1()}),
        players=(True, False),
    ),
    "simulate_many": Acts(
        of_runs,
        {"flow": NOISY, "starts": X, "target": Y, "dt": 0.1, "steps": 4, "seeds": 2},
        flow=(NOISY, pf.mmd_flow(WIDE)),
        starts=(X, X + 1),
        target=(Y, Y + 1),
        n=(7, 8, {"starts": S.Gaussian(dim=2)}),
        m=(7, 8, {"target": S.Gaussian(dim=2)}),
        seeds=(2, (0, 5)),
        jobs=Elsewhere("test_processes_give_the_same_bits"),
        dt=(0.1, 0.2),
        steps=(4, 5),
        t1=(0.3, 0.7, {"steps": None}),
        integrator=(None, pf.Heun()),
        save=(None, pf.SaveAt(every=2)),
        metrics=(None, {"W2": pf.metrics.W2()}),
        progress=Elsewhere("test_a_bar_of_many_runs"),
    ),
    "Runs.band": Acts(
        lambda band: (band.steps, band.median, band.low, band.high),
        {"self": runs(), "name": "W2"},
        name=("W2", "energy"),
        quantiles=((0.1, 0.9), (0.2, 0.9)),
    ),
    "SaveAt": Acts(
        lambda save: of_path(pf.simulate(pf.mmd_flow(G), X, Y, steps=6, dt=0.1, save=save)),
        every=(2, 3),
        steps=((1, 4), (2,)),
        velocity=(False, True),
        witness=(False, True),
    ),
    "plotting.animate": Acts(
        of_files,
        {"paths": run(), "file": Later(lambda f: f / "a.gif"), **SHORT},
        paths=(run(), run(pf.mmd_flow(WIDE))),
        file=(Later(lambda f: f / "a.gif"), Later(lambda f: f / "b.gif")),
        **FILMED,
        **ANIMATED,
    ),
    "plotting.curves": Acts(
        of_files,
        {"paths": run()},
        paths=(run(), run(pf.mmd_flow(WIDE))),
        file=(None, Refused("a.xyz", "`file`")),
        metrics=(None, ["W2"]),
        **PICTURED,
    ),
    "plotting.field": Acts(
        of_files,
        {"path": run(), "flow": pf.mmd_flow(G), "dpi": 50},
        path=(run(), run(pf.mmd_flow(WIDE))),
        flow=(pf.mmd_flow(G), Refused(None, "`flow` is needed")),
        file=(None, Refused("a.xyz", "`file`")),
        at=(-1, 0),
        what=("witness", "velocity"),
        arrows=(True, False),
        points=(True, False),
        xlim=(None, (-1.0, 2.0)),
        ylim=(None, (-1.0, 2.0)),
        **PICTURED,
    ),
    "plotting.film": Acts(
        of_files,
        {
            "states": FewStates(G),
            "file": Later(lambda f: f / "a.gif"),
            "target": Y,
            "dpi": 50,
        },
        states=(FewStates(G), FewStates(WIDE)),
        target=(None, Y),
        color=("flow", "start"),
        file=(Later(lambda f: f / "a.gif"), Later(lambda f: f / "b.gif")),
        **FILMED,
    ),
    "plotting.player": Acts(
        of_files,
        {"paths": run(), "file": Later(lambda f: f / "a.html")},
        paths=(run(), run(pf.mmd_flow(WIDE))),
        file=(Later(lambda f: f / "a.html"), Refused("a.gif", "`file`")),
        **PAGE,
    ),
    "plotting.snapshots": Acts(
        of_files,
        {"paths": run(), **SMALL_PICTURE},
        paths=(run(), run(pf.mmd_flow(WIDE))),
        file=(None, Refused("a.xyz", "`file`")),
        records=(None, (0, -1)),
        **SHOWN,
        **PICTURED,
    ),
    "scikit.RatioClassifier": Acts(
        of_ratio,
        {"estimator": E.Classifier(**SMALL)},
        estimator=(E.KDE(G), E.KDE(WIDE)),
        seed=(0, 1),
    ),
    "Trajectory.animate": Acts(
        of_files,
        {"self": run(), "path": Later(lambda f: f / "a.gif"), **SHORT},
        path=(Later(lambda f: f / "a.gif"), Later(lambda f: f / "b.gif")),
        **FILMED,
        **ANIMATED,
    ),
    "Trajectory.play": Acts(
        of_files,
        {"self": run(), "path": Later(lambda f: f / "a.html")},
        path=(Later(lambda f: f / "a.html"), Refused("a.gif", "`file`")),
        **PAGE,
    ),
    "Trajectory.plot": Acts(
        of_files,
        {"self": run(), **SMALL_PICTURE},
        path=(None, Refused("a.xyz", "xyz")),
        records=(None, (0, -1)),
        **SHOWN,
        **PICTURED,
    ),
    "Trajectory.cloud": Acts(of_cloud, {"self": run()}, index=(0, 3)),
    "Trajectory.save": Acts(
        str, {"self": run()}, path=(Later(lambda f: f / "a.npz"), Later(lambda f: f / "b.npz"))
    ),
    "Trajectory.load": Acts(
        lambda path: path.particles,
        path=(
            Later(lambda f: run().save(f / "a.npz")),
            Later(lambda f: run(pf.mmd_flow(WIDE)).save(f / "b.npz")),
        ),
    ),
    "Flow.suggest_dt": Acts(
        itself,
        {"self": pf.mmd_flow(G), "x": X, "y": Y},
        x=(X, 2 * X),
        y=(Y, 2 * Y),
        clock=(Clock(), Clock(0.0, 3), {"self": pf.mmd_flow(G, bandwidth=HALVING)}),
        memory=(of_ends(3.0), of_ends(0.5), {"self": pf.mmd_flow(G, bandwidth=FALLING)}),
    ),
    "Flow.beta": Acts(
        itself,
        {
            "self": pf.mmd_flow(K.Gaussian(0.4), noise=pf.Arbel()),
            "x": Cloud(X),
            "fit": pf.fit(E.MMD(K.Gaussian(0.4)), X, Y),
            "clock": Clock(),
        },
        x=(Cloud(X), Cloud(2 * X)),
        fit=tuple(pf.fit(E.MMD(K.Gaussian(0.4)), X, target) for target in (Y, Y + 1)),
        clock=(Clock(1.0), Clock(2.0), {"self": pf.mmd_flow(G, noise=lambda clock: clock.t)}),
    ),
    "Flow.velocity": Acts(
        itself,
        {"self": NOISY, "x": Cloud(X), "fit": pf.fit(E.MMD(G), X, Y), "clock": Clock()},
        x=(Cloud(X), Cloud(2 * X)),
        fit=(pf.fit(E.MMD(G), X, Y), pf.fit(E.MMD(G), X, Y + 1)),
        clock=(Clock(0.0, 1), Clock(0.0, 2)),
    ),
    "Flow.witness": Acts(
        itself,
        {"self": pf.mmd_flow(G), "fit": pf.fit(E.MMD(G), X, Y), "z": Z},
        fit=(pf.fit(E.MMD(G), X, Y), pf.fit(E.MMD(G), X, Y + 1)),
        z=(Z, Z + 1),
    ),
    "Flow.sigma": Acts(
        itself,
        {"self": pf.Flow(E.MMD(G), diffusion=lambda clock: clock.t)},
        clock=(Clock(1.0, 1), Clock(2.0, 2)),
    ),
    "Flow.energy": Acts(
        itself,
        {"self": pf.mono_flow(E.ClosedForm(S.Gaussian(dim=2))), "x": Cloud(X)},
        fit=(fitted(0), fitted(1)),
        x=Elsewhere("test_flows"),
    ),
    "SaveAt.between": Acts(
        itself, {"self": pf.SaveAt(every=2), "first": 0, "last": 9}, first=(0, 5), last=(9, 13)
    ),
    "SaveAt.grid": Acts(
        lambda grid: grid.axes,
        {"self": pf.SaveAt(witness=True), "start": Cloud(X), "target": Cloud(Y)},
        start=(Cloud(X), Cloud(9 * X)),
        target=(Cloud(Y), None),
    ),
    "SaveAt.wants": Acts(lambda wants: wants(7), {"self": pf.SaveAt()}, total=(10, 1000)),
    "Cloud.mean": Acts(itself, {"self": Cloud(X)}, values=(HEAVY, 2 * HEAVY)),
    "Draws.normal": Acts(
        itself,
        {"self": Draws(0), "stream": "a", "step": 0, "like": X},
        stream=("a", "b"),
        step=(0, 1),
        like=(X, Y),
    ),
    "Draws.child_seed": Acts(
        itself, {"self": Draws(0), "stream": "a", "step": 0}, stream=("a", "b"), step=(0, 1)
    ),
    "Replay.normal": Acts(
        itself,
        {
            "self": Replay({"a": torch.stack([X, X + 1]), "b": X[None] + 2}),
            "stream": "a",
            "step": 0,
            "like": X,
        },
        stream=("a", "b"),
        step=(0, 1),
        like=(X, X.float()),
    ),
    "Replay.child_seed": Acts(
        itself, {"self": Replay({}), "stream": "a", "step": 0}, stream=("a", "b"), step=(0, 1)
    ),
    "samplers.Rings.sample": Acts(
        itself,
        {"self": S.Rings(), "n": 4},
        n=(4, 5),
        seed=(0, 1),
        dtype=(None, torch.float32),
        device=("cpu", Refused("nowhere", "nowhere")),
    ),
    "samplers.Rings.draw": Acts(
        itself, {"self": S.Rings(), "n": 4, "rng": Fresh(0)}, n=(4, 5), rng=(Fresh(0), Fresh(1))
    ),
    "samplers.Rings.log_density": Acts(itself, {"self": S.Rings(noise=0.1)}, z=(X, Y)),
    "samplers.Rings.score": Acts(itself, {"self": S.Rings(noise=0.1)}, z=(X, Y)),
    "pairwise.KeOps": Acts(itself, timeout=Elsewhere("test_keops")),
    "samplers.Minibatch.at": Acts(
        of_cloud, {"self": S.Minibatch(S.Rings(), 4)}, clock=(Clock(0.0, 1), Clock(0.0, 2))
    ),
    "scikit.RatioClassifier.fit": Acts(
        of_ratio_fit,
        {"self": CLASSIFIER, "X": torch.cat([X, Y]).numpy(), "y": np.repeat([0, 1], [12, 17])},
        X=(torch.cat([X, Y]).numpy(), torch.cat([X, Y + 1]).numpy()),
        y=(np.repeat([0, 1], [12, 17]), np.repeat([0, 1], [13, 16])),
        sample_weight=(None, np.linspace(0.5, 2, 29)),
    ),
    **{
        f"scikit.RatioClassifier.{name}": Acts(
            itself, {"self": CLASSIFIER}, X=(X.numpy(), Y.numpy())
        )
        for name in ("log_ratio", "gradient", "decision_function", "predict_proba", "predict")
    },
    "scikit.RatioClassifier.get_params": Acts(str, {"self": CLASSIFIER}, deep=(True, False)),
    "scikit.RatioClassifier.set_params": Acts(
        itself, {"self": CLASSIFIER}, params=Elsewhere("test_scikit")
    ),
}

# Arguments that another one switches off: they would be ignored without a word.
SWITCHED_OFF: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (E.CTransformCritic, {"tolerance": 1e-3}, "`tolerance` is for the entropic potential"),
    (E.Classifier, {"penalty_centre": 1.0}, "`penalty_centre` needs a penalty"),
    *[
        (
            kind,
            {"module": torch.nn.Linear(2, 1), "width": 8},
            "`width` describes the estimator's own network",
        )
        for kind in (E.Classifier, E.GradientPenaltyCritic)
    ],
    (
        E.WeightClippingCritic,
        {"module": torch.nn.Linear(2, 1), "depth": 3},
        "`depth` describes the estimator's own network",
    ),
    (
        E.SklearnClassifier,
        {"model": LinearSVC(), "calibrate": False, "folds": 3},
        "`folds` belong to the calibration",
    ),
    (E.KLIEP, {"kernel": G, "folds": 3}, "`folds` choose a bandwidth"),
    (E.KDE, {"kernel": G, "shared": K.Scott()}, "`shared` chooses a bandwidth"),
    (P.Nystroem, {"rank": 20, "atol": 1e-3}, "`atol` chooses the number of landmarks"),
    (S.Gaussian, {"dim": 2, "std": 1.0, "cov": np.eye(2)}, "`cov`"),
    (pf.SaveAt, {"every": 2, "steps": (1, 2)}, "`every` or `steps`"),
    (Cloud, {"points": X, "mass": HEAVY, "log_mass": HEAVY}, "`mass`"),
    (
        pf.simulate,
        {"flow": NOISY, "x0": X, "target": Y, "steps": 2, "dt": 0.1, "seed": 1, "draws": Draws(2)},
        "`seed` or `draws`",
    ),
]
