"""Data sets, pictures, integrity, batch order and augmentation."""
