"""Sum over all pairs, exactly up to rounding.

Read in this order:

- `dense`: plain torch, any device, any kernel. The reference for every other backend.
- `compiled`: the fast exact backend on the CPU. `ranges` shares its blocks of queries among
  threads. `tiles` writes the machine code, from the formulas that each kernel states.
- `keops`: the exact backend on CUDA. `keops_probe` keeps its failures away from the caller.
- `sorted`: exact sums on the line in O((N + Q) log N) operations.
- `fallback`: the fastest exact backend for a kernel and a device. It sums where the approximate
  backends cannot.
"""
