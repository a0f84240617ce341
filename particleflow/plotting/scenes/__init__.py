"""What a picture shows, and where: runs, steps, views and limits. Nothing here draws.

In reading order: `records` chooses runs and records, and writes files; `views` maps space to a
panel; `framing` finds the limits; `scene` holds it all. `density`, `known` and `floors` are what
lies beside the particles: densities of crowds and of targets, and floors of distances. `jumps`
tells which particles jumped, `pace`
spreads the frames of a film, `ticks` the numbers along an axis.
"""
