"""What netinnet is compared with, and netinnet (ours.py): modules that measure themselves.

`measure(**options)` does the work in its own process and answers in the contest's unit;
`multiply(n)` gives the seconds of one n³ float32 matrix product in the same library, which is the
machine's peak for it. The chapter's code is written as a reader would write it.
"""
