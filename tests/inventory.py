"""What no docstring of the reference can tell, and why: an option has no equation, an idea of our
own no paper.

Each is the path of a name in the reference, and the reason. test_reference.py fails where an excuse
is not needed.
"""

# Names without a formula: what they do is no mathematics.
WITHOUT_EQUATION: dict[str, str] = {
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
    # samplers, metrics, studies, pictures, checks of parts, scikit-learn
    "particleflow.metrics.label_of": "it reads a label",
    "particleflow.study.Range": "nothing beside a run",
    "particleflow.study.Choice": "nothing beside a run",
    "particleflow.study.Setup": "nothing beside a run",
    "particleflow.study.Contender": "nothing beside a run",
}
# Names that stand in no publication.
WITHOUT_SOURCE: dict[str, str] = {
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
WITHOUT_EXAMPLE: dict[str, str] = {}
# Names that take any argument.
NEVER_RAISES: dict[str, str] = {
    # samplers, metrics, studies, pictures, checks of parts, scikit-learn
    "particleflow.metrics.label_of": "the clouds of a run have been checked",
    "particleflow.study.Setup": "it is checked when a study builds its contenders",
}
