"""The backend `Culled` sums over near pairs only.

It serves kernels whose bandwidth is small against the cloud.

Read in this order:

- `reach`: the distance beyond which a kernel is left out.
- `tiled`: points sorted in space into tiles, and batches of queries with the sources near them. The
  Fourier backend's near field uses it too.
- `box_tree`: the tree of boxes over the tiles, as loops in machine code.
- `search`: which tiles lie within reach of a block of queries.
- `batches`: a batch, and the facts of a kernel, as compiled code takes them.
- `backend`: the sum and its promise.
"""
