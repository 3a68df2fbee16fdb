"""The equivariant tensor-product convolution: its definition and its implementations.

Installed as `fastequi.kernels`; the maths stands once, in README.md beside this file.
"""

if __name__ == "kernels":
    raise ImportError("import fastequi.kernels, not kernels")
