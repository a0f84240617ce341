"""The names of the parts of flows and of metrics, a record for each."""

from __future__ import annotations

from particleflow.cli.records import Kernel, Metric, Record, table

# The most points for exact transport: its memory grows with their square.
EXACT_AT_MOST = 5000

# The options of a kernel that has a bandwidth.
SCALED = ("bandwidth", "anneal", "start_bandwidth")

KERNELS = table(
    Kernel(
        name="gaussian",
        line="exp(-r^2 / (2 bandwidth^2))",
        where="particleflow.kernels:Gaussian",
        arguments=("bandwidth",),
        options=SCALED,
    ),
    Kernel(
        name="laplace",
        line="exp(-r / bandwidth)",
        where="particleflow.kernels:Laplace",
        arguments=("bandwidth",),
        options=SCALED,
    ),
    Kernel(
        name="matern32",
        line="(1 + a) exp(-a), a = sqrt(3) r / bandwidth",
        where="particleflow.kernels:Matern32",
        arguments=("bandwidth",),
        options=SCALED,
    ),
    Kernel(
        name="matern52",
        line="(1 + a + a^2/3) exp(-a), a = sqrt(5) r / bandwidth",
        where="particleflow.kernels:Matern52",
        arguments=("bandwidth",),
        options=SCALED,
    ),
    Kernel(
        name="imq",
        line="inverse multiquadric (1 + r^2 / bandwidth^2)^(-1/2), with heavy tails",
        where="particleflow.kernels:IMQ",
        arguments=("bandwidth",),
        options=SCALED,
    ),
    Kernel(
        name="cauchy",
        line="1 / (1 + r^2 / bandwidth^2), the rational quadratic of exponent 1",
        where="particleflow.kernels:Cauchy",
        arguments=("bandwidth",),
        options=SCALED,
    ),
    Kernel(
        name="energy",
        line="-r: MMD^2 becomes the energy distance; no bandwidth; mmd and mmd-noise only",
        where="particleflow.kernels:Energy",
        positive=False,
    ),
)
RATIOS = table(
    Record(
        name="kde",
        line="of two kernel density estimates",
        where="particleflow.estimators:KDE",
        arguments=("kernel", "pairwise"),
        options=("rtol", "kernel"),
    ),
    Record(
        name="kale",
        line="KALE's regularised log ratio (--lam)",
        where="particleflow.estimators:KALE",
        arguments=("kernel", "lam", "pairwise"),
        options=("rtol", "lam", "kernel"),
        defaults={"rtol": 1e-10},
    ),
    Record(
        name="ulsif",
        line="least squares on kernels at target points, with a ridge",
        where="particleflow.estimators:ULSIF",
        arguments=("kernel", "pairwise"),
        options=("rtol", "kernel"),
    ),
    Record(
        name="rulsif",
        line="the same for the ratio relative to a mixture of both, which is bounded",
        where="particleflow.estimators:RuLSIF",
        arguments=("kernel", "pairwise"),
        options=("rtol", "kernel"),
    ),
    Record(
        name="kliep",
        line="kernels at target points that maximise the likelihood",
        where="particleflow.estimators:KLIEP",
        arguments=("kernel", "pairwise"),
        options=("rtol", "kernel"),
    ),
    Record(
        name="logistic",
        line="logistic regression on features of the kernel, with a ridge",
        where="particleflow.estimators:KernelLogistic",
        arguments=("kernel",),
        options=("kernel",),
    ),
    Record(
        name="classifier",
        line="a small network, trained as the classifier of a GAN, with a gradient penalty",
        where="particleflow.estimators:Classifier",
        arguments=("first_steps",),
        # enough to keep a network from memorising the points of each cloud
        fixed={"gradient_penalty": 0.1},
        options=("first_steps",),
    ),
)
CRITICS = table(
    Record(
        name="exact",
        line="the potential of optimal transport between the clouds themselves",
        where="particleflow.estimators:CTransformCritic",
    ),
    Record(
        name="clip",
        line="a network whose weights are clipped: WGAN",
        where="particleflow.estimators:WeightClippingCritic",
        arguments=("first_steps",),
        options=("first_steps",),
    ),
    Record(
        name="gp",
        line="a network with a gradient penalty: WGAN-GP",
        where="particleflow.estimators:GradientPenaltyCritic",
        arguments=("first_steps",),
        options=("first_steps",),
    ),
    Record(
        name="lipschitz",
        line="a network of slope one at most by construction",
        where="particleflow.estimators:LipschitzCritic",
        arguments=("first_steps",),
        options=("first_steps",),
    ),
    Record(
        name="c-transform",
        line="a network at the target, with its c-transform at the particles",
        where="particleflow.estimators:TrainedCTransformCritic",
        arguments=("first_steps",),
        options=("first_steps",),
    ),
)
STRAGGLERS = table(
    Record(name="none", line="nobody looks for them"),
    Record(
        name="told",
        line="counted; the run is the same",
        where="particleflow.moves:stragglers",
        arguments=("flow", "beyond"),
        options=("beyond",),
    ),
    Record(
        name="pulled",
        line="they move as in the MMD flow of the energy kernel, which reaches everywhere",
        where="particleflow.moves:stragglers",
        arguments=("flow", "beyond", "pull"),
        options=("beyond",),
    ),
    Record(
        name="reborn",
        line="placed at other particles after each step",
        where="particleflow.moves:stragglers",
        arguments=("flow", "beyond"),
        fixed={"reborn": True},
        options=("beyond",),
    ),
)
MOBILITIES = table(
    Record(
        name="logit",
        line="h(d) = d, d = log ratio: the flow of KL(particles || target)",
        where="particleflow.mobilities:Unit",
    ),
    Record(
        name="mle",
        line="exp d: KL(target || particles)",
        where="particleflow.mobilities:Exponential",
    ),
    Record(
        name="vanilla",
        line="log(1 + exp(d + shift)): the vanilla GAN, Jensen-Shannon at --shift 0",
        where="particleflow.mobilities:Vanilla",
        arguments=("shift",),
        options=("shift",),
    ),
    Record(
        name="ns",
        line="log sigmoid d: the non-saturating GAN",
        where="particleflow.mobilities:NonSaturating",
    ),
    Record(
        name="arcsinh",
        line="arcsinh d: tames large ratios",
        where="particleflow.mobilities:Arcsinh",
    ),
    Record(
        name="chi2",
        line="exp 2d: chi^2(target || particles)",
        where="particleflow.mobilities:Exponential",
        fixed={"alpha": 2.0},
    ),
    Record(
        name="hellinger",
        line="exp d/2: the squared Hellinger distance, twice",
        where="particleflow.mobilities:Exponential",
        fixed={"alpha": 0.5},
    ),
)
INTEGRATORS = table(
    Record(
        name="paced",
        line="Euler with steps as long as the change of the velocity allows; --dt is the first",
        where="particleflow.integrators:Paced",
    ),
    Record(
        name="euler",
        line="forward Euler, order 1, one fit a step",
        where="particleflow.integrators:Euler",
    ),
    Record(
        name="heun",
        line="Heun, order 2, two fits a step",
        where="particleflow.integrators:Heun",
    ),
    Record(
        name="rk4",
        line="Runge-Kutta, order 4, four fits a step",
        where="particleflow.integrators:RK4",
    ),
    Record(
        name="bogacki-shampine",
        line="Bogacki and Shampine, order 3, three fits a step",
        where="particleflow.integrators:BogackiShampine",
    ),
    Record(
        name="dormand-prince",
        line="Dormand and Prince, order 5, six fits a step",
        where="particleflow.integrators:DormandPrince",
    ),
    Record(
        name="adaptive",
        line="the same, steps as long as a relative error of 1e-3 allows",
        where="particleflow.integrators:Adaptive",
    ),
    Record(
        name="descent",
        line="steps as long as the energy falls; for mmd and kale: the fewest steps",
        where="particleflow.integrators:Descent",
    ),
    Record(
        name="momentum",
        line="heavy ball of decay 0.9: an optimiser, no flow",
        where="particleflow.integrators:Momentum",
    ),
    Record(
        name="adam",
        line="Adam, dt is a length: an optimiser, no flow",
        where="particleflow.integrators:Adam",
    ),
    Record(
        name="euler-maruyama",
        line="Euler with Brownian motion, for langevin",
        where="particleflow.integrators:EulerMaruyama",
    ),
)
RECORDED = table(
    Record(name="velocity", line="each particle's velocity: arrows in the player"),
    Record(name="witness", line="on a grid, in d = 1 or 2: a heat map in the player"),
)
METRICS = table(
    Metric(
        name="w2",
        line="exact 2-Wasserstein distance (the root)",
        where="particleflow.metrics:W2",
        fixed={"max_points": EXACT_AT_MOST},
        label="W2",
    ),
    Metric(
        name="w1",
        line="exact 1-Wasserstein distance",
        where="particleflow.metrics:W1",
        fixed={"max_points": EXACT_AT_MOST},
        label="W1",
    ),
    Metric(
        name="sliced",
        line="sliced 2-Wasserstein distance (the root)",
        where="particleflow.metrics:SlicedW2",
        arguments=("projections",),
        label="sliced W2",
    ),
    Metric(
        name="mmd2",
        line="squared MMD of the flows' kernel",
        where="particleflow.metrics:MMD2",
        arguments=("kernel",),
        label="MMD^2",
    ),
    Metric(
        name="mmd",
        line="MMD of the flows' kernel (the root)",
        where="particleflow.metrics:MMD",
        arguments=("kernel",),
        label="MMD",
    ),
    Metric(
        name="energy",
        line="energy distance (squared)",
        where="particleflow.metrics:EnergyDistance",
        label="energy distance",
    ),
)
# The kinds of films, and none; a film's file ends in the name.
FILMS = table(
    Record(name="gif", line="a film that plays everywhere"),
    Record(
        name="mp4",
        line="a film several times smaller; needs pip install particleflow-sim[film]",
    ),
    Record(name="none", line="no film, which saves some seconds"),
)
