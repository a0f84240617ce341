"""The benchmark of the inner solver of KALE against goals.

`published` is the solver to beat, `rows` measures, `suite` has the goals and is the program.
"""
