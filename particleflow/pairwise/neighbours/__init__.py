"""Sums over near pairs only, for kernels whose bandwidth is small against the cloud: the backend
`Culled`.

Read in this order:

- `reach`: the distance beyond which a kernel may be left out.
- `tiled`: points sorted in space into tiles, and batches of queries with the sources near them. The
  Fourier backend's near field uses it too.
- `box_tree`: the tree of boxes over the tiles, as loops in machine code.
- `search`: which tiles lie within reach of a block of queries.
- `batches`: how batches of queries are summed by the code of `exact.tiles`.
- `backend`: the sum itself, and what it promises.
"""
