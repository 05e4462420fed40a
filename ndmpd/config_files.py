"""Files and folders that the configuration names: what may be read, and what lies inside what."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

log = logging.getLogger(__name__)

_SECRET_LIMIT = 4096


def absolute(value: Any) -> Path:
    """An absolute path without ``..``."""
    if not isinstance(value, str | os.PathLike):
        raise ValueError(f"is {value!r}; write a path in quotes")
    path = Path(value)
    if not path.is_absolute() or ".." in path.parts or "\0" in str(path):
        raise ValueError(f"{str(path)!r} is not an absolute path; write one that begins with / and has no "
                         "'..'")
    return path


def open_private(path: Path, *, lenient: bool = False) -> int:
    """Open a file that only its owner may read; returns the descriptor. Raises ValueError with what to do.

    ``lenient`` also takes a pipe, and with a warning one that others may read.
    """
    try:
        # Without O_NONBLOCK, opening a pipe nobody writes to would hang the server for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if lenient else os.O_NONBLOCK))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    status = os.fstat(descriptor)
    problem = None
    if lenient:
        if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
            log.warning("%s may be read by others than its owner; run: chmod 600 %s", path, path)
    else:
        if not stat.S_ISREG(status.st_mode):
            problem = f"{path} is not a regular file"
        elif status.st_mode & 0o077:
            problem = (f"{path} may be read by others than its owner (mode {status.st_mode & 0o7777:04o}); "
                       f"run: chmod 600 {path}")
        elif status.st_uid not in (0, os.geteuid()):
            problem = (f"{path} belongs to user {status.st_uid}, neither to root nor to the user the server "
                       "runs as; change its owner")
    if problem is not None:
        os.close(descriptor)
        raise ValueError(problem)
    return descriptor


def read_private(path: Path, *, lenient: bool = False) -> str:
    """The first line of a private file."""
    with os.fdopen(open_private(path, lenient=lenient), "rb") as file:
        first = file.readline(_SECRET_LIMIT)
    try:
        return first.rstrip(b"\r\n").decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} does not hold UTF-8 text") from None


def _private(path: Path) -> Path:
    os.close(open_private(path))
    return path


PrivateFile = Annotated[Path, BeforeValidator(absolute), AfterValidator(_private)]


def same_tree(one: Path, other: Path) -> bool:
    """Whether one of two folders lies in the other, or is it: through symbolic links and bind mounts as well.

    A folder that is not there yet counts as lying in its nearest parent that is.
    """
    return _holds(one, other) or _holds(other, one)


def _holds(outer: Path, inner: Path) -> bool:
    real_outer, real_inner = os.path.realpath(outer), os.path.realpath(inner)
    if os.path.commonpath([real_outer, real_inner]) == real_outer:
        return True
    try:
        wanted = os.stat(real_outer)
    except OSError:
        return False
    for folder in (Path(real_inner), *Path(real_inner).parents):
        try:
            found = os.stat(folder)
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False
