"""Reads the golden files: bytes written down field by field from the tables of the standard.

A section ``[title]`` holds bytes in hex; ``#`` begins a comment.
"""

from pathlib import Path

FOLDER = Path(__file__).parents[2] / "golden" / "scsi"


def read(name: str) -> dict[str, bytes]:
    """The sections of a file, by title."""
    text = (FOLDER / f"{name}.txt").read_text("ascii")
    sections = (section.partition("\n") for section in text.split("\n[")[1:])
    return {title.rstrip("]"): bytes.fromhex("".join(line.partition("#")[0] for line in body.splitlines()))
            for title, _, body in sections}
