"""What no docstring of the reference can tell, and why: an option has no equation, an idea of our
own no paper.

Each is the path of a name in the reference, and the reason. test_reference.py fails where an excuse
is not needed.
"""

# Names without a formula: what they do is no mathematics.
WITHOUT_EQUATION: dict[str, str] = {
    "particleflow.Checkpoint": "an option: where and how often",
    "particleflow.resume": "its run's steps have the equation",
    "particleflow.simulate_many": "its runs have the equation",
    "particleflow.record": "it records, and computes nothing",
    "particleflow.integrators.Optimiser": "a contract: each optimiser has its own step",
    # samplers, metrics, studies, pictures, checks of parts, scikit-learn
    "particleflow.metrics.label_of": "it reads a label",
    "particleflow.study.Task": "a part of a comparison, no mathematics",
    "particleflow.study.Setup": "a part of a comparison, no mathematics",
    "particleflow.study.Contender": "a part of a comparison, no mathematics",
    "particleflow.plotting.snapshots": "a picture of a run",
    "particleflow.plotting.curves": "a picture of a run",
    "particleflow.plotting.animate": "a picture of a run",
    "particleflow.plotting.film": "a picture of a run",
    "particleflow.plotting.player": "a picture of a run",
}
# Names whose cost is nothing beside a run.
WITHOUT_COST: dict[str, str] = {
    # flows and estimators
    "particleflow.flows.EnergySlope": "one multiplication",
    # Kernels, pairwise sums, mobilities, divergences and losses.
    "particleflow.divergences.PiecewiseLinear": "a mark",
    "particleflow.schedules.by_step": "a number or two at each step",
    "particleflow.schedules.by_time": "a number or two at each step",
    "particleflow.schedules.Constant": "a number or two at each step",
    "particleflow.schedules.Power": "a number or two at each step",
    "particleflow.schedules.Geometric": "a number or two at each step",
    "particleflow.schedules.GeometricBetween": "a number or two at each step",
    "particleflow.schedules.Cosine": "a number or two at each step",
    "particleflow.schedules.Piecewise": "a number or two at each step",
    "particleflow.schedules.Decreasing": "a number or two at each step",
    "particleflow.integrators.Optimiser": "a contract: each optimiser has its own",
    "particleflow.clouds.FixedTarget": "none: it holds a cloud",
    "particleflow.clouds.Clock": "none: it holds three values",
    # samplers, metrics, studies, pictures, checks of parts, scikit-learn
    "particleflow.metrics.label_of": "it reads a label",
    "particleflow.study.Range": "nothing beside a run",
    "particleflow.study.Choice": "nothing beside a run",
    "particleflow.study.Setup": "nothing beside a run",
    "particleflow.study.Contender": "nothing beside a run",
}
# Names that stand in no publication.
WITHOUT_SOURCE: dict[str, str] = {
    # flows and estimators
    "particleflow.flows.EnergySlope": "ours: the factor of an energy",
    "particleflow.estimators.FieldWitness": "a weighted sum of kernels",
    "particleflow.estimators.Moments": "the moments of a sample",
    "particleflow.estimators.Stragglers": "ours",
    "particleflow.estimators.Labelled": "ours",
    "particleflow.Arrived": "ours",
    "particleflow.adaptive.SignalNoise": "ours",
    "particleflow.adaptive.TargetSignal": "ours",
    "particleflow.adaptive.signal.signal": "ours",
    "particleflow.adaptive.signal.strongest": "ours",
    "particleflow.labelled": "ours",
    "particleflow.renewals.Rebirth": "ours",
    "particleflow.stragglers": "ours",
    # Kernels, pairwise sums, mobilities, divergences and losses.
    "particleflow.kernels.as_kernel": "a check of ours",
    "particleflow.kernels.default_bandwidth": "ours",
    "particleflow.divergences.PiecewiseLinear": "a mark",
    "particleflow.pairwise.Auto": "ours",
    "particleflow.pairwise.Dense": "the sum as it is written",
    "particleflow.pairwise.Compiled": "the sum as it is written",
    "particleflow.pairwise.Culled": "ours",
    "particleflow.schedules.by_step": "the step itself",
    "particleflow.schedules.by_time": "the time itself",
    "particleflow.schedules.Constant": "a formula of no author",
    "particleflow.schedules.Power": "a formula of no author",
    "particleflow.schedules.Geometric": "a formula of no author",
    "particleflow.schedules.GeometricBetween": "a formula of no author",
    "particleflow.schedules.Piecewise": "a formula of no author",
    "particleflow.SaveAt": "an option of ours",
    "particleflow.Checkpoint": "an option of ours",
    "particleflow.resume": "ours",
    "particleflow.simulate_many": "ours",
    "particleflow.record": "ours",
    "particleflow.AtRest": "ours",
    "particleflow.EnergyBelow": "ours",
    "particleflow.NoProgress": "ours",
    "particleflow.integrators.suggested_dt": "ours: see Flow.suggest_dt",
    "particleflow.integrators.Optimiser": "a contract of ours",
    "particleflow.integrators.Periodic": "a torus needs none",
    "particleflow.clouds.FixedTarget": "an option of ours",
    "particleflow.clouds.Replay": "ours",
    "particleflow.clouds.Clock": "ours",
    "particleflow.clouds.Cloud": "a weighted sum of points needs none",
    # samplers, metrics, studies, pictures, checks of parts, scikit-learn
    "particleflow.metrics.label_of": "it reads a label",
    "particleflow.metrics.floor": "ours",
    "particleflow.samplers.Gaussian": "elementary",
    "particleflow.samplers.Mixture": "elementary",
    "particleflow.samplers.Spiral": "a shape of our own",
    "particleflow.samplers.Checkerboard": "a shape in common use",
    "particleflow.samplers.FromArray": "it hands on points",
    "particleflow.samplers.FromFile": "it hands on points",
    "particleflow.samplers.Minibatch": "it hands on points",
    "particleflow.samplers.FromImage": "ours",
    "particleflow.study.Task": "ours",
    "particleflow.study.Range": "ours",
    "particleflow.study.Choice": "ours",
    "particleflow.study.Setup": "ours",
    "particleflow.study.Contender": "ours",
    "particleflow.testing.check_backend": "ours: clauses of the package's contract",
    "particleflow.testing.check_estimator": "ours: clauses of the package's contract",
    "particleflow.testing.check_integrator": "ours: clauses of the package's contract",
    "particleflow.testing.check_kernel": "ours: clauses of the package's contract",
    "particleflow.testing.check_mobility": "ours: clauses of the package's contract",
    "particleflow.testing.check_sampler": "ours: clauses of the package's contract",
    "particleflow.plotting.snapshots": "ours",
    "particleflow.plotting.curves": "ours",
    "particleflow.plotting.field": "ours",
    "particleflow.plotting.animate": "ours",
    "particleflow.plotting.film": "ours",
    "particleflow.plotting.player": "ours",
}
# Names of which no line can be shown: a window, a server.
WITHOUT_EXAMPLE: dict[str, str] = {
    # Kernels, pairwise sums, mobilities, divergences and losses.
    "particleflow.pairwise.KeOps": "its first sum compiles for 10 s",
}
# Names that take any argument.
NEVER_RAISES: dict[str, str] = {
    # flows and estimators
    "particleflow.adaptive.signal.signal": "a part of rules, which check",
    "particleflow.adaptive.signal.strongest": "a part of rules, which check",
    "particleflow.estimators.c_transform.CTransformWitness": "made of checked tensors",
    "particleflow.estimators.c_transform.SoftTransportWitness": "made of checked tensors",
    "particleflow.schedules.by_step": "it reads a number",
    "particleflow.schedules.by_time": "it reads a number",
    "particleflow.clouds.FixedTarget": "it holds what it is given",
    "particleflow.clouds.Clock": "it holds what it is given",
    # samplers, metrics, studies, pictures, checks of parts, scikit-learn
    "particleflow.metrics.label_of": "the clouds of a run have been checked",
    "particleflow.study.Setup": "it is checked when a study builds its contenders",
}
