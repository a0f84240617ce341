"""A script: starts a worker in one of several ways and has it compute what its parent did with
threads. `python worker.py fork 60 mesh kale`.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import signal
import sys
import warnings

import numpy as np
import torch

import particleflow as pf
from particleflow.clouds import Clock, Cloud

E, K, P = pf.estimators, pf.kernels, pf.pairwise
torch.set_num_threads(2)
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(9000, 2)), rng.normal(size=(8000, 2))
BACKENDS = {
    "mesh": P.Mesh(),
    "compiled": P.Compiled(),
    "culled": P.Culled(),
    "fourier": P.Fourier(),
    "nystroem": P.Nystroem(rank=12),
}
ESTIMATORS = {
    "kale": lambda: E.KALE(lam=0.1),
    "drmmd": lambda: E.DrMMD(K.Gaussian(0.8), lam=0.1),
    "moreau": lambda: E.Moreau(K.Gaussian(0.8), divergence=pf.divergences.JensenShannon(), lam=0.1),
    "kde": lambda: E.KDE(),
    "ulsif": lambda: E.ULSIF(),
    "kliep": lambda: E.KLIEP(K.Gaussian(0.7)),
    "logistic": lambda: E.KernelLogistic(K.Gaussian(0.7), lam=1e-2),
    "transport": lambda: E.CTransformCritic(),
    "classifier": lambda: E.Classifier(first_steps=15, width=8),
    "sklearn": lambda: E.SklearnClassifier(),
}


def work(kind: str) -> bytes:
    if kind in BACKENDS:
        b = torch.from_numpy(Y)
        kernel = K.Gaussian({"culled": 0.05, "nystroem": 2.0}.get(kind, 0.5))
        return (
            BACKENDS[kind]
            .sources(kernel, b)
            .field(torch.full((8000,), 1 / 8000, dtype=torch.float64))
            .grad(torch.from_numpy(X))
            .numpy()
            .tobytes()
        )
    x, y = Cloud(torch.from_numpy(X[:60])), Cloud(torch.from_numpy(Y[:50] + 0.5))
    return (
        ESTIMATORS[kind]()
        .fit(x, y, Clock(), {})
        .witness.value_and_grad(x.points)[1]
        .numpy()
        .tobytes()
    )


def watch(seconds: int) -> None:
    """A process that hangs says where, and ends. An alarm, as a thread that watches would not be in
    a forked child.
    """
    faulthandler.register(signal.SIGALRM, chain=True)
    signal.alarm(seconds)


def told(kind: str) -> tuple[bytes, bytes, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return (
            work(kind),
            work(kind),
            [str(w.message) for w in caught if "forked" in str(w.message)],
        )


if __name__ == "__main__":
    how, seconds, kinds = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    watch(seconds)
    (torch.from_numpy(X).repeat(60, 1) ** 2).exp().sum()  # torch's threads are there
    # a worker has two threads or one, whose sums have other last bits
    here = {kind: [work(kind)] for kind in kinds}
    torch.set_num_threads(1)
    for kind in kinds:
        here[kind].append(work(kind))
    torch.set_num_threads(2)
    if how in ("loky", "multiprocessing", "threading"):
        import joblib

        answers = joblib.Parallel(2, backend=how)(joblib.delayed(told)(kind) for kind in kinds)
        workers = how == "multiprocessing"
    else:
        with multiprocessing.get_context(how).Pool(1, watch, (seconds - 5,)) as pool:
            answers = [pool.apply(told, (kind,)) for kind in kinds]
        workers = how == "fork"
    for kind, (first, second, _) in zip(kinds, answers, strict=True):
        assert first == second, kind
        if kind == "sklearn":  # numpy's threads, which are not torch's
            assert np.allclose(*(np.frombuffer(of) for of in (first, here[kind][0])), rtol=1e-6)
        else:
            assert first in here[kind], kind
    warned = sum(len(words) for _, _, words in answers)
    assert (1 <= warned <= 2) if workers else not warned, warned
    print("done")
