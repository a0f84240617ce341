"""Sums by non-uniform Fourier transforms, d = 1, 2, 3, for any bandwidth, to any accuracy of
float64: the backend `Fourier`.

A kernel that is smooth on a periodic box is a sum over modes (`periodic/modes.py`). A kernel with a
kink is first split into a smooth far part and a near part that ends at a radius
(`periodic/split.py`). Read in this order:

- `nufft`: transforms between scattered points and modes, by finufft.
- `farfield`: how many modes a kernel needs, and bounds of the errors.
- `nearfield`: the near part, in compiled code.
- `route`: by which of these a given set of points is summed.
- `spectral`: the sum itself.
- `backend`: the contract.

Sources: Barnett, Magland and af Klinteberg (2019) for the transforms; Potts, Steidl and Nieslony
(2004) for periodic kernels.
"""
