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
WITHOUT_SOURCE: dict[str, str] = {}
# Names of which no line can be shown: a window, a server.
WITHOUT_EXAMPLE: dict[str, str] = {}
# Names that take any argument.
NEVER_RAISES: dict[str, str] = {}

# Running, integrators, schedules and clouds.
WITHOUT_EQUATION |= {
    "particleflow.Checkpoint": "an option: where and how often",
    "particleflow.resume": "its run's steps have the equation",
    "particleflow.simulate_many": "its runs have the equation",
    "particleflow.record": "it records, and computes nothing",
    "particleflow.integrators.Optimiser": "a contract: each optimiser has its own step",
}
WITHOUT_COST |= {
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
}
WITHOUT_SOURCE |= {
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
    "particleflow.Arrived": "ours",
    "particleflow.integrators.suggested_dt": "ours: see Flow.suggest_dt",
    "particleflow.integrators.Optimiser": "a contract of ours",
    "particleflow.integrators.Periodic": "a torus needs none",
    "particleflow.clouds.FixedTarget": "an option of ours",
    "particleflow.clouds.Replay": "ours",
    "particleflow.clouds.Clock": "ours",
    "particleflow.clouds.Cloud": "a weighted sum of points needs none",
}
NEVER_RAISES |= {
    "particleflow.schedules.by_step": "it reads a number",
    "particleflow.schedules.by_time": "it reads a number",
    "particleflow.clouds.FixedTarget": "it holds what it is given",
    "particleflow.clouds.Clock": "it holds what it is given",
}
