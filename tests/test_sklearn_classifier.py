"""Scikit-learn classifiers as ratio estimators: closed-form gradients, prior, masses, calibration,
refusals.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import problems
import pytest
import torch
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.kernel_approximation import Nystroem, RBFSampler
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC

import particleflow as pf
from particleflow.clouds import Clock, Cloud, Draws
from particleflow.estimators import SklearnClassifier
from particleflow.estimators.ratio.calibration import platt, splits
from particleflow.estimators.ratio.sklearn_model import Training
from particleflow.subsets import lasting_order

P, Q = problems.PLANE


def drawn(law: problems.Normal, n: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).multivariate_normal(law.mean, law.cov, n))


X, Y, Z = drawn(Q, 60, 0), drawn(P, 90, 1), drawn(Q, 7, 2)
EXACT = LogisticRegression(C=1e4, tol=1e-10, max_iter=5000)

LINEAR = {
    "alone": EXACT,
    "scaled": make_pipeline(StandardScaler(), EXACT),
    "unscaled scalers": make_pipeline(
        StandardScaler(with_std=False), RobustScaler(with_scaling=False), EXACT
    ),
    "three scalers": make_pipeline(MinMaxScaler(), RobustScaler(), MaxAbsScaler(), EXACT),
    "polynomial": make_pipeline(StandardScaler(), PolynomialFeatures(3), EXACT),
    "polynomial of a rotation": make_pipeline(
        PCA(whiten=True), PolynomialFeatures(2, include_bias=False), StandardScaler(), EXACT
    ),
    "random features": make_pipeline(
        StandardScaler(), RBFSampler(gamma=0.4, n_components=30), LogisticRegression()
    ),
    "landmarks": make_pipeline(
        StandardScaler(), Nystroem(gamma=0.3, n_components=20), LogisticRegression()
    ),
    "landmarks, gamma unsaid": make_pipeline(
        Nystroem(n_components=20), "passthrough", SGDClassifier(loss="log_loss", max_iter=2000)
    ),
    "union": make_pipeline(
        FeatureUnion(
            [
                ("a", PolynomialFeatures(2)),
                ("b", make_pipeline(StandardScaler(), Nystroem(n_components=9))),
            ]
        ),
        EXACT,
    ),
    "nested": make_pipeline(
        make_pipeline(StandardScaler(), PCA(1)), make_pipeline(PolynomialFeatures(2), EXACT)
    ),
    "discriminant": make_pipeline(
        PolynomialFeatures(2, include_bias=False), LinearDiscriminantAnalysis()
    ),
    "margin": make_pipeline(StandardScaler(), PolynomialFeatures(2), LinearSVC(C=0.1)),
    "ridge": make_pipeline(PolynomialFeatures(2), RidgeClassifier()),
    "network": MLPClassifier((8,), activation="tanh", solver="lbfgs", alpha=0.1, max_iter=2000),
    "deeper network": make_pipeline(
        StandardScaler(),
        MLPClassifier((7, 5), activation="logistic", solver="lbfgs", alpha=0.1, max_iter=3000),
    ),
    "broken line": make_pipeline(
        StandardScaler(),
        MLPClassifier((6,), activation="relu", solver="lbfgs", alpha=0.1, max_iter=3000),
    ),
    "linear network": MLPClassifier(
        (3,), activation="identity", solver="lbfgs", alpha=0.1, max_iter=3000
    ),
    "searched": GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1.0]}
    ),
}
DIFFERENCES = {
    "naive Bayes": GaussianNB(),
    "quadratic discriminant": QuadraticDiscriminantAnalysis(),
    "kernel machine": SVC(),
    "unknown transformer": make_pipeline(
        QuantileTransformer(n_quantiles=20, output_distribution="normal"), LogisticRegression()
    ),
    "calibrated": CalibratedClassifierCV(LinearSVC()),
}


@pytest.mark.parametrize("name", [*LINEAR, *DIFFERENCES])
def test_the_gradient_is_that_of_the_value(name: str) -> None:
    """Against differences of the witness's own values of fourth order, whose error is 1e-9 or so:
    in closed form where it should be.
    """
    fit = pf.fit(SklearnClassifier((LINEAR | DIFFERENCES)[name]), X, Y)
    assert fit.witness.log_ratio
    assert (fit.report["gradient"] == "closed form") == (name in LINEAR)
    _, grad = fit.witness.value_and_grad(Z)
    h = 1e-3
    for k in range(2):
        step = h * torch.eye(2, dtype=torch.float64)[k]
        f = [fit.witness.value_and_grad(Z + j * step)[0] for j in (-2, -1, 1, 2)]
        slope = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h)
        smooth = name != "unknown transformer"  # piecewise linear: a kink may lie between
        assert float(
            (grad[:, k] - slope).abs().median() if not smooth else (grad[:, k] - slope).abs().max()
        ) <= 1e-6 * (1 + float(slope.abs().max()))
    assert float(grad.abs().max()) > 1e-2


def test_log_odds_are_the_model_s_less_the_prior() -> None:
    """With sample weights, the classes weigh the same; without, log(M / N) is taken off."""
    z = Z.numpy()
    rows, labels = np.concatenate([X, Y]), np.repeat([0, 1], [60, 90])
    balanced = clone(EXACT).fit(
        rows, labels, sample_weight=np.where(labels == 1, 150 / 180, 150 / 120)
    )
    found = pf.fit(SklearnClassifier(EXACT), X, Y).witness.value_and_grad(Z)[0]
    assert found.numpy() == pytest.approx(balanced.decision_function(z), abs=1e-12)
    odds = QuadraticDiscriminantAnalysis().fit(rows, labels).predict_log_proba(z)
    found = pf.fit(SklearnClassifier(QuadraticDiscriminantAnalysis()), X, Y).witness.value_and_grad(
        Z
    )[0]
    assert found.numpy() == pytest.approx(odds[:, 1] - odds[:, 0] - math.log(90 / 60), abs=1e-9)


def test_the_prior_does_not_shift_the_ratio() -> None:
    """Three times the same points are the same law: log r stays, where the model's regularisation
    is too weak to count them.
    """
    for model in (
        LogisticRegression(C=1e8, tol=1e-12, max_iter=5000),
        GaussianNB(),
        QuadraticDiscriminantAnalysis(),
    ):
        once, thrice = (
            pf.fit(SklearnClassifier(model), X, target).witness.value_and_grad(Z)[0]
            for target in (Y, torch.cat([Y, Y, Y]))
        )
        assert torch.allclose(
            once,
            thrice,
            rtol=0,
            atol=3e-2 if isinstance(model, QuadraticDiscriminantAnalysis) else 1e-5,
        )


@pytest.mark.parametrize(
    "model",
    [make_pipeline(PolynomialFeatures(2), EXACT), GaussianNB()],
    ids=["pipeline", "naive Bayes"],
)
def test_masses_are_sample_weights(model) -> None:
    """A point of mass k is k points; masses of another total add the logarithm of it."""
    counts = torch.tensor([1, 2, 3] * 30)
    heavy = Cloud(Y, log_mass=(counts / counts.sum()).double().log() + 0.5)
    weighted = pf.fit(SklearnClassifier(model), X, heavy)
    repeated = pf.fit(SklearnClassifier(model), X, Y.repeat_interleave(counts, 0))
    for k, (a, b) in enumerate(
        zip(*(fit.witness.value_and_grad(Z) for fit in (weighted, repeated)), strict=True)
    ):
        assert torch.allclose(a, b + (0.5 if k == 0 else 0.0), rtol=0, atol=2e-3)
    ghosts = Cloud(
        torch.cat([Y, 100 + Y]),
        log_mass=torch.cat([heavy.log_mass, torch.full((90,), -math.inf, dtype=torch.float64)]),
    )
    found = pf.fit(SklearnClassifier(model), X, ghosts).witness.value_and_grad(Z)[0]
    assert torch.allclose(found, weighted.witness.value_and_grad(Z)[0], rtol=0, atol=1e-6)


def test_the_ratio_of_gaussians_is_found_at_the_expected_rate() -> None:
    """A quadratic logistic model holds log r of two Gaussians: its error falls like 1 / sqrt(n); 16
    times the points, a quarter (in [1/8, 1/2]).
    """
    truth = torch.from_numpy(P.log_density(Z.numpy()) - Q.log_density(Z.numpy()))
    errors = []
    for n in (400, 6400):
        model = SklearnClassifier(
            make_pipeline(PolynomialFeatures(2), LogisticRegression(C=1e6, tol=1e-8, max_iter=5000))
        )
        found = [
            pf.fit(model, drawn(Q, n, 10 + s), drawn(P, n + n // 2, 30 + s)).witness.value_and_grad(
                Z
            )[0]
            for s in range(4)
        ]
        errors.append(float((torch.stack(found) - truth).square().mean().sqrt()))
    assert 1 / 8 <= errors[1] / errors[0] <= 1 / 2
    assert errors[1] < 0.3


def test_it_works_with_its_defaults() -> None:
    """log r of the same laws, wherever both have points, is small; that of others has the right
    order (Spearman > .9 on 200 fresh points).
    """
    fit = pf.fit(SklearnClassifier(), drawn(Q, 300, 0), drawn(P, 400, 1))
    z = torch.cat([drawn(Q, 100, 2), drawn(P, 100, 3)])
    truth = torch.from_numpy(P.log_density(z.numpy()) - Q.log_density(z.numpy()))
    ranks = [t.argsort().argsort().double() for t in (truth, fit.witness.value_and_grad(z)[0])]
    assert float(torch.corrcoef(torch.stack(ranks))[0, 1]) > 0.9
    assert fit.report["gradient"] == "closed form"
    assert fit.value > 0.5
    same = pf.fit(SklearnClassifier(), drawn(Q, 300, 0), drawn(Q, 400, 1)).witness.value_and_grad(
        drawn(Q, 100, 2)
    )[0]
    assert float(same.abs().mean()) < 0.5
    far = torch.tensor([[1e3, -1e3], [1e6, 0.0]])
    for model in (
        None,
        EXACT,
        GaussianNB(),
        MLPClassifier((5,), solver="lbfgs", alpha=1.0, max_iter=1000),
    ):
        value, grad = pf.fit(SklearnClassifier(model), X.float(), Y.float()).witness.value_and_grad(
            far
        )
        assert value.dtype == grad.dtype == torch.float32
        assert bool(torch.isfinite(value).all())
        assert bool(torch.isfinite(grad).all())
        assert float(value.abs().max()) <= 40.0


def test_a_margin_is_calibrated_like_scikit_learn_does() -> None:
    """Platt's line on out-of-fold margins: `CalibratedClassifierCV(ensemble=False)` on the same
    folds.
    """
    model = LinearSVC(C=0.1, random_state=3, tol=1e-8, max_iter=100_000)
    fit = pf.fit(SklearnClassifier(model), X, Y, seed=5)
    rows, labels = (
        np.concatenate([part[lasting_order(Cloud(part), None)] for part in (X, Y)]),
        np.repeat([0, 1], [60, 90]),
    )
    balance = np.where(labels == 1, 150 / 180, 150 / 120)
    folds = splits(
        Training("sample_weight", rows, labels, balance), 5, Draws(5).child_seed("folds", 0) % 2**32
    )
    judge = CalibratedClassifierCV(model, method="sigmoid", cv=list(folds), ensemble=False).fit(
        rows, labels, sample_weight=balance
    )
    p = judge.predict_proba(Z.numpy())
    assert fit.witness.value_and_grad(Z)[0].numpy() == pytest.approx(
        np.log(p[:, 1] / p[:, 0]), abs=1e-4
    )
    assert fit.report["slope"] > 0


def test_platt_s_line_is_the_maximum_and_never_falls() -> None:
    rng = np.random.default_rng(0)
    scores, labels, weights = rng.standard_normal(50), rng.integers(0, 2, 50), rng.random(50) + 0.5
    line = platt(scores + labels, labels, weights)
    heavy, light = weights[labels == 1].sum(), weights[labels == 0].sum()
    aims = np.where(labels == 1, (heavy + 1) / (heavy + 2), 1 / (light + 2))
    excess = weights * (1 / (1 + np.exp(-line(scores + labels))) - aims)
    assert abs(excess.sum()) <= 1e-7
    assert abs(excess @ (scores + labels)) <= 1e-7
    assert platt(scores - 3 * labels, labels, weights).slope == 0.0
    assert platt(np.zeros(50), labels, weights).slope == 0.0


def test_calibration_tames_a_model_that_is_too_sure() -> None:
    """Naive Bayes on four copies of the same two coordinates is four times too sure: calibration
    takes most of it back.
    """
    copies = [t.repeat(1, 4) for t in (X, Y, Z)]
    plain, tamed = (
        pf.fit(SklearnClassifier(GaussianNB(), calibrate=c), *copies[:2]) for c in (None, True)
    )
    assert plain.report["slope"] == 1.0
    assert tamed.report["slope"] < 0.5
    ratio = tamed.witness.value_and_grad(copies[2])[1] / plain.witness.value_and_grad(copies[2])[1]
    assert ratio.numpy() == pytest.approx(tamed.report["slope"], rel=1e-6)


def test_a_flow_with_it_reaches_the_target_and_the_model_is_left_alone() -> None:
    model = make_pipeline(StandardScaler(), PolynomialFeatures(2), LogisticRegression(C=10))
    flow = pf.mono_flow(SklearnClassifier(model))
    path = pf.simulate(flow, X, Y, steps=40, dt=0.1)
    assert path.status == "completed"
    assert pf.metrics.W2()(path.particles[-1], Y) < 0.4 < 1.5 < pf.metrics.W2()(X, Y)
    assert not hasattr(model[-1], "coef_")
    assert not hasattr(model[0], "mean_")
    half = pf.simulate(flow, X, Y, steps=20, dt=0.1)
    assert torch.equal(pf.simulate(flow, half, steps=20).particles[-1], path.particles[-1])


def test_random_models_follow_the_seed_and_stay_the_same_from_step_to_step() -> None:
    model = make_pipeline(RBFSampler(n_components=10), LogisticRegression())
    first, again, other = (
        SklearnClassifier(model).fit(Cloud(X), Cloud(Y), Clock(step=s, draws=Draws(d)), {})
        for s, d in ((0, 1), (7, 1), (0, 2))
    )
    values = [fit.witness.value_and_grad(Z)[0] for fit in (first, again, other)]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
    fixed = make_pipeline(RBFSampler(n_components=10, random_state=4), LogisticRegression())
    values = [
        pf.fit(SklearnClassifier(fixed), X, Y, seed=s).witness.value_and_grad(Z)[0] for s in (1, 2)
    ]
    assert torch.equal(*values)
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    pf.fit(SklearnClassifier(MLPClassifier((3,), max_iter=3), accept_unconverged=True), X, Y)
    assert np.random.random() == expected  # noqa: NPY002


def test_a_network_keeps_its_digits_where_its_probabilities_are_one() -> None:
    """Far on the target's side predict_proba is 1 to the last digit; the log odds are read before
    that, and go on as the network does.
    """
    model = MLPClassifier(
        (5,), activation="relu", solver="lbfgs", alpha=0.1, max_iter=5000, random_state=0
    )
    fit = pf.fit(SklearnClassifier(model, clip=1e6), X, Y - 3)
    far = 100 * (Y - 3)
    value, grad = fit.witness.value_and_grad(far)
    certain = (
        clone(model)
        .fit(np.concatenate([X, Y - 3]), np.repeat([0, 1], [60, 90]))
        .predict_proba(far.numpy())[:, 1]
        == 1
    )
    assert certain.sum() > 40
    assert len(value[certain].unique()) == certain.sum()
    assert bool((grad[certain].norm(dim=1) > 0).all())


@pytest.mark.parametrize(
    "model", [RandomForestClassifier(20), KNeighborsClassifier(9)], ids=["forest", "neighbours"]
)
def test_models_without_slopes_are_refused(model) -> None:
    with pytest.raises(
        ValueError,
        match=(
            r"`model` must have a ratio with slopes, got .*, whose gradient is 0 at all 60"
            r" particles: trees, nearest"
        ),
    ):
        pf.fit(SklearnClassifier(model), X, Y)


def test_a_solver_that_did_not_end_says_so() -> None:
    model = make_pipeline(PolynomialFeatures(4), LogisticRegression(C=1e3, max_iter=3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            ValueError, match=r"the estimator did not converge .*: raise the model's max_iter"
        ):
            pf.simulate(pf.mono_flow(SklearnClassifier(model)), X, Y, steps=2, dt=1e-3)
        path = pf.simulate(
            pf.mono_flow(SklearnClassifier(model, accept_unconverged=True)), X, Y, steps=2, dt=1e-3
        )
    assert path.status == "completed"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"model": LogisticRegression},
            TypeError,
            (
                "`model` must be a scikit-learn classifier, got the class LogisticRegression"
                " without its parenth"
            ),
        ),
        ({"model": "logistic"}, TypeError, "`model` must be a scikit-learn classifier, got str"),
        (
            {"model": LinearRegression()},
            TypeError,
            "`model` must have predict_proba or decision_function, got LinearRegression",
        ),
        (
            {"model": LogisticRegression(class_weight="balanced")},
            ValueError,
            "got class_weight='balanced'",
        ),
        (
            {"model": make_pipeline(GaussianNB(priors=[0.3, 0.7]))},
            ValueError,
            "got gaussiannb__priors=",
        ),
        ({"clip": 0.0}, ValueError, "`clip` must be > 0, got 0"),
        ({"step": math.nan}, ValueError, "`step` must be finite, got nan"),
        ({"folds": 1}, ValueError, "`folds` must be >= 2, got 1"),
        ({"calibrate": "sigmoid"}, TypeError, "`calibrate` must be True or False, got 'sigmoid'"),
    ],
)
def test_bad_options_are_refused(options: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words.replace("(", r"\(")):
        SklearnClassifier(**options)


def test_what_a_model_cannot_do_is_refused() -> None:
    heavy = Cloud(Y, log_mass=torch.linspace(-5, -4, 90, dtype=torch.float64))
    with pytest.raises(
        ValueError,
        match=(
            "`model` must take sample_weight for clouds with masses, got"
            " QuadraticDiscriminantAnalysis"
        ),
    ):
        pf.fit(SklearnClassifier(QuadraticDiscriminantAnalysis()), X, heavy)
    with pytest.raises(
        ValueError, match="`calibrate` must have two different points in each cloud, got 1"
    ):
        pf.fit(SklearnClassifier(LinearSVC()), X[:1], Y)


def test_rows_that_are_no_numbers_stay_alone() -> None:
    broken = Z.clone()
    broken[3, 1] = math.nan
    witness = pf.fit(SklearnClassifier(EXACT), X, Y).witness
    for found, expected in zip(
        witness.value_and_grad(broken), witness.value_and_grad(Z), strict=True
    ):
        assert bool(found[3].isnan().all())
        assert torch.allclose(found[:3], expected[:3], rtol=1e-12)
