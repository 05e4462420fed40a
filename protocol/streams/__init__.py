"""Framing of backup streams, and the on-disk forms of cartridges."""
