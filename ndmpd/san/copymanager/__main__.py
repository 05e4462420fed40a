"""The copy manager as a program: ``python -m ndmpd.san.copymanager SAN_DIR``.

It ends when its standard input does: whoever started it holds the other end, and is gone then.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from ndmpd.san.copymanager.contact import Foreign
from ndmpd.san.copymanager.server import PROCESS_NAME, serve
from ndmpd.san.errors import SanError


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def run(san_dir: str | Path, foreign: Iterable[Foreign] = ()) -> None:
    """Be the copy manager of the SAN, which reaches ``foreign`` units too. SanError where another is."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr,
                        format="%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s")
    Path("/proc/self/comm").write_text(PROCESS_NAME)
    threading.Thread(target=_end_with_parent, daemon=True, name="parent").start()
    serve(san_dir, foreign=foreign)


def main() -> int:
    try:
        run(sys.argv[1])
    except SanError as error:
        logging.getLogger(__name__).error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
