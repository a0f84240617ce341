"""Runs with a checkpoint: what survives a kill, and what it costs.

`kills` (real processes, killed at random), `size` (time and memory of large runs), `suite` (the
table).
"""
