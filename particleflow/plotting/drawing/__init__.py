"""What pictures and films have in common on the paper.

In reading order: `labels` are classes of particles, `look` the options; `layers`, `marks` and
`shades` draw clouds, trails, arrows and colours; `panels` puts them into a panel that shows one run
at any step; `pictures` shows particles that are pictures; `sheets` has titles and the key to the
colours.
"""
