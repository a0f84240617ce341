"""Sums on a particle mesh for smooth kernels, d = 1, 2, 3: the backend `Mesh`, the fastest for
large clouds.

Weights are spread from the particles to the nodes of a regular grid, multiplied there by the
kernel's Fourier coefficients, and interpolated at the queries. Read in this order:

- `window`: the weights of a particle on the nodes around it.
- `pair_errors`: the error of a mesh for one pair of points.
- `spacing`: the plan, which is the widest grid whose error keeps a promise. `nearby`: a sharper
  bound of that error, by where the particles are.
- `lattice`: where the grid lies, and the potential on it.
- `gridding`: from particles to grid and back. `loops` and `stencil` write its compiled code.
- `placed`: what is kept with a set of points.
- `records`, `sums`: the sum itself.
- `backend`: the contract.
- `logarithm`: the logarithm of a sum. `tails`: the sums far below the peak, which it needs.

Source: Hockney and Eastwood, Computer Simulation Using Particles (1988).
"""
