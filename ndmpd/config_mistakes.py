"""Settings files: read, checked, and every mistake told in a line of its own with its key."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from ndmpd.config_parts import Mistakes, Origin, Part
from ndmpd.errors import ConfigError

P = TypeVar("P", bound=Part)


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a TOML file says. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{os.fspath(path)}: cannot be read ({error.strerror}); write it, see "
                          "conf/ndmpd.toml, or name another with --config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{os.fspath(path)}: is not TOML: {error}") from None


def checked(model: type[P], tables: Mapping[str, type[Part]], data: dict[str, Any], source: str, *,
            lenient: bool = False) -> P:
    """The settings in ``data``, which came from ``source``; ``tables``: what each of its tables is made of.

    Raises ConfigError. ``lenient`` as ``Origin`` has it.
    """
    try:
        return model.model_validate(data, context=Origin(lenient=lenient))
    except ValidationError as error:
        raise ConfigError("\n".join(f"{source}: {line}" for line in _lines(error, tables))) from None


def quoted(name: str) -> str:
    """A key as TOML writes it."""
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else f'"{name}"'


_TEXTS = {
    "missing": "is missing; write it",
    "bool_type": "must be true or false, without quotes",
    "bool_parsing": "must be true or false, without quotes",
    "int_type": "must be a whole number, without quotes",
    "int_parsing": "must be a whole number, without quotes",
    "string_type": "must be a text in quotes",
    "tuple_type": "must be an array, like [\"...\", \"...\"]",
    "mapping_type": "must be a table",
    "dict_type": "must be a table",
    "model_type": "must be a table",
}


def _lines(error: ValidationError, tables: Mapping[str, type[Part]]) -> Iterator[str]:
    """One line for each mistake that pydantic found, its key first."""
    for entry in error.errors(include_url=False, include_input=False):
        key = ""
        for part in entry["loc"]:
            if part != "[key]":
                key += f"[{part}]" if isinstance(part, int) else ("." if key else "") + quoted(part)
        kind = entry["type"]
        cause = entry.get("ctx", {}).get("error")
        if isinstance(cause, Mistakes):
            yield from (f"{key}{'.' if key else ''}{below}: {text}" for below, text in cause.found)
        elif kind == "extra_forbidden":
            table = tables.get(str(entry["loc"][0])) if len(entry["loc"]) > 1 else None
            known = sorted(set(table.model_fields) - {"secret", "target_secret"} if table else tables)
            yield f"{key}: is not known here; remove it or write one of: {', '.join(known)}"
        elif cause is not None:
            yield f"{key}: {cause}"
        else:
            yield f"{key}: {_TEXTS.get(kind) or entry['msg'].replace('Input should', 'must')}"
