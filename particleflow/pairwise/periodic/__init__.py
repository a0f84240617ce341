"""How a kernel is made periodic, for the Fourier coefficients that `mesh` and `fourier` sum by.

Read in this order:

- `split`: a kernel with a kink as a smooth far part and a near part that ends at a radius.
- `modes`: the Fourier coefficients of a smooth kernel on a periodic box, and what a finite number
  of them leaves out.

Source: Potts, Steidl and Nestler (2004).
"""
