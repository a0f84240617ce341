"""What no docstring of the reference can tell, and why: an option has no equation, an idea of our
own no paper.

Each is the path of a name in the reference, and the reason. test_reference.py fails where an excuse
is not needed.
"""

# Names without a formula: what they do is no mathematics.
WITHOUT_EQUATION: dict[str, str] = {}
# Names whose cost is nothing beside a run.
WITHOUT_COST: dict[str, str] = {
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
}
# Names of which no line can be shown: a window, a server.
WITHOUT_EXAMPLE: dict[str, str] = {
    # Kernels, pairwise sums, mobilities, divergences and losses.
    "particleflow.pairwise.KeOps": "its first sum compiles for 10 s",
}
# Names that take any argument.
NEVER_RAISES: dict[str, str] = {}
