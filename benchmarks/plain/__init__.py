"""The chapter's network and training step in each framework, as a reader would write it.

`speed(warmup, steps)` gives images/s at batch 128 and 224×224 pixels, loading and resizing
included; `multiply(n)` the seconds of one n³ matrix product.
"""

BATCH = 128
SIZE = 224
