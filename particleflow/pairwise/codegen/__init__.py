"""How a loop becomes machine code at run time. This room knows nothing of kernels, points or sums.

A loop is a Python function with the decorator `staged`: Python runs it once, on values that stand
for what is known when the code runs, and what it does is written down as LLVM's instructions.
Read in this order:

- `staging`: `@staged`, and what such a function may do.
- `values`, `arrays`: numbers and vectors in registers, arrays in memory.
- `entry`: from a function that writes code to one that Python calls.
- `control`: what stands in a staged function for if, while, for and return.
- `writer`: where the next instruction goes.
- `processor`: LLVM's instructions to machine code, for the processor at hand.
- `llvm`: the one door to llvmlite. Importing any file of this room does not import it.
"""
