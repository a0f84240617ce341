"""Sums on a particle mesh, d = 1, 2, 3, for smooth kernels: the backend `Mesh`, the fastest for
large clouds.

Weights are spread from the particles to the nodes of a regular grid, multiplied there by the
kernel's Fourier coefficients, and interpolated back. Read in this order:

- `window`: the weights of a particle on the nodes around it.
- `spacing`: the widest grid whose error keeps a promise. `pair_errors` and `nearby` sharpen that
  bound.
- `lattice`: where the grid lies, and the potential on it.
- `gridding`: particles to grid and back. `loops` and `stencil` write its machine code.
- `placed`: what is kept with a set of points.
- `sums`: the sum itself.
- `backend`: the contract.
- `logarithm`: the logarithm of a sum. `tails` sums what lies far below the peak.
"""
