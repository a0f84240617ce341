"""The speed of sums over pairs, and of films, beside goals.

`problem` is the step that is timed. `rows` times single backends, `process` what concerns a whole
process, `grid` the choice of `Auto`. `keops_baseline` is what they are compared with, and
`promise_problems` holds promises against exact sums. `films` makes films. `goals` lists all rows,
`suite` runs them.
"""
