"""What the W1 distance between batches rewards.

`rows` measures, `suite` is the program.
"""
