"""Planning of server-free copies: which EXTENDED COPY commands carry a range of a stream, and what became of
them. Pure: values in, values out.
"""

from __future__ import annotations
