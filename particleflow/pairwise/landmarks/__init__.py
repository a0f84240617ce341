"""Sums over landmarks in the place of points, for smooth kernels in many dimensions: the backend
`Nystroem`.

Read in this order:

- `pivots`: points whose kernel functions nearly span those of all points.
- `projection`: a weighted cloud projected onto them, and what that loses, measured.
- `backend`: the contract.

Sources: Chen, Epperly, Tropp and Webber (2023); Epperly, Tropp and Webber (2024).
"""
