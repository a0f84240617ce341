"""The comparison of the contenders on the tasks, published runs, and mass between far modes.

`suite` is the program, `tables` writes what a study found, `published` repeats published runs, and
`modes` is the study of two modes that are far apart.
"""
