"""The comparison of the flows on three tasks, and with published numbers.

`methods` has the flows, `measure` makes one run, `tables` writes the tables, `published` repeats
published numbers, `suite` is the program.
"""
