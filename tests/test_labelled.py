"""Particles with a class: compared within it, and, where asked, with similar classes."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Cloud
from particleflow.estimators import KALE, KDE, MMD, ClosedForm, Labelled, Moments
from particleflow.integrators import Paced
from particleflow.kernels import Gaussian, Laplace
from particleflow.plotting.drawing.look import Look
from particleflow.plotting.drawing.shades import Shades
from particleflow.plotting.scenes.scene import Scene
from particleflow.samplers import Minibatch

RNG = np.random.default_rng(0)
KERNEL = Gaussian(0.7)
A = np.array(list("abcab" * 5 + "cc"))  # 27 particles: 10 a, 10 b, 7 c
B = np.array(list("bcaa" * 8 + "b"))  # 33 target points: 16 a, 9 b, 8 c
X = torch.from_numpy(RNG.standard_normal((len(A), 2)) * 0.5)
Y = torch.from_numpy(RNG.standard_normal((len(B), 2)) + 2.0 * (B == "a")[:, None])

FALLING = pf.kale_flow(KERNEL, lam=0.1, bandwidth=lambda clock: 1 / (1 + clock.t))
FLOWS: dict[str, tuple[pf.Flow, float | None, Any]] = {
    "MMD": (pf.mmd_flow(KERNEL), 0.2, None),
    "MMD, Heun": (pf.mmd_flow(KERNEL), 0.2, pf.Heun()),
    "KALE": (pf.kale_flow(KERNEL, lam=0.1), 0.02, None),
    "KDE": (pf.mono_flow(KDE(KERNEL)), 0.05, None),
    "falling": (FALLING, 0.02, None),
    "transport": (pf.wgan_flow(pf.estimators.CTransformCritic()), 0.05, None),
}


def rows(labels: np.ndarray, label: str) -> Tensor:
    return torch.from_numpy(np.flatnonzero(labels == label))


@pytest.mark.parametrize(
    "name", ["MMD", *(pytest.param(n, marks=pytest.mark.slow) for n in FLOWS if n != "MMD")]
)
def test_each_class_flows_as_it_would_alone(name: str) -> None:
    flow, dt, integrator = FLOWS[name]
    save = pf.SaveAt(every=1)
    together = pf.simulate(
        pf.labelled(flow, A, B), X, Y, steps=6, dt=dt, integrator=integrator, save=save
    )
    assert together.status == "completed"
    share, energy = 0.0, torch.zeros(7, dtype=torch.float64)
    for label in "abc":
        one, other = rows(A, label), rows(B, label)
        alone = pf.simulate(
            flow, X[one], Y[other], steps=6, dt=dt, integrator=integrator, save=save
        )
        assert torch.equal(together.particles[:, one], alone.particles)
        energy += len(one) / len(A) * alone.energy
        share += len(one) / len(A)
    assert share == pytest.approx(1)
    torch.testing.assert_close(together.energy, energy, rtol=1e-12, atol=0, equal_nan=True)


@pytest.mark.slow
def test_lengths_of_steps_are_chosen_for_all_classes() -> None:
    path = pf.simulate(pf.labelled(pf.mmd_flow(KERNEL), A, B), X, Y, steps=30, integrator=Paced())
    assert path.status == "completed"
    assert bool((path.energy.diff() <= 1e-12).all())
    least = min(
        pf.mmd_flow(KERNEL).suggest_dt(X[rows(A, label)], Y[rows(B, label)]) for label in "abc"
    )
    assert path.report["dt"] == least
    assert path.report["lengths"][1] > 2 * least


@pytest.mark.slow
def test_a_flow_is_annealed_within_classes_too() -> None:
    auto = pf.auto_flow(X, Y)
    path = pf.simulate(pf.labelled(auto, A, B), X, Y)
    assert path.report["integrator"].startswith("Paced")
    for label in "abc":
        one, other = rows(A, label), rows(B, label)
        reached = pf.metrics.W2()(path.state.x.points[one], Y[other])
        assert reached < 0.5 * pf.metrics.W2()(X[one], Y[other])
    short = pf.simulate(pf.labelled(auto, A, B), X, Y, steps=4)
    assert "bandwidth" in short.message


def test_rows_may_be_permuted_with_their_labels() -> None:
    p, q = RNG.permutation(len(A)), RNG.permutation(len(B))
    flow, other = (
        pf.labelled(pf.mmd_flow(KERNEL), a, b, between=0.4) for a, b in ((A, B), (A[p], B[q]))
    )
    one = pf.simulate(flow, X, Y, steps=8, dt=0.2)
    two = pf.simulate(other, X[p], Y[q], steps=8, dt=0.2)
    torch.testing.assert_close(two.particles, one.particles[:, p], rtol=0, atol=1e-12)


def test_runs_go_on_bit_for_bit(tmp_path: Any) -> None:
    flow = pf.labelled(pf.kale_flow(KERNEL, lam=0.1), A, B)
    whole = pf.simulate(flow, X, Y, steps=8, dt=0.02)
    half = pf.simulate(flow, X, Y, steps=3, dt=0.02)
    half.save(tmp_path / "half.npz")
    on = pf.simulate(flow, pf.Trajectory.load(tmp_path / "half.npz"), steps=5)
    assert torch.equal(on.state.x.points, whole.state.x.points)
    assert any(name.startswith("class/2/") for name in whole.state.memory)


@pytest.mark.parametrize(
    "kind", [list, np.array, partial(np.array, dtype=object)], ids=["list", "array", "objects"]
)
def test_a_folder_holds_labels_and_refuses_others(kind: Any, tmp_path: Any) -> None:
    flows = [
        pf.labelled(pf.mmd_flow(KERNEL), kind(labels), kind(B.tolist()))
        for labels in (A.tolist(), A[::-1].tolist())
    ]
    path = pf.simulate(flows[0], X, Y, steps=3, dt=0.2, checkpoint=tmp_path)
    assert torch.equal(pf.resume(tmp_path).particles, path.particles)
    with pytest.raises(ValueError, match="`flow` has other numbers"):
        pf.simulate(flows[1], X, Y, steps=3, dt=0.2, checkpoint=tmp_path)


# ---- the product kernel


SIMILAR = np.array([[1.0, 0.6, 0.0], [0.6, 1.0, 0.3], [0.0, 0.3, 1.0]])


@pytest.mark.parametrize("weights", [False, True], ids=["equal", "masses"])
@pytest.mark.parametrize(
    "between",
    [0.0, pytest.param(0.4, marks=pytest.mark.slow), SIMILAR],
    ids=["0", "0.4", "matrix"],
)
def test_the_product_kernel_is_that_of_a_dense_matrix(between: Any, weights: bool) -> None:
    """E = m.K m / 2 of the signed masses m, K the product kernel over sqrt(p_a p_b)."""
    n, m = len(A), len(B)
    mass = np.ones(n) / n if not weights else RNG.uniform(0.5, 1.5, n)
    mass /= mass.sum()
    aim = np.ones(m) / m if not weights else RNG.uniform(0.5, 1.5, m)
    a, b = (np.searchsorted(list("abc"), labels) for labels in (A, B))
    p = np.array([mass[a == k].sum() for k in range(3)])
    within = [np.array([aim[b == k].sum() for k in b]), np.array([mass[a == k].sum() for k in a])]
    signed = np.concatenate([aim / within[0] * p[b], -mass / within[1] * p[a]])
    classes = np.concatenate([b, a])
    similar = np.full((3, 3), between) if np.ndim(between) == 0 else np.array(between)
    np.fill_diagonal(similar, 1)
    product = (similar / np.sqrt(np.outer(p, p)))[classes][:, classes]

    def energy(x: Tensor) -> Tensor:
        points = torch.cat([Y, x])
        s = (points[:, None] - points).square().sum(2)
        matrix = torch.from_numpy(product) * torch.exp(-s / (2 * 0.7**2))
        return 0.5 * torch.from_numpy(signed) @ matrix @ torch.from_numpy(signed)

    z = X.clone().requires_grad_()
    value = energy(z)
    (slope,) = torch.autograd.grad(value, z)
    cloud, target = Cloud(X, mass=mass), Cloud(Y, mass=aim / aim.sum())
    flow = pf.labelled(pf.mmd_flow(KERNEL), A, B, between=between)
    fit = flow.estimator.fit(cloud, target, pf.Clock(), {})
    velocity, _ = flow.velocity(cloud, fit, pf.Clock())
    wanted = -slope / torch.from_numpy(mass)[:, None]
    torch.testing.assert_close(velocity, wanted, rtol=0, atol=1e-11)
    assert fit.value == pytest.approx(float(value.detach()), rel=1e-11)
    assert flow.conservative


def test_similar_classes_act_on_each_other_as_one() -> None:
    """C classes of one size with the similarity 1 are one: v = sum_b f_b, C times the whole."""
    a, b = np.arange(27) % 3, np.arange(33) % 3
    fit = Labelled(MMD(KERNEL), a, b, 1.0).fit(Cloud(X), Cloud(Y), pf.Clock(), {})
    whole = MMD(KERNEL).fit(Cloud(X), Cloud(Y), pf.Clock(), {})
    torch.testing.assert_close(
        fit.witness.value_and_grad(X)[1], 3 * whole.witness.value_and_grad(X)[1]
    )


@pytest.mark.parametrize("between", [pytest.param(0.0, marks=pytest.mark.slow), 0.5])
def test_the_energy_falls_and_masses_stay(between: float) -> None:
    mass = RNG.uniform(0.5, 1.5, len(A))
    flow = pf.labelled(pf.mmd_flow(KERNEL), A, B, between=between)
    x = Cloud(X, mass=mass / mass.sum())
    path = pf.simulate(flow, x, Y, steps=40, dt=0.2, save=pf.SaveAt(every=1))
    assert path.status == "completed"
    assert bool((path.energy.diff() < 0).all())
    assert torch.equal(path.state.x.log_mass, x.log_mass)


def test_the_centre_of_each_class_has_its_closed_form() -> None:
    """For reverse KL from Gaussians m_a(t) = mu + e^{-t / s^2} (m_a - mu), of each class's mean."""
    density = pf.samplers.Gaussian(dim=2, mean=(1.0, -1.0), std=1.5)
    flow = pf.labelled(pf.Flow(ClosedForm(density, current=Moments())), A)
    path = pf.simulate(flow, X, t1=1.0, dt=0.01, integrator=pf.RK4())
    mu = torch.tensor([1.0, -1.0], dtype=torch.float64)
    for label in "abc":
        before, after = (cloud[rows(A, label)].mean(0) for cloud in path.particles[[0, -1]])
        torch.testing.assert_close(
            after, mu + math.exp(-1 / 1.5**2) * (before - mu), rtol=0, atol=1e-8
        )


# ---- pictures


def test_pictures_show_the_class_of_each_particle(tmp_path: Any) -> None:
    path = pf.simulate(pf.labelled(pf.mmd_flow(KERNEL), A, B), X, Y, steps=2, dt=0.2)
    look = Look.asked({"": path}, color=A)
    scene = Scene.of({"": path}, [0, 2])
    rgb = Shades(scene, "", "#000000", look).at(scene, 2)
    assert rgb is not None
    hues = [{tuple(row) for row in rgb[label == A].tolist()} for label in "abc"]
    assert [len(each) for each in hues] == [1, 1, 1]
    assert len(set.union(*hues)) == 3
    path.plot(tmp_path / "classes.png", color=list(A), trails=True, dpi=40)
    with pytest.raises(ValueError, match="`color` must be one for each of the 27 particles"):
        path.plot(color=A[:5])
    with pytest.raises(TypeError, match="`color` must be whole numbers or texts"):
        path.plot(color=np.ones(27))
    with pytest.raises(ValueError, match="`color` must be one of 'flow'"):
        path.plot(color=3)


# ---- reports, and what is refused


@pytest.mark.slow
def test_the_report_and_the_promise_are_those_of_all_classes() -> None:
    flow = pf.labelled(pf.kale_flow(KERNEL, lam=0.1), A, B)
    path = pf.simulate(flow, X, Y, steps=3, dt=0.02)
    alone = [
        pf.simulate(pf.kale_flow(KERNEL, lam=0.1), X[rows(A, k)], Y[rows(B, k)], steps=3, dt=0.02)
        for k in "abc"
    ]
    assert path.report["iterations"] == sum(run.report["iterations"] for run in alone)
    assert path.report["worst_gap"] == max(run.report["worst_gap"] for run in alone)
    mesh = MMD(KERNEL, pairwise=pf.pairwise.Mesh())
    fit = Labelled(mesh, A, B).fit(Cloud(X), Cloud(Y), pf.Clock(), {})
    assert fit.promise is not None
    assert fit.promise.grad > 0
    assert "a: 10, b: 10, c: 7" in path.report["flow"]


def test_a_class_that_does_not_converge_ends_the_run() -> None:
    flow = pf.labelled(pf.Flow(KALE(KERNEL, lam=1e-6, max_iterations=1)), A, B)
    with pytest.raises(ValueError, match="did not converge"):
        pf.simulate(flow, X, Y, steps=2, dt=0.01)


def test_a_kink_is_seen_through_the_classes() -> None:
    from particleflow.watch import _kinked

    assert _kinked(pf.labelled(pf.mmd_flow(Laplace(1.0)), A, B))
    assert not _kinked(pf.labelled(pf.mmd_flow(KERNEL), A, B))


def test_the_witness_of_a_class_is_known_anywhere() -> None:
    fit = pf.fit(Labelled(MMD(KERNEL), A, B), X, Y)
    alone = pf.fit(MMD(KERNEL), X[rows(A, "b")], Y[rows(B, "b")])
    z = torch.from_numpy(RNG.standard_normal((5, 2)))
    witness: Any = fit.witness
    assert torch.equal(witness.of("b").value_and_grad(z)[0], alone.witness.value_and_grad(z)[0])
    with pytest.raises(ValueError, match="of\\(label\\)"):
        witness.value_and_grad(z)
    with pytest.raises(ValueError, match="`label` must be one of a, b, c"):
        witness.of("d")


@pytest.mark.parametrize(
    ("a", "b", "between", "kind", "words"),
    [
        (A[:-1], B, 0, ValueError, "`x_labels` must be one for each of the 27 particles, got 26"),
        (A, B[:-1], 0, ValueError, "`y_labels` must be one for each of the 33 points"),
        (A, np.where(B == "c", "a", B), 0, ValueError, "`x_labels` .* target point too, got c"),
        (np.where(A == "c", "a", A), B, 0, ValueError, "`y_labels` .* particle too, got c"),
        (A, None, 0, ValueError, "`y_labels` must name the class"),
        (np.ones(27), B, 0, TypeError, "`x_labels` must be whole numbers or texts"),
        ("abc", B, 0, TypeError, "`x_labels`"),
        (A, np.arange(33), 0, TypeError, "`y_labels` must be of the kind"),
        (A, B, 1.5, ValueError, "`between` must be from 0 to 1"),
        (A, B, np.eye(2), ValueError, "`between` must be one number or \\(3, 3\\)"),
        (A, B, "near", TypeError, "`between` must be numbers"),
        (A, B, SIMILAR + np.eye(3) * 0 + np.tri(3, k=-1) * 0.1, ValueError, "symmetric"),
        (A, B, np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1.0]]), ValueError, "semidefinite"),
    ],
)
def test_bad_labels_are_refused(
    a: Any, b: Any, between: Any, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        pf.simulate(pf.labelled(pf.mmd_flow(KERNEL), a, b, between=between), X, Y, steps=1, dt=0.1)


def test_what_does_not_keep_the_rows_is_refused() -> None:
    flow = pf.labelled(pf.mmd_flow(KERNEL), A, B)
    with pytest.raises(ValueError, match="`reaction` cannot act beside Labelled"):
        pf.unbalanced(flow)
    with pytest.raises(ValueError, match="`renewals` cannot act"):
        pf.labelled(replace(pf.unbalanced(pf.mmd_flow(KERNEL)), reaction=None), A, B)
    with pytest.raises(ValueError, match="`noise` cannot act"):
        pf.labelled(pf.mmd_flow(KERNEL, noise=pf.Arbel()), A, B)
    with pytest.raises(ValueError, match="label last"):
        pf.stragglers(flow)
    with pytest.raises(TypeError, match="`estimator` must be without labels"):
        pf.labelled(flow, A, B)
    with pytest.raises(TypeError, match="`between` must be 0"):
        pf.labelled(pf.kale_flow(KERNEL, lam=0.1), A, B, between=0.1)
    with pytest.raises(ValueError, match="`target` must be fixed"):
        pf.simulate(flow, X, Minibatch(pf.samplers.Gaussian(dim=2), 33), steps=1, dt=0.1)
    with pytest.raises(ValueError, match="`save` cannot record the witness"):
        pf.simulate(flow, X, Y, steps=1, dt=0.1, save=pf.SaveAt(witness=True))
    empty = Cloud(X, mass=(A != "c") / 20)
    with pytest.raises(ValueError, match="classes that have mass, got none in c"):
        pf.simulate(flow, empty, Y, steps=1, dt=0.1)


def test_stragglers_are_counted_within_each_class() -> None:
    flow = pf.labelled(pf.stragglers(pf.mmd_flow(KERNEL), beyond=1.0), A, B)
    path = pf.simulate(flow, X, Y, steps=2, dt=0.1)
    wanted = sum(
        int((torch.cdist(X[rows(A, k)], Y[rows(B, k)]).amin(1) > 1.0).sum()) for k in "abc"
    )
    assert path.report["stragglers"]["first"] == wanted > 0


def test_a_loop_of_states_is_recorded() -> None:
    flow = pf.labelled(pf.mmd_flow(KERNEL), A, B)
    path = pf.record(islice(pf.iterate(flow, X, Y, dt=0.2), 4), stop=pf.AtRest())
    assert len(path) == 4
