"""One object in many threads, and an interrupt in the middle of a fit: the numbers are those of a
run alone.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import joblib
import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.trained.network import Network
from particleflow.kept import Kept
from particleflow.memo import Memo, Same, Spares, cached_property
from particleflow.pairwise import Auto, Compiled, Culled, Dense, Fourier, KeOps, Mesh, Nystroem

E, K = pf.estimators, pf.kernels


def clouds(
    seed: int, n: int = 40, m: int = 57, dtype: torch.dtype = torch.float64, d: int = 2
) -> tuple[Cloud, Cloud]:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) * 0.7 + 0.5
    return Cloud(torch.from_numpy(x).to(dtype)), Cloud(torch.from_numpy(y).to(dtype))


def told(fit: Any, z: Tensor) -> list[Tensor]:
    value = torch.tensor(float("nan") if fit.value is None else fit.value, dtype=torch.float64)
    return [*fit.witness.value_and_grad(z), value]


def fitted(estimator: Any, pair: tuple[Cloud, Cloud]) -> list[Tensor]:
    x, y = pair
    return told(estimator.fit(x, y, Clock(), {}), x.points)


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(p.nan_to_num(7.0), q.nan_to_num(7.0)) for p, q in zip(a, b, strict=True))


def pooled(threads: int, work: Callable[[int], Any], count: int) -> list[Any]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(work, range(count)))
    finally:
        sys.setswitchinterval(before)


# ---------------------------------------------------------------- the caches, step by step


def test_a_cache_hands_over_what_was_made_for_this_cloud() -> None:
    """Two threads that meet inside make(): each gets its own, whoever ends last."""
    kept, meet = Kept(), threading.Barrier(2, timeout=10)
    pairs = [clouds(seed)[0] for seed in range(2)]

    def work(k: int) -> Any:
        return kept.get(pairs[k], lambda: (meet.wait(), k)[1])

    for _ in range(3):
        assert pooled(2, work, 2) == [0, 1]
        kept = Kept()


def test_points_written_to_while_their_value_is_made_are_not_known_again() -> None:
    kept, points = Kept(), torch.ones(3, 2)

    def make() -> str:
        points.fill_(2.0)
        return "of ones"

    kept.get(Cloud(points), make)
    assert kept.get(Cloud(torch.full((3, 2), 2.0)), lambda: "of twos") == "of twos"


def test_a_cache_tells_what_else_its_value_depends_on() -> None:
    kept, (x, _) = Kept(), clouds(0)
    assert [
        kept.get(x, lambda: 1, of=K.Gaussian(1.0)),
        kept.get(x, lambda: 2, of=K.Gaussian(2.0)),
        kept.get(x, lambda: 3, of=K.Gaussian(2.0)),
    ] == [
        1,
        2,
        2,
    ]


def interrupted_at(step: int, work: Callable[[], Any], within: str) -> bool:
    """Runs `work` with a KeyboardInterrupt before its `step`-th bytecode inside functions of the
    file `within`. False: it ended before.
    """
    count = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.endswith(within):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            if count == step:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_an_interrupt_between_any_two_steps_leaves_no_wrong_entry() -> None:
    step, (first, second) = 0, clouds(1)
    while True:
        step += 1
        kept = Kept()
        kept.get(first, lambda: "first")
        stopped = interrupted_at(
            step, lambda kept=kept: kept.get(second, lambda: "second"), "clouds.py"
        )
        assert [kept.get(first, lambda: "first"), kept.get(second, lambda: "second")] == [
            "first",
            "second",
        ]
        if not stopped:
            break
    assert step > 20


@pytest.mark.parametrize("most", [None, 1, 2])
def test_an_interrupt_leaves_a_memo_whole(most: int | None) -> None:
    step = 0
    while True:
        step += 1
        memo: Memo[str] = Memo(most)
        memo.get("a", lambda: "a")
        stopped = interrupted_at(
            step, lambda memo=memo: [memo.get(key, lambda key=key: key) for key in "bcd"], "memo.py"
        )
        assert [memo.get(key, lambda key=key: key) for key in "abcd"] == list("abcd")
        if not stopped:
            break
    assert step > 20


def test_a_memo_under_threads() -> None:
    memo: Memo[int] = Memo(2)
    assert pooled(4, lambda k: memo.get(k % 5, lambda: k % 5), 400) == [k % 5 for k in range(400)]
    assert len(memo) <= 2


def test_a_tensor_as_a_key() -> None:
    w = torch.ones(3)
    key = Same(w)
    assert key == Same(w)
    assert key != Same(w.clone())
    w.add_(1)
    assert key != Same(w)
    assert Same(w, written=True) == Same(w, written=True)
    with torch.inference_mode():
        u = torch.ones(3)
        assert Same(u) != Same(u)


def test_tools_serve_one_caller_at_a_time() -> None:
    made: list[list[int]] = []
    spares: Spares[list[int]] = Spares(lambda: (made.append([]), made[-1])[1])
    with spares.one() as first, spares.one() as second:
        assert first is not second
    with pytest.raises(KeyboardInterrupt), spares.one():
        raise KeyboardInterrupt
    with spares.one() as other:
        assert other in made


def test_a_lazy_attribute_holds_no_lock_while_it_is_made() -> None:
    meet = threading.Barrier(2, timeout=10)

    class Thing:
        @cached_property
        def value(self) -> object:
            meet.wait()
            return object()

    thing = Thing()
    first, second = pooled(2, lambda _: thing.value, 2)
    assert first is second


# ---------------------------------------------------------------- estimators, metrics, backends

ESTIMATORS: dict[str, Callable[[], Any]] = {
    "mmd": lambda: E.MMD(K.Gaussian(0.7)),
    "mmd mesh": lambda: E.MMD(K.Gaussian(0.7), pairwise=Mesh()),
    "mmd fourier": lambda: E.MMD(K.Matern32(0.7), pairwise=Fourier()),
    "mmd culled": lambda: E.MMD(K.Gaussian(0.1), pairwise=Culled()),
    "mmd nystroem": lambda: E.MMD(K.Gaussian(2.0), pairwise=Nystroem(rank=12)),
    "mmd compiled": lambda: E.MMD(K.Laplace(0.7), pairwise=Compiled()),
    "mmd dense": lambda: E.MMD(K.Radial(lambda s: 1 / (1 + s)), pairwise=Dense()),
    "kde": lambda: E.KDE(),
    "kde kernel": lambda: E.KDE(K.Gaussian(0.4)),
    "kde rule": lambda: E.KDE(K.Scott()),
    "kale": lambda: E.KALE(K.Gaussian(0.8), lam=0.1),
    "kale free": lambda: E.KALE(lam=0.1),
    "drmmd": lambda: E.DrMMD(K.Gaussian(0.8), lam=0.1),
    "moreau": lambda: E.Moreau(K.Gaussian(0.8), divergence=pf.divergences.JensenShannon(), lam=0.3),
    "ulsif": lambda: E.ULSIF(),
    "kliep": lambda: E.KLIEP(K.Gaussian(0.7)),
    "logistic": lambda: E.KernelLogistic(K.Gaussian(0.7), lam=1e-2),
    "transport": lambda: E.CTransformCritic(),
    "classifier": lambda: E.Classifier(first_steps=15, width=8),
    "module": lambda: E.Classifier(
        torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).double(),
        first_steps=15,
    ),
    "critic": lambda: E.LipschitzCritic(first_steps=15, width=8),
    "closed form": lambda: E.ClosedForm(lambda z: -(z**2).sum(1) / 2, E.Moments()),
    "reverse": lambda: E.KALE(K.Gaussian(0.8), lam=0.1, reverse=True),
    "bounds": lambda: E.Moreau(
        K.Gaussian(0.3), divergence=pf.divergences.TotalVariation(), lam=0.01
    ),
    "relative": lambda: E.RuLSIF(),
    "clipping": lambda: E.WeightClippingCritic(first_steps=15, width=8),
    "gradient penalty": lambda: E.GradientPenaltyCritic(first_steps=15, width=8),
    "scikit-learn": lambda: E.SklearnClassifier(),
    "annealed": lambda: E.Annealed(E.MMD(K.Gaussian(1.0)), pf.Continuation(5)),
    "stragglers": lambda: E.Stragglers(E.MMD(K.Gaussian(0.7)), 0.5),
    "c-transform": lambda: E.TrainedCTransformCritic(first_steps=15, width=8),
}


def public(module: Any) -> set[str]:
    """The classes that a module offers, without its contracts."""
    names = getattr(
        module,
        "__all__",
        [
            name
            for name, of in vars(module).items()
            if getattr(of, "__module__", "") == module.__name__
        ],
    )
    found = {name: getattr(module, name) for name in names if not name.startswith("_")}
    return {
        name
        for name, of in found.items()
        if isinstance(of, type) and not getattr(of, "_is_protocol", False)
    }


def test_every_estimator_is_among_them() -> None:
    others = {"FieldWitness", "Fit", "Labelled", "Moments"}  # labels belong to one size of cloud
    assert {type(make()).__name__ for make in ESTIMATORS.values()} == public(E) - others


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_is_a_value_in_any_number_of_threads(name: str) -> None:
    """One object over different clouds, of two sizes and dtypes, against objects of their own."""
    torch.manual_seed(0)
    one = ESTIMATORS[name]()
    pairs = [
        clouds(
            seed,
            30 + seed % 2,
            47,
            torch.float32 if seed % 3 == 2 and name != "module" else torch.float64,
        )
        for seed in range(4)
    ]
    torch.manual_seed(0)
    alone = [
        fitted(ESTIMATORS[name](), pair) if name != "module" else fitted(one, pair)
        for pair in pairs
    ]
    for threads in (1, 2, 4):
        assert all(
            same(a, b)
            for a, b in zip(
                pooled(threads, lambda k: fitted(one, pairs[k % 4]), 4), alone, strict=True
            )
        ), threads


METRICS = [
    pf.metrics.MMD2(K.Gaussian(0.5)),
    pf.metrics.MMD(K.Laplace(0.5)),
    pf.metrics.EnergyDistance(),
    pf.metrics.W2(),
    pf.metrics.W1(),
    pf.metrics.SlicedW2(projections=20),
    pf.metrics.LeftBehind(0.3),
]


def test_every_metric_is_among_them() -> None:
    assert {type(metric).__name__ for metric in METRICS} == public(pf.metrics) - {
        "Floor",
        "TwoSample",
    }


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_a_metric_is_a_value_in_any_number_of_threads(metric: Any) -> None:
    pairs = [clouds(seed, 30, 47) for seed in range(4)]
    alone = [metric(*pair) for pair in pairs]
    for threads in (1, 2, 4):
        assert pooled(threads, lambda k: metric(*pairs[k % 4]), 12) == alone * 3


BACKENDS = [
    (Mesh(), K.Gaussian(0.5)),
    (Fourier(), K.Laplace(0.5)),
    (Fourier(), K.Gaussian(0.5)),
    (Culled(), K.Gaussian(0.05)),
    (Nystroem(), K.Gaussian(2.0)),
    (Compiled(), K.Gaussian(0.5)),
    (Dense(), K.Gaussian(0.5)),
    (Auto(), K.Gaussian(0.5)),
]


def test_every_backend_is_among_them() -> None:
    """`KeOps` is run in threads by test_keops_in_many_threads."""
    assert {type(backend).__name__ for backend, _ in BACKENDS} == public(pf.pairwise) - {
        "Audit",
        "Promise",
        "KeOps",
    }


@pytest.mark.parametrize(
    ("backend", "kernel"),
    [*BACKENDS[:1], *(pytest.param(*each, marks=pytest.mark.slow) for each in BACKENDS[1:])],
)
def test_one_field_in_many_threads(backend: Any, kernel: Any) -> None:
    """One field, one prepared set of queries, and queries of their own; as a fresh field answers
    them.
    """
    x, y = clouds(3, 400, 500)
    queries = [clouds(seed, 200 + 10 * seed, 5)[0].points for seed in range(4)]

    def fresh() -> Any:
        return backend.sources(kernel, y.points).field(y.mass)

    def ask(field: Any, k: int) -> list[Tensor]:
        z = queries[k % 4]
        return [field.value(z), *field.value_and_grad(z), *field.log(z)]

    alone = [ask(fresh(), k) for k in range(4)]
    field = fresh()
    assert all(
        same(a, b) for a, b in zip(pooled(4, lambda k: ask(field, k), 16), alone * 4, strict=True)
    )
    sources = backend.sources(kernel, y.points)
    prepared = sources.prepare(x.points)
    weights = [y.mass * (1 + k) for k in range(3)]
    once = [backend.sources(kernel, y.points) for _ in weights]
    want = [
        [each.field(w).value(each.prepare(x.points))] for each, w in zip(once, weights, strict=True)
    ]
    assert all(
        same(a, b)
        for a, b in zip(
            pooled(3, lambda k: [sources.field(weights[k % 3]).value(prepared)], 12),
            want * 4,
            strict=True,
        )
    )


def run(estimator: Any, k: int) -> list[Tensor]:
    """A run on minibatches: each step another target."""
    target = pf.samplers.Minibatch(pf.samplers.Gaussian(dim=2), 33)
    return [
        pf.simulate(
            pf.Flow(estimator), clouds(k, 25)[0].points, target, dt=0.05, steps=4, seed=k
        ).particles[-1]
    ]


QUICK = {"kale", "ulsif"}


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ESTIMATORS],
)
def test_runs_that_share_one_estimator(name: str) -> None:
    """In pools of two and four threads, and in joblib's."""
    torch.manual_seed(0)
    one = ESTIMATORS[name]()
    torch.manual_seed(0)
    alone = [run(ESTIMATORS[name]() if name != "module" else one, k) for k in range(6)]
    for threads in (2, 4):
        assert all(
            same(a, b)
            for a, b in zip(pooled(threads, lambda k: run(one, k), 6), alone, strict=True)
        )
    found = joblib.Parallel(3, backend="threading")(joblib.delayed(run)(one, k) for k in range(6))
    assert all(same(a, b) for a, b in zip(found, alone, strict=True))


@pytest.mark.keops
@pytest.mark.slow
def test_keops_in_many_threads() -> None:
    one = E.MMD(K.Gaussian(0.7), pairwise=KeOps())
    alone = [run(E.MMD(K.Gaussian(0.7), pairwise=KeOps()), k) for k in range(4)]
    for threads in (1, 2, 4):
        assert all(
            same(a, b)
            for a, b in zip(pooled(threads, lambda k: run(one, k), 4), alone, strict=True)
        )


# ---------------------------------------------------------------- threads that interleave, a kernel
# of the user's that waits or fails


class Waiting(Cloud):
    """A cloud whose copy, which caches take, waits first."""

    def __init__(self, points: Tensor, wait: Callable[[], Any]) -> None:
        super().__init__(points)
        object.__setattr__(self, "wait", wait)

    def copy(self) -> Cloud:
        self.wait()
        return super().copy()


@pytest.mark.parametrize("name", ["mmd", "kde kernel", "kde rule", "kale", "drmmd", "moreau"])
def test_a_fit_that_begins_and_ends_in_the_middle_of_another(name: str) -> None:
    """The first thread stands inside the cache while the second one fits to another target."""
    (x, y), other = clouds(8), clouds(9)
    alone = [fitted(ESTIMATORS[name](), pair) for pair in ((x, y), other)]
    one, inside, done = ESTIMATORS[name](), threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        assert done.wait(timeout=20)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(fitted, one, (x, Waiting(y.points, wait=wait)))
        assert inside.wait(timeout=20)
        try:
            second = fitted(one, other)
        finally:
            done.set()
        assert same(first.result(), alone[0])
    assert same(second, alone[1])
    assert same(fitted(one, other), alone[1])
    assert same(fitted(one, (x, y)), alone[0])


def test_a_run_with_another_bandwidth_in_its_memory() -> None:
    """KALE() keeps its kernel's bandwidth in memory: two runs may meet the same target with
    different ones.
    """
    x, y = clouds(10)
    memories = [{"bandwidth": torch.tensor(width, dtype=torch.float64)} for width in (0.4, 1.7)]
    one = E.KALE(lam=0.1)
    for memory in (*memories, memories[0]):
        assert same(
            told(one.fit(x, y, Clock(), memory), x.points),
            told(E.KALE(lam=0.1).fit(x, y, Clock(), memory), x.points),
        )


@dataclass(frozen=True)
class Telling:
    """exp(-s / 2), which calls `tell` first."""

    tell: Callable[[], Any]

    def profile(self, s: Tensor) -> Tensor:
        self.tell()
        return (-s / 2).exp()

    def slope(self, s: Tensor) -> Tensor:
        self.tell()
        return -(-s / 2).exp() / 2

    def curvature(self, s: Tensor) -> Tensor:
        return (-s / 2).exp() / 4


WITH_KERNEL: dict[str, Callable[[Any], Any]] = {
    "mmd": lambda kernel: E.MMD(kernel, pairwise=Dense()),
    "kale": lambda kernel: E.KALE(kernel, lam=0.1, pairwise=Dense()),
    "drmmd": lambda kernel: E.DrMMD(kernel, lam=0.1, pairwise=Dense()),
}


@pytest.mark.parametrize("name", WITH_KERNEL)
def test_threads_that_meet_inside_the_users_kernel(name: str) -> None:
    """Every call of the kernel waits until the other thread is in one too (or has ended)."""
    pairs = [clouds(seed) for seed in range(2)]
    alone = [fitted(WITH_KERNEL[name](Telling(lambda: None)), pair) for pair in pairs]
    meet = threading.Barrier(2)

    def tell() -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            meet.wait(timeout=0.2)

    one = WITH_KERNEL[name](Telling(tell))
    assert all(
        same(a, b)
        for a, b in zip(pooled(2, lambda k: fitted(one, pairs[k]), 2), alone, strict=True)
    )


class Meeting(torch.nn.Linear):
    """Waits, before it looks at its weights, until another thread is here too."""

    meet: ClassVar[threading.Barrier] = threading.Barrier(1)

    def forward(self, z: Tensor) -> Tensor:
        with contextlib.suppress(threading.BrokenBarrierError):
            Meeting.meet.wait(timeout=0.2)
        return super().forward(z)


def test_threads_that_meet_inside_the_users_module(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    one, pairs = (
        E.Classifier(Meeting(2, 1).double(), first_steps=5),
        [clouds(seed) for seed in range(2)],
    )
    alone = [fitted(one, pair) for pair in pairs]
    monkeypatch.setattr(Meeting, "meet", threading.Barrier(2))
    assert all(
        same(a, b)
        for a, b in zip(pooled(2, lambda k: fitted(one, pairs[k]), 2), alone, strict=True)
    )
    network = Network(Meeting(2, 1).double())
    z, weights = (
        pairs[0][0].points,
        [torch.full((3,), float(k), dtype=torch.float64) for k in range(2)],
    )
    found = pooled(2, lambda k: network(weights[k], {}, z), 2)
    assert [torch.equal(found[k], (z.sum(1) + 1) * k) for k in range(2)] == [True, True]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("name", WITH_KERNEL)
def test_a_fit_that_is_interrupted_leaves_the_next_one_right(
    name: str, error: type[BaseException]
) -> None:
    first, second = clouds(4), clouds(5)
    want = [fitted(WITH_KERNEL[name](Telling(lambda: None)), pair) for pair in (first, second)]
    for k in range(1, 40):
        calls = [-(10**9)]

        def tell(calls: list[int] = calls, k: int = k) -> None:
            calls[0] += 1
            if calls[0] == k:
                raise error

        one = WITH_KERNEL[name](Telling(tell))
        fitted(one, first)
        calls[0] = 0
        stopped = True
        try:
            fitted(one, second)
            stopped = False
        except error:
            pass
        calls[0] = -(10**9)
        assert same(fitted(one, second), want[1])
        assert same(fitted(one, first), want[0])
        if not stopped:
            return


# ---------------------------------------------------------------- modes and defaults of torch


@pytest.mark.parametrize(
    "mode",
    [torch.inference_mode, pytest.param(torch.no_grad, marks=pytest.mark.slow)],
    ids=["inference", "no grad"],
)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_within_a_mode_of_torch(name: str, mode: Any) -> None:
    torch.manual_seed(0)
    want = fitted(ESTIMATORS[name](), clouds(6))
    torch.manual_seed(0)
    one = ESTIMATORS[name]()
    with mode():
        assert same(fitted(one, clouds(6)), want)
        assert same(fitted(one, clouds(6)), want)
    assert same(fitted(one, clouds(6)), want)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_torchs_defaults_change_no_number(name: str) -> None:
    torch.manual_seed(0)
    want = fitted(ESTIMATORS[name](), clouds(7))
    torch.manual_seed(0)
    one, pair, dtype = ESTIMATORS[name](), clouds(7), torch.get_default_dtype()
    try:
        for other, device in ((torch.float64, "cpu"), (torch.float16, "cpu"), (dtype, "meta")):
            torch.set_default_dtype(other)
            torch.set_default_device(device)
            x, y = pair
            fit = one.fit(x, y, Clock(), {})
            value, grad = fit.witness.value_and_grad(x.points)
            assert torch.equal(value, want[0])
            assert torch.equal(grad, want[1])
    finally:
        torch.set_default_dtype(dtype)
        torch.set_default_device(None)
