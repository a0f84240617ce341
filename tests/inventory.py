"""What no docstring of the reference can tell, and why: an option has no equation, an idea of our
own no paper.

Each is the path of a name in the reference, and the reason. test_reference.py fails where an excuse
is not needed.
"""

# Names without a formula: what they do is no mathematics.
WITHOUT_EQUATION: dict[str, str] = {}
# Names whose cost is nothing beside a run.
WITHOUT_COST: dict[str, str] = {}
# Names that stand in no publication.
WITHOUT_SOURCE: dict[str, str] = {
    # Kernels, pairwise sums, mobilities, divergences and losses.
    "particleflow.kernels.as_kernel": "a check of ours",
    "particleflow.kernels.default_bandwidth": "ours",
}
# Names of which no line can be shown: a window, a server.
WITHOUT_EXAMPLE: dict[str, str] = {}
# Names that take any argument.
NEVER_RAISES: dict[str, str] = {}
