"""How a kernel is made periodic, so that `mesh` and `fourier` can sum it over Fourier modes.

Read in this order:

- `split`: a kernel with a kink, as a smooth far part and a near part that ends at a radius.
- `modes`: the Fourier coefficients of a smooth kernel on a periodic box, and bounds of the error
  of a finite number of modes.

Source: Potts, Steidl and Nieslony (2004).
"""
