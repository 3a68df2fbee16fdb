"""The tensor-product convolution; `reference.py` is its definition."""
