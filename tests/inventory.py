"""What no docstring of the reference can tell, and why: an option has no equation, an idea of our
own no paper.

Each is the path of a name in the reference, and the reason. test_reference.py fails where an excuse
is not needed.
"""

# Names without a formula: what they do is no mathematics.
WITHOUT_EQUATION: dict[str, str] = {}
# Names whose cost is nothing beside a run.
WITHOUT_COST: dict[str, str] = {
<<<<<<< HEAD
    # flows and estimators
    "particleflow.flows.EnergySlope": "one multiplication",
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
=======
    # Kernels, pairwise sums, mobilities, divergences and losses.
    "particleflow.divergences.PiecewiseLinear": "a mark",
}
# Names that stand in no publication.
WITHOUT_SOURCE: dict[str, str] = {
    # Kernels, pairwise sums, mobilities, divergences and losses.
    "particleflow.kernels.as_kernel": "a check of ours",
    "particleflow.kernels.default_bandwidth": "ours",
    "particleflow.divergences.PiecewiseLinear": "a mark",
    "particleflow.pairwise.Auto": "ours",
    "particleflow.pairwise.Dense": "the sum as it is written",
    "particleflow.pairwise.Compiled": "the sum as it is written",
    "particleflow.pairwise.Culled": "ours",
>>>>>>> ref1
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
}
