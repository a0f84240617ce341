"""Other words for names and options, and what to suggest for them. Only the standard library is
imported here: a slip is refused at once.
"""

from __future__ import annotations

import re

NAMES: dict[str, dict[str, str]] = {
    "flow": {
        "monoflow": "mono", "kl": "mono", "gan": "mono", "js": "mono", "noise": "mmd-noise", "noisy": "mmd-noise", "wgan": "w1", "wasserstein": "w1",
        "ot": "w1", "emd": "w1", "ula": "langevin", "sgld": "langevin", "brownian": "langevin",
    },
    "target": {
        "circles": "rings", "circle": "rings", "ring": "rings", "normal": "gaussian", "gauss": "gaussian", "mog": "four-gaussians",
        "gmm": "four-gaussians", "gaussians": "four-gaussians", "gaussian-mixture": "four-gaussians", "mixture-of-gaussians": "four-gaussians",
        "4-gaussians": "four-gaussians", "4gaussians": "four-gaussians", "mixture": "four-gaussians",
        "chessboard": "checkerboard", "chess": "checkerboard", "mnist": "digits",
        "two-moons": "moons", "swiss-roll": "swissroll", "swiss": "swissroll", "roll": "swissroll", "arms": "spiral", "flowers": "iris",
    },
    "start": {
        "normal": "gaussian", "gauss": "gaussian", "random": "gaussian", "randn": "gaussian", "noise": "gaussian", "blob": "gaussian",
        "default": "auto", "circles": "rings", "mnist": "digits", "gaussians": "four-gaussians",
    },
    "kernel": {
        "rbf": "gaussian", "normal": "gaussian", "se": "gaussian", "squared-exponential": "gaussian", "exponential": "laplace", "exp": "laplace",
        "matern12": "laplace", "laplacian": "laplace", "matern": "matern32", "multiquadric": "imq", "inverse-multiquadric": "imq",
        "rational-quadratic": "cauchy", "rq": "cauchy", "distance": "energy", "riesz": "energy",
    },
    "ratio": {
        "kernel-density": "kde", "parzen": "kde", "density": "kde", "lsif": "ulsif", "least-squares": "ulsif", "lr": "logistic",
        "logreg": "logistic", "logit": "logistic", "klr": "logistic", "logistic-regression": "logistic", "relative-ulsif": "rulsif",
        "regression": "logistic", "nn": "classifier", "network": "classifier", "mlp": "classifier", "discriminator": "classifier",
        "gan": "classifier",
    },
    "mobility": {
        "js": "vanilla", "jsd": "vanilla", "jensen-shannon": "vanilla", "gan": "vanilla", "softplus": "vanilla", "kl": "logit", "reverse-kl": "logit",
        "rkl": "logit", "identity": "logit", "log": "logit", "unit": "logit", "linear": "logit",
        "forward-kl": "mle", "fkl": "mle", "exp": "mle", "non-saturating": "ns",
        "nonsaturating": "ns", "sigmoid": "ns", "asinh": "arcsinh", "chi-squared": "chi2", "chi": "chi2", "pearson": "chi2",
    },
    "critic": {
        "ot": "exact", "emd": "exact", "optimal-transport": "exact", "wgan": "clip", "weight-clipping": "clip", "wgan-gp": "gp",
        "gradient-penalty": "gp", "penalty": "gp", "spectral": "lipschitz", "sn": "lipschitz",
    },
    "integrator": {
        "forward-euler": "euler", "explicit": "euler", "rk1": "euler", "rk2": "heun", "trapezoidal": "heun", "runge-kutta": "rk4", "rk": "rk4",
        "em": "euler-maruyama", "maruyama": "euler-maruyama", "sde": "euler-maruyama",
    },
    "metrics": {
        "wasserstein": "w2", "w2sq": "w2", "w2-squared": "w2", "w2^2": "w2", "ot": "w2", "wasserstein2": "w2",
        "wasserstein1": "w1", "emd": "w1", "sliced-wasserstein": "sliced", "sw2": "sliced",
        "sw": "sliced", "sliced-w2": "sliced", "swd": "sliced", "mmd^2": "mmd2", "mmd-squared": "mmd2", "energy-distance": "energy",
    },
}  # fmt: skip
"""Other words for names: what to suggest."""
OTHER_FLAGS = {
    "lr": "dt", "learning-rate": "dt", "step-size": "dt", "stepsize": "dt", "eta": "dt", "iterations": "steps", "iters": "steps", "iter": "steps",
    "epochs": "steps", "num-steps": "steps", "sigma": "bandwidth", "length-scale": "bandwidth", "lengthscale": "bandwidth", "width": "bandwidth",
    "output": "out", "outdir": "out", "folder": "out", "directory": "out", "lambda": "lam", "reg": "lam", "penalty": "lam", "particles": "n",
    "num-particles": "n", "samples": "m", "num-samples": "m", "data": "target", "dataset": "target", "input": "target", "random-seed": "seed",
    "random-state": "seed", "solver": "integrator", "source": "start", "init": "start", "x0": "start", "noise": "beta", "jobs": "threads",
    "workers": "threads", "cores": "threads", "tolerance": "rtol", "tol": "rtol", "accuracy": "rtol", "film": "gif", "animation": "gif",
    "animate": "gif", "method": "flow", "algorithm": "flow", "methods": "flows", "invert": "bright", "inverse": "bright", "estimator": "ratio",
    "discriminator": "critic", "metric": "metrics", "components": "pca", "cols": "columns", "features": "columns", "array": "key",
    "save-every": "records",
}  # fmt: skip
"""Other words for options."""
_PROCESSOR = (
    "the command line computes on the processor, with --threads; in Python pass tensors of the"
    " device"
)
# What is asked for elsewhere and is not here, and what there is.
NOT_HERE = {
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


def as_flags(message: str) -> str:
    """What a message of the library says of its arguments, said of the flags that set them."""
    message = re.sub(
        r"columns=\[([^]]*)\]",
        lambda names: "--columns " + names[1].replace("'", "").replace(", ", ","),
        message,
    )
    message = message.replace("columns=('x', 'y') or (0, 1)", "--columns x,y or 0,1").replace(
        "columns=", "--columns"
    )
    message = message.replace(
        "FromArray(array.T), or pass wide=True if each row is a point",
        "or take --pca if each row is a point",
    )
    message = message.replace(
        ": if it is a point, pass header=False", ": if it is a point, put a line of names above it"
    )
    message = message.replace("bright=True", "--bright").replace("bright=False", "--no-bright")
    return message.replace(", and a higher threshold= leaves grey out", "")
