"""Wire formats: bytes to frozen values and back. Standard library and xdrlib3 only; no I/O, no policy."""
