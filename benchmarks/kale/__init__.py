"""The inner solver of KALE beside goals.

`published` is the solver to beat, `rows` measures, `suite` has the goals and is the program.
"""
