"""The names of flows, targets and starts, a record for each; `parts` has the other names.

A new flow on the command line is a new record in `FLOWS`. An option that no other flow has is also
a new record in `options`.
"""

from __future__ import annotations

from particleflow.cli.records import Flow, Record, Target, table

# The flows that the command `compare` runs by default.
COMPARED = ("auto", "mmd", "mmd-noise", "kale", "mono")
# Endings of files of points.
POINT_FILES = (".csv", ".tsv", ".txt", ".npy", ".npz")
# Endings of pictures.
PICTURES = (".png", ".jpg", ".jpeg")

# The options of a flow that may take a kernel whose bandwidth falls.
ANNEALED = ("kernel", "bandwidth", "anneal", "start_bandwidth")
# The options of every flow with a target's points: masses that change, and stragglers.
MOVES = ("birth_death", "resample", "stragglers", "beyond")

FLOWS = table(
    Flow(
        name="auto",
        line="recommended: MMD flow with a kernel of heavy tail, which reaches outliers; its"
        " bandwidth falls from the size of both clouds",
        where="particleflow.flows:mmd_flow",
        arguments=("kernel", "bandwidth", "pairwise"),
        options=("rtol", *ANNEALED, *MOVES),
        defaults={"kernel": "imq"},
    ),
    Flow(
        name="mmd",
        line="gradient flow of MMD^2/2; with --anneal 0 it stalls where the clouds are several"
        " bandwidths apart",
        where="particleflow.flows:mmd_flow",
        arguments=("kernel", "bandwidth", "pairwise"),
        options=("rtol", *ANNEALED, *MOVES),
    ),
    Flow(
        name="mmd-noise",
        line="mmd with --anneal 0 and noise injection: the force is felt at x + beta u, beta"
        " decaying to zero",
        where="particleflow.flows:mmd_flow",
        arguments=("kernel", "noise", "pairwise"),
        options=("rtol", "beta", "beta_half", "kernel", "bandwidth", *MOVES),
    ),
    Flow(
        name="kale",
        line="gradient flow of KALE, between MMD (large lam) and KL (small lam)",
        where="particleflow.flows:kale_flow",
        arguments=("kernel", "lam", "bandwidth", "pairwise"),
        options=("rtol", "lam", *ANNEALED, *MOVES),
        # KALE solves for its witness with these sums, to a smaller tolerance
        defaults={"rtol": 1e-10},
        positive=True,
    ),
    Flow(
        name="mono",
        line="MonoFlow: climbs h(log ratio) of target and particles; --ratio estimates the ratio,"
        " h is the --mobility",
        where="particleflow.flows:mono_flow",
        arguments=("estimator", "mobility"),
        options=("rtol", "ratio", "mobility", "shift", "lam", "first_steps", *ANNEALED, *MOVES),
        positive=True,
    ),
    Flow(
        name="w1",
        line="climbs a Kantorovich potential at unit speed: optimal transport's, or a WGAN's"
        " --critic",
        where="particleflow.flows:wgan_flow",
        arguments=("critic",),
        options=("critic", "first_steps", *MOVES),
    ),
    Flow(
        name="ift",
        line="mmd with --anneal 0, whose masses change too: interaction-force transport",
        where="particleflow.moves:ift_flow",
        arguments=("kernel", "rate", "pairwise", "resample"),
        options=("rtol", "kernel", "bandwidth", *MOVES),
        defaults={"birth_death": 1.0},
        positive=True,
    ),
    Flow(
        name="langevin",
        line="Langevin dynamics, for targets whose density is known: gaussian, four-gaussians",
        where="particleflow.flows:langevin",
        arguments=("target", "temperature"),
        options=("temperature",),
        defaults={"integrator": "euler-maruyama"},
        brownian=True,
    ),
)
TARGETS = table(
    Target(
        name="rings",
        line="three rings below each other (Glaser, Arbel and Gretton 2021)",
        where="particleflow.samplers:Rings",
    ),
    Target(
        name="moons",
        line="two half circles that reach into each other",
        where="particleflow.samplers:Moons",
    ),
    Target(name="spiral", line="two arms of a spiral", where="particleflow.samplers:Spiral"),
    Target(
        name="checkerboard",
        line="the dark squares of a 4 x 4 board",
        where="particleflow.samplers:Checkerboard",
    ),
    Target(
        name="swissroll",
        line="the cross section of a Swiss roll",
        where="particleflow.samplers:SwissRoll",
    ),
    Target(
        name="four-gaussians",
        line="four Gaussians at the corners of a square",
        where="particleflow.samplers:Mixture.four_gaussians",
        density=True,
    ),
    Target(
        name="gaussian",
        line="a standard Gaussian in the plane",
        where="particleflow.samplers:Gaussian",
        fixed={"dim": 2},
        density=True,
    ),
    Target(
        name="digits",
        line="1797 handwritten digits (scikit-learn), in their first --pca principal components",
        where="particleflow.samplers:Digits",
        arguments=("pca",),
        defaults={"pca": 2},
    ),
    Target(
        name="iris",
        line="150 iris flowers (scikit-learn), in their first --pca principal components",
        where="particleflow.samplers:Iris",
        arguments=("pca",),
        defaults={"pca": 2},
    ),
    Target(
        name="wine",
        line="178 wines (scikit-learn), standardised, in their first --pca principal components",
        where="particleflow.samplers:Wine",
        arguments=("pca",),
        defaults={"pca": 2},
    ),
)
# The files that a target may be, for the list of names.
TARGET_FILES = table(
    Record(
        name="FILE.csv .tsv .txt",
        line="one point a line, columns of numbers, at most one line of names",
    ),
    Record(
        name="FILE.npy .npz",
        line="an (M, d) array; --key chooses one of several in an .npz; of a trajectory.npz its"
        " last particles",
    ),
    Record(
        name="FILE.png .jpg",
        line="a picture: points spread over its dark pixels (--bright: over its bright ones)",
    ),
)
# The starts besides targets, with two lines for the list of names.
STARTS = table(
    Record(name="auto", line="a small Gaussian beside the target's mean, along its longest axis"),
    Record(
        name="gaussian",
        line="N(--start-mean, --start-std^2); what is left out is chosen as in auto",
    ),
    Record(name="a target's name", line="points drawn from it: moons, digits, ..."),
    Record(
        name="FILE.csv ...",
        line="points or a picture of your own, as for --target; of a trajectory.npz its last"
        " particles",
    ),
)
