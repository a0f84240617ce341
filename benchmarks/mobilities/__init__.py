"""Which rescalings of the density ratio reach the target.

`flows` has the problem and the flows, `suite` is the program.
"""
