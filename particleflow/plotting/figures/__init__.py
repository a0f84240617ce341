"""Figures for papers and talks.

`snapshots` draws runs as rows and moments as columns, `spacetime` a flow on a line; `charts` draws
the curves whose values `series` gathers and whose names `ends` places; `fields` draws the witness
and the velocity that `seen` evaluates.
"""
