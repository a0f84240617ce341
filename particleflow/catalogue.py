"""The names that the command line understands, with a line for each. Nothing is imported here:
`particleflow list` answers at once.
"""

FLOWS = {
    "mmd": "gradient flow of MMD^2/2; stalls where the clouds are several bandwidths apart",
    "mmd-noise": (
        "the same with noise injection: the force is felt at x + beta u, beta decaying to zero"
    ),
    "kale": "gradient flow of KALE, between MMD (large lam) and KL (small lam)",
    "mono": (
        "MonoFlow: climbs h(log ratio) of target and particles; --ratio estimates the ratio, h is"
        " the --mobility"
    ),
    "w1": "climbs a Kantorovich potential at unit speed: optimal transport's, or a WGAN's --critic",
    "langevin": "Langevin dynamics, for targets whose density is known: gaussian, four-gaussians",
}
TARGETS = {
    "rings": "three rings below each other (Glaser, Arbel and Gretton 2021)",
    "moons": "two half circles that reach into each other",
    "spiral": "two arms of a spiral",
    "checkerboard": "the dark squares of a 4 x 4 board",
    "swissroll": "the cross section of a Swiss roll",
    "four-gaussians": "four Gaussians at the corners of a square",
    "gaussian": "a standard Gaussian in the plane",
    "digits": "1797 handwritten digits (scikit-learn), in their first --pca principal components",
    "iris": "150 iris flowers (scikit-learn), in their first --pca principal components",
    "wine": "178 wines (scikit-learn), standardised, in their first --pca principal components",
}
TARGET_FILES = {
    "FILE.csv .tsv .txt": "one point a line, columns of numbers, at most one line of names",
    "FILE.npy .npz": (
        "an (M, d) array; --key chooses one of several in an .npz; of a trajectory.npz its last"
        " particles"
    ),
    "FILE.png .jpg": (
        "a picture: points spread over its dark pixels (--bright: over its bright ones)"
    ),
}
STARTS = {
    "auto": "a small Gaussian beside the target's mean, along its longest axis",
    "gaussian": "N(--start-mean, --start-std^2); what is left out is chosen as in auto",
    "a target's name": "points drawn from it: moons, digits, ...",
    "FILE.csv ...": (
        "points or a picture of your own, as for --target; of a trajectory.npz its last particles"
    ),
}
KERNELS = {
    "gaussian": "exp(-r^2 / (2 bandwidth^2))",
    "laplace": "exp(-r / bandwidth)",
    "matern32": "(1 + a) exp(-a), a = sqrt(3) r / bandwidth",
    "matern52": "(1 + a + a^2/3) exp(-a), a = sqrt(5) r / bandwidth",
    "imq": "inverse multiquadric (1 + r^2 / bandwidth^2)^(-1/2), with heavy tails",
    "cauchy": "1 / (1 + r^2 / bandwidth^2), the rational quadratic of exponent 1",
    "energy": "-r: MMD^2 becomes the energy distance; no bandwidth; mmd and mmd-noise only",
}
RATIOS = {
    "kde": "of two kernel density estimates",
    "kale": "KALE's regularised log ratio (--lam)",
    "ulsif": "least squares on kernels at target points, with a ridge",
    "rulsif": "the same for the ratio relative to a mixture of both, which is bounded",
    "kliep": "kernels at target points that maximise the likelihood",
    "logistic": "logistic regression on features of the kernel, with a ridge",
    "classifier": "a small network, trained as the classifier of a GAN, with a gradient penalty",
}
CRITICS = {
    "exact": "the potential of optimal transport between the clouds themselves",
    "clip": "a network whose weights are clipped: WGAN",
    "gp": "a network with a gradient penalty: WGAN-GP",
    "lipschitz": "a network of slope one at most by construction",
}
MOBILITIES = {
    "logit": "h(d) = d, d = log ratio: the flow of KL(particles || target)",
    "mle": "exp d: KL(target || particles)",
    "vanilla": "log(1 + exp(d + shift)): the vanilla GAN, Jensen-Shannon at --shift 0",
    "ns": "log sigmoid d: the non-saturating GAN",
    "arcsinh": "arcsinh d: tames large ratios",
    "chi2": "exp 2d: chi^2(target || particles)",
    "hellinger": "exp d/2: the squared Hellinger distance, twice",
}
INTEGRATORS = {
    "euler": "forward Euler, order 1, one fit a step",
    "heun": "Heun, order 2, two fits a step",
    "rk4": "Runge-Kutta, order 4, four fits a step",
    "euler-maruyama": "Euler with Brownian motion, for langevin",
}
METRICS = {
    "w2": "exact 2-Wasserstein distance (the root)",
    "w1": "exact 1-Wasserstein distance",
    "sliced": "sliced 2-Wasserstein distance (the root)",
    "mmd2": "squared MMD of the flows' kernel",
    "mmd": "MMD of the flows' kernel (the root)",
    "energy": "energy distance (squared)",
}
POINT_FILES = (".csv", ".tsv", ".txt", ".npy", ".npz")
PICTURES = (".png", ".jpg", ".jpeg")
