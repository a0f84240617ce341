"""The benchmark of rescalings of the density ratio: which of them reach the target.

`flows` has the problem and the flows, `suite` is the program.
"""
