"""Sum over landmarks instead of points, for smooth kernels in many dimensions (`Nystroem`).

Read in this order:

- `pivots`: points whose kernel functions nearly span those of all points.
- `projection`: the projection of a weighted cloud onto landmarks, and its measured error.
- `backend`: the backend `Nystroem`.

Sources: Chen, Epperly, Tropp and Webber (2023); Epperly, Tropp and Webber (2024).
"""
