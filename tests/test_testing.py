"""`particleflow.testing`: built-in kernels, mobilities and samplers pass, and one with a broken
clause is refused by that clause's name.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from refusals import refused
from torch import Tensor

import particleflow as pf
from particleflow.testing import check_kernel, check_mobility, check_sampler

K, M, S = pf.kernels, pf.mobilities, pf.samplers
pytestmark = pytest.mark.usefixtures("unchecked")
# without addresses, which differ from process to process
names = lambda value: re.sub(r"\W+", "-", re.sub(r" at 0x\w+", "", repr(value)))[:40].strip("-")


# ---------------------------------------------------------------- kernels

KERNELS = [kernel(0.7) for kernel in (K.Gaussian, K.Laplace, K.Matern32, K.Matern52, K.IMQ)]
OTHERS = [
    K.Energy(),
    K.Gaussian(1e-3),
    K.Laplace(1e3),
    K.Radial(lambda s: 1 / (1 + s)),
    K.Radial(lambda s: torch.exp(-s), bandwidth=0.3),
]


@pytest.mark.parametrize("kernel", [*KERNELS, *OTHERS], ids=names)
def test_kernels(kernel: K.Kernel) -> None:
    check_kernel(kernel)


def test_a_callable_is_checked_as_a_kernel() -> None:
    check_kernel(lambda s: 1 / (1 + s) ** 2)


def kernel(**changed: Any) -> Any:
    """exp(-s / (2 l^2)) with its logarithms and its scale, and some methods changed."""
    methods = {
        "with_bandwidth": lambda self, bandwidth: type(self)(bandwidth),
        "profile": lambda self, s: torch.exp(-s / (2 * self.bandwidth**2)),
        "slope": lambda self, s: -0.5 / self.bandwidth**2 * self.profile(s),
        "curvature": lambda self, s: 0.25 / self.bandwidth**4 * self.profile(s),
        "log_profile": lambda self, s: -s / (2 * self.bandwidth**2),
        "log_slope": lambda self, s: torch.full_like(s, -0.5 / self.bandwidth**2),
        **changed,
    }
    made = type(
        "Own",
        (),
        {
            "__annotations__": {"bandwidth": float},
            **{name: method for name, method in methods.items() if method is not None},
        },
    )
    return dataclass(frozen=True)(made)(0.7)


def test_the_kernel_that_is_broken_below_is_whole() -> None:
    check_kernel(kernel())


def _overwriting(self: Any, s: Tensor) -> Tensor:
    return s.div_(-2 * self.bandwidth**2).exp_()


gauss = lambda s: torch.exp(-s / (2 * 0.7**2))
BROKEN_KERNELS: dict[str, tuple[str, Callable[[], Any]]] = {
    "a class": (
        "a kernel must have profile, slope and curvature, got the class Gaussian",
        lambda: K.Gaussian,
    ),
    "no curvature": (
        "a kernel must have profile, slope and curvature, got Own without curvature",
        lambda: kernel(curvature=None),
    ),
    "an exception": (
        r"profile\(s\) must map a tensor s, got ZeroDivisionError",
        lambda: kernel(profile=lambda self, s: 1 / 0),
    ),
    "numpy": (
        r"profile\(s\) must be a tensor",
        lambda: kernel(profile=lambda self, s: np.exp(-s.numpy())),
    ),
    "one number": (
        r"profile\(s\) must have the shape",
        lambda: kernel(profile=lambda self, s: gauss(s).sum()),
    ),
    "over the row": (
        r"slope\(s\) must be elementwise",
        lambda: kernel(slope=lambda self, s: -1.02 * gauss(s) + 0 * s + 1e-3 * gauss(s).mean()),
    ),
    "no empty sum": (
        r"profile\(s\) must be elementwise, of the shape \(0,\), got",
        lambda: kernel(profile=lambda self, s: gauss(s) + 0 * s.reshape(-1)[0]),
    ),
    "vectors alone": (
        r"profile\(s\) of s with the shape \(3, 7\) must have the shape",
        lambda: kernel(profile=lambda self, s: gauss(s) if s.ndim < 2 else gauss(s).reshape(-1)),
    ),
    "float64 always": (
        r"profile\(s\) must have the dtype torch.float32",
        lambda: kernel(profile=lambda self, s: gauss(s.double())),
    ),
    "a graph": (
        "must be outside of autograd's graph",
        lambda: kernel(profile=lambda self, s: gauss(s.clone().requires_grad_(True))),
    ),
    "in place": (r"profile\(s\) must not change its input", lambda: kernel(profile=_overwriting)),
    "infinite at 0": (
        r"slope\(s\) must be finite for every s >= 0",
        lambda: K.Radial(lambda s: torch.exp(-s.sqrt())),
    ),
    "of the distance": (
        r"slope\(s\) must be d profile / ds",
        lambda: kernel(slope=lambda self, s: -s.sqrt() / self.bandwidth**2 * gauss(s)),
    ),
    "another curvature": (
        r"curvature\(s\) must be d slope / ds",
        lambda: kernel(curvature=lambda self, s: -gauss(s)),
    ),
    "negative": (
        "a kernel with log_profile must be > 0",
        lambda: kernel(
            with_bandwidth=None,
            profile=lambda self, s: (1 - s) * torch.exp(-s),
            slope=lambda self, s: (s - 2) * torch.exp(-s),
            curvature=lambda self, s: (3 - s) * torch.exp(-s),
        ),
    ),
    "another logarithm": (
        r"log_profile\(s\) must be log\(profile\(s\)\)",
        lambda: kernel(log_profile=lambda self, s: -s),
    ),
    "a logarithm that underflows": (
        r"log_profile\(s\) must be finite",
        lambda: kernel(log_profile=lambda self, s: self.profile(s).log()),
    ),
    "another slope of it": (
        r"log_slope\(s\) must be slope\(s\) / profile\(s\)",
        lambda: kernel(log_slope=lambda self, s: -torch.ones_like(s)),
    ),
    "no such scale": (
        "with_bandwidth must make k_l",
        lambda: kernel(
            profile=lambda self, s: torch.exp(-s / (2 * self.bandwidth)),
            slope=lambda self, s: -0.5 / self.bandwidth * self.profile(s),
            curvature=lambda self, s: 0.25 / self.bandwidth**2 * self.profile(s),
            log_profile=None,
            log_slope=None,
        ),
    ),
    "another bandwidth": (
        r"with_bandwidth\(0.7\).bandwidth must be 0.7",
        lambda: kernel(with_bandwidth=lambda self, l: type(self)(l + 1)),
    ),
    "no member": (
        "with_bandwidth must return a kernel with with_bandwidth",
        lambda: kernel(with_bandwidth=lambda self, l: gauss),
    ),
    "unequal": (
        "kernels of one family and one bandwidth must be equal",
        lambda: kernel(__eq__=object.__eq__, __hash__=object.__hash__),
    ),
    "all equal": (
        "kernels of two bandwidths must be unequal",
        lambda: kernel(__eq__=lambda self, other: True, __hash__=lambda self: 3),
    ),
    "no hash": (
        "kernels that are equal must hash alike",
        lambda: kernel(__hash__=lambda self: hash([])),
    ),
    "another hash": (
        "kernels that are equal must hash alike",
        lambda: kernel(__hash__=object.__hash__),
    ),
    "a bandwidth below 0": (
        "a kernel with with_bandwidth must have a `bandwidth` > 0",
        lambda: replace(kernel(), bandwidth=-1.0),
    ),
    "changed": (
        "with_bandwidth must leave the kernel itself alone",
        lambda: kernel(
            with_bandwidth=lambda self, l: object.__setattr__(self, "bandwidth", l) or type(self)(l)
        ),
    ),
    "not definite": (
        "a Gram matrix must be positive semidefinite, got an eigenvalue",
        lambda: kernel(
            with_bandwidth=None,
            profile=lambda self, s: torch.exp(-(s**2)),
            slope=lambda self, s: -2 * s * torch.exp(-(s**2)),
            curvature=lambda self, s: (4 * s**2 - 2) * torch.exp(-(s**2)),
            log_profile=lambda self, s: -(s**2),
            log_slope=lambda self, s: -2 * s,
        ),
    ),
    "not definite, without a logarithm": (
        "positive semidefinite on weights of sum zero",
        lambda: K.Radial(lambda s: -(s**2)),
    ),
}


@pytest.mark.parametrize("name", BROKEN_KERNELS)
def test_broken_kernels_are_refused(name: str) -> None:
    clause, made = BROKEN_KERNELS[name]
    refused(check_kernel, made(), clause)


def test_a_kernel_without_its_bandwidth_is_refused() -> None:
    class Bare:
        profile = staticmethod(gauss)
        slope = curvature = staticmethod(lambda s: -gauss(s))
        with_bandwidth = staticmethod(lambda l: None)

    refused(
        check_kernel, Bare(), "a kernel with with_bandwidth must have a `bandwidth` > 0, got none"
    )


def _kinked(**changed: Any) -> Any:
    """exp(-r / 0.7), with its slope cut off near r = 0, and some methods changed."""
    r = lambda s: s.clamp_min(1e-24).sqrt()
    return kernel(
        with_bandwidth=None,
        profile=lambda self, s: torch.exp(-s.sqrt() / 0.7),
        slope=lambda self, s: -torch.exp(-s.sqrt() / 0.7) / (1.4 * r(s)),
        curvature=lambda self, s: torch.exp(-s.sqrt() / 0.7) * (r(s) / 0.7 + 1) / (2.8 * r(s) ** 3),
        log_profile=lambda self, s: -s.sqrt() / 0.7,
        log_slope=lambda self, s: -1 / (1.4 * r(s)),
        **changed,
    )


def test_a_kink_must_be_what_the_kernel_declares() -> None:
    check_kernel(_kinked(kinked_at_zero=True))
    check_kernel(kernel(kinked_at_zero=False))
    refused(check_kernel, _kinked(kinked_at_zero=False), "kinked_at_zero must be True, got False")
    refused(check_kernel, kernel(kinked_at_zero=True), "kinked_at_zero must be False, got True")


def test_a_known_laplacian_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(K.Gaussian, "laplacian", lambda self, s, d: -gauss(s))
    refused(check_kernel, K.Gaussian(0.7), r"laplacian\(s, 1\) must be 4 s curvature \+ 2 d slope")


def test_kernels_of_density_estimates_need_not_be_definite() -> None:
    check_kernel(lambda s: torch.exp(-(s**2)), definite=False)


# ---------------------------------------------------------------- mobilities

MOBILITIES = [
    M.Unit(),
    M.Linear(2.5),
    M.Exponential(1.0),
    M.Exponential(0.5),
    M.Vanilla(),
    M.Vanilla(1.0),
    M.NonSaturating(),
    M.Arcsinh(),
    M.LSGAN(),
    M.Induced(pf.divergences.KL()),
    M.Induced(pf.divergences.JensenShannon()),
    M.Custom(lambda d: d + torch.tanh(d)),
]


@pytest.mark.parametrize("mobility", MOBILITIES, ids=names)
def test_mobilities(mobility: M.Mobility) -> None:
    check_mobility(mobility)


class Own:
    """h = d + sin(d) / 2."""

    def h(self, d: Tensor) -> Tensor:
        return d + 0.5 * torch.sin(d)

    def slope(self, d: Tensor) -> Tensor:
        return 1 + 0.5 * torch.cos(d)

    def curvature(self, d: Tensor) -> Tensor:
        return -0.5 * torch.sin(d)


class Falling(Own):
    h, slope, curvature = (
        staticmethod(f) for f in (lambda d: -d, lambda d: -torch.ones_like(d), torch.zeros_like)
    )


BROKEN_MOBILITIES: dict[str, tuple[str, Any]] = {
    "a class": ("a mobility must have h, slope and curvature", Own),
    "no curvature": (
        "a mobility must have h, slope and curvature",
        type("NoCurvature", (), {"h": Own.h, "slope": Own.slope})(),
    ),
    "an exception": (
        r"h\(d\) must map a tensor d",
        type("Raising", (Own,), {"h": lambda self, d: 1 / 0})(),
    ),
    "one number": (
        r"slope\(d\) must be a tensor",
        type("Constant", (Own,), {"slope": lambda self, d: 1.0})(),
    ),
    "over the row": (
        r"h\(d\) must be elementwise",
        type("Centred", (Own,), {"h": lambda self, d: d - d.max()})(),
    ),
    "many entries alone": (
        r"h\(d\) must be elementwise, got IndexError",
        type("Many", (Own,), {"h": lambda self, d: d + 0 * d[20]})(),
    ),
    "all entries": (
        r"h\(d\) must have the shape \(2,\)",
        type("All", (Own,), {"h": lambda self, d: d if len(d) > 2 else d[:1]})(),
    ),
    "overflow": (
        r"h\(d\) for \|d\| <= 9.87 must be finite",
        type("Wild", (Own,), {"h": lambda self, d: torch.exp(100 * d)})(),
    ),
    "in place": (
        r"h\(d\) must not change its input",
        type("InPlace", (Own,), {"h": lambda self, d: d.add_(1.0)})(),
    ),
    "another slope": (
        r"slope\(d\) must be d h / dd",
        type("Steep", (Own,), {"slope": lambda self, d: torch.ones_like(d)})(),
    ),
    "another curvature": (
        r"curvature\(d\) must be d slope / dd",
        type("Flat", (Own,), {"curvature": lambda self, d: torch.zeros_like(d)})(),
    ),
    "falling": (r"slope\(d\) must be > 0", Falling()),
}


@pytest.mark.parametrize("name", BROKEN_MOBILITIES)
def test_broken_mobilities_are_refused(name: str) -> None:
    clause, mobility = BROKEN_MOBILITIES[name]
    refused(check_mobility, mobility, clause)


def test_a_mobility_that_says_so_may_fall() -> None:
    check_mobility(Own())
    check_mobility(type("Allowed", (Falling,), {"allow_nonmonotone": True})())


# ---------------------------------------------------------------- samplers

SAMPLERS: list[tuple[Any, dict[str, Any]]] = [
    (S.Gaussian(dim=1), {"mean": 0.0, "cov": 1.0}),
    (
        S.Gaussian(mean=(1, -2), cov=[[1, 0.8], [0.8, 0.89]]),
        {"mean": (1, -2), "cov": [[1, 0.8], [0.8, 0.89]]},
    ),
    (S.Gaussian(dim=3, std=0.1), {"mean": 0.0, "cov": 0.01 * np.eye(3)}),
    (S.Mixture.four_gaussians(), {"mean": (0.9, 0.9), "cov": (0.81 + 0.0625) * np.eye(2)}),
    (S.Mixture([S.Moons(), S.Gaussian(dim=2)]), {}),
    (S.Sphere(dim=3), {"mean": 0.0, "cov": np.eye(3) / 3}),
    *(
        (sampler, {})
        for sampler in (
            S.Rings(),
            S.Rings(noise=0.1),
            S.Moons(noise=0.1),
            S.Spiral(),
            S.SwissRoll(),
            S.Checkerboard(),
            S.Digits(pca=2),
            S.Iris(),
            S.Wine(),
            S.FromArray(np.random.default_rng(0).standard_normal((80, 2))),
        )
    ),
]


@pytest.mark.parametrize(("sampler", "moments"), SAMPLERS, ids=names)
def test_samplers(sampler: S.Sampler, moments: dict[str, Any]) -> None:
    check_sampler(sampler, **moments)


def test_samplers_of_files_and_pictures(tmp_path: Any) -> None:
    from PIL import Image

    rows = np.random.default_rng(0).standard_normal((40, 2))
    np.savetxt(tmp_path / "points.csv", rows, delimiter=",")
    Image.fromarray((np.add.outer(np.arange(20), np.arange(30)) * 5).astype(np.uint8)).save(
        tmp_path / "picture.png"
    )
    check_sampler(S.FromFile(tmp_path / "points.csv"))
    check_sampler(S.FromImage(tmp_path / "picture.png"))


class Uniform:
    """On [0, 1]^2 x [0, 2]: a whole sampler, with a density."""

    dim = 3

    def sample(
        self, n: int, *, seed: int = 0, dtype: torch.dtype | None = None, device: Any = None
    ) -> Tensor:
        if n < 1:
            raise ValueError(f"`n` must be >= 1, got {n}")
        if dtype not in (None, torch.float32, torch.float64):
            raise TypeError(f"`dtype` must be float32 or float64, got {dtype}")
        if seed < 0:
            raise ValueError(f"`seed` must be >= 0, got {seed}")
        return torch.from_numpy(self.draw(n, np.random.default_rng(seed))).to(
            dtype or torch.float64
        )

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.random((n, 3)) * (1, 1, 2)


class Normal(Uniform):
    """N(0, I) in the plane, with its density."""

    dim = 2

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((n, 2))

    def log_density(self, z: Tensor) -> Tensor:
        return -0.5 * (z**2).sum(1) - math.log(2 * math.pi)

    def score(self, z: Tensor) -> Tensor:
        return -z


def sampler(base: type = Uniform, **changed: Any) -> Any:
    return type("Own", (base,), changed)()


def _kept(self: Any, n: int, **options: Any) -> Tensor:
    """One tensor for each call, handed out again and again."""
    store = vars(self).setdefault("store", {})
    return store.setdefault((n, *options.items()), Uniform.sample(self, n, **options))


def _global_numpy(self: Any, n: int, rng: np.random.Generator) -> np.ndarray:
    return np.random.random((n, 3))  # noqa: NPY002


def _reads_global(self: Any, n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.random((n, 3)) + float(torch.get_rng_state().sum())


def _counting(self: Any, n: int, rng: np.random.Generator) -> np.ndarray:
    self.calls = getattr(self, "calls", 0) + (n == 50)
    return rng.random((n, 3)) + self.calls


def _single(self: Any, n: int, *, seed: int = 0, dtype: Any = None, device: Any = None) -> Tensor:
    drawn = Uniform.sample(self, n, seed=seed, dtype=dtype)
    return drawn if dtype != torch.float32 else drawn * (1 + 1e-6)


def _other_default(
    self: Any, n: int, *, seed: int = 1, dtype: Any = None, device: Any = None
) -> Tensor:
    return Uniform.sample(self, n, seed=seed, dtype=dtype)


def _accepting(
    self: Any, n: int, *, seed: int = 0, dtype: Any = None, device: Any = None
) -> Tensor:
    return Uniform.sample(
        self, max(n, 1), seed=abs(seed), dtype=dtype if dtype is not torch.int64 else None
    )


def _raising(error: type[Exception], least: int) -> Callable[..., Tensor]:
    """Refuses an n below 1 by that error, and no seed; names no argument where `least` is 0."""

    def sample(
        self: Any, n: int, *, seed: int = 0, dtype: Any = None, device: Any = None
    ) -> Tensor:
        if n < 1:
            raise error("`n` must be >= 1" if least else "too few")
        return Uniform.sample(self, n, seed=abs(seed), dtype=dtype)

    return sample


def _threaded() -> Any:
    """The generator lies in the object: alone it is right."""

    def draw(self: Any, n: int, rng: np.random.Generator) -> np.ndarray:
        self.rng = rng
        time.sleep(0.005)
        return self.rng.random((n, 3))

    return sampler(draw=draw)


BROKEN_SAMPLERS: dict[str, tuple[str, Callable[[], Any], dict[str, Any]]] = {
    "a class": ("a sampler must have dim and sample", lambda: Uniform, {}),
    "no dim": (
        "a sampler must have dim and sample",
        lambda: type("Own", (), {"sample": Uniform.sample})(),
        {},
    ),
    "a dim of 2.0": ("dim must be an integer >= 1", lambda: sampler(dim=2.0), {}),
    "no keywords": (
        r"sample\(1\) must draw, got TypeError",
        lambda: sampler(sample=lambda self, n: torch.zeros(n, 3)),
        {},
    ),
    "another shape": (
        r"sample\(1, dtype=None\) must have the shape \(1, 2\)",
        lambda: sampler(dim=2),
        {},
    ),
    "float32": (
        "must have the dtype torch.float64",
        lambda: sampler(sample=lambda self, n, **kw: Uniform.sample(self, n).float()),
        {},
    ),
    "not finite": (
        r"sample\(1, dtype=None\) must be finite",
        lambda: sampler(draw=lambda self, n, rng: rng.random((n, 3)) / 0),
        {},
    ),
    "float32 of its own": (
        "float32 must be the float64 sample rounded",
        lambda: sampler(sample=_single),
        {},
    ),
    "kept": ("sample must return a fresh tensor", lambda: sampler(sample=_kept), {}),
    "a global state": (
        "sample must leave global random states alone",
        lambda: sampler(draw=_global_numpy),
        {},
    ),
    "reads a global state": (
        "equal seeds must give equal bits, got another sample after torch.manual_seed",
        lambda: sampler(draw=_reads_global),
        {},
    ),
    "a counter": (
        "equal seeds must give equal bits, got another sample in the next call",
        lambda: sampler(draw=_counting),
        {},
    ),
    "no seed": (
        "two seeds must give two samples",
        lambda: sampler(draw=lambda self, n, rng: np.full((n, 3), 0.1)),
        {},
    ),
    "another seed": ("the seed must be 0 unless given", lambda: sampler(sample=_other_default), {}),
    "accepts all": (
        r"sample\(0\) must be refused with a message that names `n`",
        lambda: sampler(sample=_accepting),
        {},
    ),
    "accepts a seed": (
        r"sample\(5, seed=-1\) must be refused with a message that names `seed`",
        lambda: sampler(sample=_raising(ValueError, 1)),
        {},
    ),
    "another error": (
        r"must be refused with a message that names `n`, "
        r"got KeyError where ValueError or TypeError is due",
        lambda: sampler(sample=_raising(KeyError, 0)),
        {},
    ),
    "no name": (
        "must be refused with a message that names `n`, got a message that does not",
        lambda: sampler(sample=_raising(ValueError, 0)),
        {},
    ),
    "one generator": (
        "equal seeds must give equal bits, got another sample in another thread",
        _threaded,
        {},
    ),
    "another mean": (
        "the mean of samples must be the one declared",
        Uniform,
        {"mean": (0.5, 0.5, 0.5)},
    ),
    "another covariance": (
        "the covariance of samples must be the one declared",
        Uniform,
        {"mean": (0.5, 0.5, 1), "cov": np.eye(3) / 12},
    ),
    "a density (Q, 1)": (
        r"log_density\(z\) must have the shape",
        lambda: sampler(Normal, log_density=lambda self, z: z[:, :1]),
        {},
    ),
    "a score (Q,)": (
        r"score\(z\) must have the shape",
        lambda: sampler(Normal, score=lambda self, z: z[:, 0]),
        {},
    ),
    "no density at a sample": (
        "samples must have a density > 0",
        lambda: sampler(
            Normal,
            log_density=lambda self, z: Normal.log_density(self, z).masked_fill(
                z[:, 0] > 1, -math.inf
            ),
        ),
        {},
    ),
    "queries in place": (
        "a density must not change its input",
        lambda: sampler(Normal, score=lambda self, z: z.neg_()),
        {},
    ),
    "rows together": (
        "log_density must treat each row by itself",
        lambda: sampler(Normal, log_density=lambda self, z: Normal.log_density(self, z) - z.mean()),
        {},
    ),
    "a score that is not finite": (
        r"score\(z\) must be finite",
        lambda: sampler(Normal, score=lambda self, z: -z / 0),
        {},
    ),
    "another score": (
        r"score\(z\) must be the gradient of log_density\(z\)",
        lambda: sampler(Normal, score=lambda self, z: z),
        {},
    ),
    "not normalised": (
        "the density must integrate to one",
        lambda: sampler(Normal, log_density=lambda self, z: -0.5 * (z**2).sum(1)),
        {},
    ),
}


@pytest.mark.parametrize("name", BROKEN_SAMPLERS)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_broken_samplers_are_refused(name: str) -> None:
    clause, made, moments = BROKEN_SAMPLERS[name]
    refused(check_sampler, made(), clause, **moments)


def test_the_samplers_that_are_broken_above_are_whole() -> None:
    check_sampler(Uniform(), mean=(0.5, 0.5, 1), cov=np.diag([1, 1, 4]) / 12)
    check_sampler(Normal(), mean=0.0, cov=np.eye(2))
