"""Crashes on purpose: killed at the N-th file operation, out of space, and what a power cut leaves.

`shim.c` counts operations and lets them go wrong, `harness.py` runs commands under it, `disk.py`
says what of a log of operations is certain to be on the disk.
"""
