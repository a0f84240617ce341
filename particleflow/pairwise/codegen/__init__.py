"""Make machine code of a loop at run time. This room knows nothing of kernels, points or sums.

A loop is a Python function with the decorator `staged`. Python runs the function once, on values
that stand for numbers known when the code runs. The function's operations are written down as
LLVM's instructions.
Read in this order:

- `staging`: `@staged`, and the Python that such a function may use.
- `values`, `arrays`: numbers and vectors in registers, arrays in memory.
- `entry`: makes a function that Python calls from a function that writes code.
- `control`: stands for if, while, for and return in a staged function.
- `writer`: holds the place of the next instruction.
- `processor`: compiles LLVM's instructions for the processor at hand.
- `llvm`: the one door to llvmlite. Importing a file of this room does not import llvmlite.
"""
