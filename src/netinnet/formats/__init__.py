"""Weights in other frameworks' own files: PyTorch, Flax, Keras, MXNet. Nothing is unpickled."""
