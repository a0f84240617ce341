"""What no docstring of the reference can tell, and why: an option has no equation, an idea of our
own no paper.

Each is the path of a name in the reference, and the reason. test_reference.py fails where an excuse
is not needed.
"""

# Names without a formula: what they do is no mathematics.
WITHOUT_EQUATION: dict[str, str] = {
    # samplers, metrics, studies, pictures, checks of parts, scikit-learn
    "particleflow.metrics.label_of": "it reads a label",
}
# Names whose cost is nothing beside a run.
WITHOUT_COST: dict[str, str] = {
    # samplers, metrics, studies, pictures, checks of parts, scikit-learn
    "particleflow.metrics.label_of": "it reads a label",
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
}
# Names of which no line can be shown: a window, a server.
WITHOUT_EXAMPLE: dict[str, str] = {}
# Names that take any argument.
NEVER_RAISES: dict[str, str] = {
    # samplers, metrics, studies, pictures, checks of parts, scikit-learn
    "particleflow.metrics.label_of": "the clouds of a run have been checked",
}
