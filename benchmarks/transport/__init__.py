"""The benchmark of the W1 distance between batches: which points it rewards.

`rows` measures, `suite` is the program.
"""
