"""What no docstring of the reference can tell, and why: an option has no equation, an idea of our
own no paper.

Each is the path of a name in the reference, and the reason. test_reference.py fails where an excuse
is not needed.
"""

# Names without a formula: what they do is no mathematics.
WITHOUT_EQUATION: dict[str, str] = {}
# Names whose cost is nothing beside a run.
WITHOUT_COST: dict[str, str] = {
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
}
# Names of which no line can be shown: a window, a server.
WITHOUT_EXAMPLE: dict[str, str] = {}
# Names that take any argument.
NEVER_RAISES: dict[str, str] = {
    # flows and estimators
    "particleflow.estimators.c_transform.CTransformWitness": "made by its estimator, of tensors that were checked",
    "particleflow.estimators.c_transform.SoftTransportWitness": "made by its estimator, of tensors that were checked",
}
