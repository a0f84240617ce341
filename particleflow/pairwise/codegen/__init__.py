"""How a loop becomes machine code at run time. This room knows nothing of kernels, points or sums.

Read in this order:

- `processor`: LLVM's intermediate representation (IR) to a function that Python calls, for the
  processor at hand.
- `vector`: the processor's vectors as formulas, for inner loops that are written out by hand
  (`exact/tiles.py`, `mesh/stencil.py`).
- `types`: what the translated part of Python computes with.
- `scalar`: loops over arrays, written as plain Python functions (`neighbours/box_tree.py`,
  `neighbours/search.py`).
- `translation`, `expressions`: the statements and the expressions of these functions as IR.

All files but `types` need llvmlite when they are imported. Import them inside functions.
"""
