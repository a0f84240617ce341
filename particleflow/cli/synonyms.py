"""Other words for names and options, which messages about unknown names suggest from.

This file imports only the standard library: a misspelt name is refused at once.
"""

from __future__ import annotations

from collections.abc import Mapping


def _others(words: Mapping[str, str]) -> dict[str, str]:
    """A map from other words to names, made from the other words of each name."""
    return {other: name for name, others in words.items() for other in others.split()}


# For each option, other words for its names.
NAMES: dict[str, dict[str, str]] = {
    "flow": _others(
        {
            "auto": "automatic default recommended best",
            "mono": "monoflow kl gan js",
            "mmd-noise": "noise noisy",
            "w1": "wgan wasserstein ot emd",
            "ift": "force-transport unbalanced",
            "langevin": "ula sgld brownian",
        }
    ),
    "target": _others(
        {
            "rings": "circles circle ring",
            "gaussian": "normal gauss",
            "four-gaussians": (
                "mog gmm gaussians gaussian-mixture mixture-of-gaussians 4-gaussians 4gaussians "
                "mixture"
            ),
            "checkerboard": "chessboard chess",
            "digits": "mnist",
            "moons": "two-moons",
            "swissroll": "swiss-roll swiss roll",
            "spiral": "arms",
            "iris": "flowers",
        }
    ),
    "start": _others(
        {
            "gaussian": "normal gauss random randn noise blob",
            "auto": "default",
            "rings": "circles",
            "digits": "mnist",
            "four-gaussians": "gaussians",
        }
    ),
    "kernel": _others(
        {
            "gaussian": "rbf normal se squared-exponential",
            "laplace": "exponential exp matern12 laplacian",
            "matern32": "matern",
            "imq": "multiquadric inverse-multiquadric",
            "cauchy": "rational-quadratic rq",
            "energy": "distance riesz",
        }
    ),
    "ratio": _others(
        {
            "kde": "kernel-density parzen density",
            "ulsif": "lsif least-squares",
            "logistic": "lr logreg logit klr logistic-regression regression",
            "rulsif": "relative-ulsif",
            "classifier": "nn network mlp discriminator gan",
        }
    ),
    "mobility": _others(
        {
            "vanilla": "js jsd jensen-shannon gan softplus",
            "logit": "kl reverse-kl rkl identity log unit linear",
            "mle": "forward-kl fkl exp",
            "ns": "non-saturating nonsaturating sigmoid",
            "arcsinh": "asinh",
            "chi2": "chi-squared chi pearson",
        }
    ),
    "critic": _others(
        {
            "exact": "ot emd optimal-transport",
            "clip": "wgan weight-clipping",
            "gp": "wgan-gp gradient-penalty penalty",
            "lipschitz": "spectral sn",
            "c-transform": "ctransform qp-wgan",
        }
    ),
    "integrator": _others(
        {
            "paced": "auto automatic",
            "euler": "forward-euler explicit rk1",
            "heun": "rk2 trapezoidal",
            "rk4": "runge-kutta rk",
            "euler-maruyama": "em maruyama sde",
        }
    ),
    "stragglers": _others(
        {
            "none": "off no ignored left",
            "told": "count counted report",
            "pulled": "pull energy",
            "reborn": "rebirth resampled",
        }
    ),
    "metrics": _others(
        {
            "w2": "wasserstein w2sq w2-squared w2^2 ot wasserstein2",
            "w1": "wasserstein1 emd",
            "sliced": "sliced-wasserstein sw2 sw sliced-w2 swd",
            "mmd2": "mmd^2 mmd-squared",
            "energy": "energy-distance",
        }
    ),
}
# Other words for options.
OTHER_FLAGS = _others(
    {
        "dt": "lr learning-rate step-size stepsize eta",
        "steps": "iterations iters iter epochs num-steps",
        "bandwidth": "sigma length-scale lengthscale width",
        "anneal": "annealing continuation",
        "out": "output outdir folder directory",
        "lam": "lambda reg penalty",
        "n": "particles num-particles",
        "m": "samples num-samples",
        "target": "data dataset input",
        "seed": "random-seed random-state",
        "integrator": "solver",
        "start": "source init x0",
        "beta": "noise",
        "birth_death": "fisher-rao unbalanced reaction",
        "stragglers": "strays",
        "threads": "jobs workers cores",
        "rtol": "tolerance tol accuracy",
        "film": "animation animate movie video gif mp4",
        "flow": "method algorithm",
        "flows": "methods",
        "bright": "invert inverse",
        "ratio": "estimator",
        "critic": "discriminator",
        "metrics": "metric",
        "pca": "components",
        "columns": "cols features",
        "key": "array",
        "records": "save-every",
        "seeds": "repeats repetitions replicates num-seeds",
        "tune": "tuning trials",
        "sweep": "grid",
    }
)
# The remedy for options that choose a device.
_PROCESSOR = (
    "the command line computes on the processor, with --threads; in Python pass tensors of the"
    " device"
)
# Options of other programs that are not here, and the remedy for each.
NOT_HERE = {
    **dict.fromkeys(("no-gif", "no-film"), "run and compare take --film none"),
    **dict.fromkeys(("device", "gpu", "gpus", "cuda", "mps"), _PROCESSOR),
    **dict.fromkeys(
        ("dtype", "precision", "float32"),
        "the command line computes in float64; in Python pass tensors of another dtype",
    ),
    **dict.fromkeys(
        ("verbose", "quiet", "progress"),
        "progress is shown on a terminal only; redirect what is printed",
    ),
}
# The words of a remedy for an argument of the library that has no flag.
INSTEAD = {
    "wide": "or take --pca",
    "reborn": "--stragglers reborn",
    "header": "put a line of names above it",
    "threshold": "",
}
