"""The flows beside each other on three tasks, and beside public numbers.

`methods` says which flows, `measure` makes one run, `tables` writes the tables, `published` repeats
public numbers, `suite` is the program.
"""
