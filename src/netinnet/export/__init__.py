"""Forms of a model that others read: ONNX graphs of several kinds, TFLite, a model card, a page."""
