"""The direction of imports, and what may not be imported where: read from the source, nothing is executed.

    protocol  <-  pieces, ports, errors  <-  session, offload, formats  <-  services
    devices, net and san implement ports; app.py and san_node.py, which wire the two servers, see all

Drive logic in ``devices`` is written on ``ports.Transport``, and services use it; which transport it is, they
do not know.

A module may import what its package's row allows, and nothing else of this project. Imports under
``if TYPE_CHECKING`` count too, except that ``ports`` may name the values its interfaces speak of.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST_MODULE = 500
FORBIDDEN_NAMES = re.compile(r"(^|_)(utils?|common|helpers?|misc)(_|$)")

BASE = frozenset({"protocol", "ndmpd.pieces", "ndmpd.ports", "ndmpd.errors"})
CORE = BASE | {"ndmpd.session", "ndmpd.offload", "ndmpd.formats"}
SETTINGS = frozenset(
    {"ndmpd.config", "ndmpd.config_files", "ndmpd.config_initiator", "ndmpd.config_mistakes",
     "ndmpd.config_node", "ndmpd.config_san", "ndmpd.config_parts", "ndmpd.config_types", "ndmpd.volumes"}
)  # fmt: skip
OUTER = BASE | SETTINGS | {"ndmpd.datapath", "ndmpd.filecopy"}
EVERYTHING = frozenset({"protocol", "ndmpd"})

# package or module -> what of this project it may import besides itself. The longest name that fits counts.
ALLOWED: dict[str, frozenset[str]] = {
    "protocol": frozenset(),
    "ndmpd.errors": frozenset({"protocol"}),
    "ndmpd.pieces": frozenset({"protocol", "ndmpd.errors"}),
    "ndmpd.ports": BASE,
    **dict.fromkeys(SETTINGS, BASE | SETTINGS),
    "ndmpd.session": BASE,
    "ndmpd.offload": BASE,
    "ndmpd.formats": BASE | {"ndmpd.offload"},
    "ndmpd.services": CORE | OUTER | {"ndmpd.devices"},
    "ndmpd.devices": OUTER | {"ndmpd.san"},
    "ndmpd.san": OUTER,
    "ndmpd.net": CORE | OUTER | {"ndmpd.services"},
    "ndmpd.management": OUTER | {"ndmpd.services", "ndmpd.net"},
    "ndmpd.client": frozenset({"protocol", "ndmpd.errors"}),
    "ndmpd.admin": EVERYTHING,
    "ndmpd.app": EVERYTHING,
    "ndmpd.san_node": EVERYTHING,
    "ndmpd.__main__": EVERYTHING,
    "ndmpd.datapath": BASE | {"ndmpd.filecopy"},
    "ndmpd": BASE,  # what has no row of its own, such as filecopy
}

# What a row allows as a whole, without these: ways to reach a unit are for app.py to choose.
EXCEPT: dict[str, frozenset[str]] = {
    "ndmpd.services": frozenset({"ndmpd.devices.embedded", "ndmpd.devices.sgio", "ndmpd.devices.iscsi"}),
}

# Interfaces in ports.py take values of a higher layer as parameters; only a type checker follows these.
NAMED_BY_PORTS = frozenset({"ndmpd.formats.job"})

# Time, chance and the outside world come into the core as arguments.
IMPURE = frozenset(
    {"twisted", "os", "socket", "time", "random", "asyncio", "threading", "subprocess", "select"}
)
PURE: dict[str, frozenset[str]] = {
    "protocol": IMPURE,
    "ndmpd.session": IMPURE,
    "ndmpd.offload": IMPURE,
    "ndmpd.pieces": IMPURE - {"os"},  # closes the descriptors it carries
    "ndmpd.ports": IMPURE,
    "ndmpd.errors": IMPURE,
}
ONLY_OUTSIDERS_OF_PROTOCOL = frozenset({"xdrlib3", "crc32c"})


@dataclass(frozen=True, slots=True)
class Module:
    name: str
    path: Path
    imports: frozenset[tuple[str, int, bool]]  # what, at which line, and whether only a type checker sees it


def modules() -> list[Module]:
    paths = sorted(path for package in ("protocol", "ndmpd") for path in (ROOT / package).rglob("*.py"))
    return [read(path) for path in paths]


def read(path: Path) -> Module:
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = parts[:-1]
    name = ".".join(package if parts[-1] == "__init__" else parts)
    tree = ast.parse(path.read_text(), str(path))
    return Module(name, path, frozenset(imports(tree, package)))


def imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, int, bool]]:
    """Absolute names of what is imported: modules, and names taken from them, which may be modules."""
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, typing_only = waiting.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, typing_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = list(package[: len(package) - node.level + 1]) if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{base}.{alias.name}", node.lineno, typing_only) for alias in node.names)
        guarded = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        waiting.extend((child, typing_only or guarded) for child in ast.iter_child_nodes(node))


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def row(name: str) -> str:
    """The key of ALLOWED that governs a module."""
    return max((key for key in ALLOWED if within(name, key)), key=len)


def climbs(module: Module) -> Iterator[str]:
    """Imports of this project's own modules that the module's row does not allow."""
    key = row(module.name)
    allowed = ALLOWED[key] | ({key} if key != "ndmpd" else set())
    for name, line, typing_only in sorted(module.imports):
        if not (within(name, "ndmpd") or within(name, "protocol")):
            continue
        excepted = any(within(name, package) for package in EXCEPT.get(key, ()))
        if not excepted and any(within(name, package) for package in allowed):
            continue
        if key == "ndmpd.ports" and typing_only and any(within(name, named) for named in NAMED_BY_PORTS):
            continue
        yield f"{module.path.relative_to(ROOT)}:{line} imports {name}, which lies above or beside {key}"


def impurities(module: Module) -> Iterator[str]:
    for package, forbidden in PURE.items():
        if within(module.name, package):
            for name, line, _ in sorted(module.imports):
                if name.split(".")[0] in forbidden:
                    yield f"{module.path.relative_to(ROOT)}:{line} imports {name}, and {package} is pure"


def test_imports_go_down_only() -> None:
    assert [fault for module in modules() for fault in climbs(module)] == []


def test_the_core_has_no_clock_chance_or_outside_world() -> None:
    assert [fault for module in modules() for fault in impurities(module)] == []


def test_wire_formats_need_the_standard_library_and_two_codecs_only() -> None:
    import sys

    known = sys.stdlib_module_names | ONLY_OUTSIDERS_OF_PROTOCOL | {"protocol"}
    foreign = [
        f"{module.path.relative_to(ROOT)}:{line} imports {name}"
        for module in modules()
        if within(module.name, "protocol")
        for name, line, _ in module.imports
        if name.split(".")[0] not in known
    ]
    assert foreign == []


def test_only_the_wiring_names_the_reactor() -> None:
    named = [
        f"{module.path.relative_to(ROOT)}:{line}"
        for module in modules()
        if module.name not in ("ndmpd.app", "ndmpd.san_node", "ndmpd.__main__")
        for name, line, _ in module.imports
        if name == "twisted.internet.reactor"
    ]
    assert named == []


def test_no_module_is_longer_than_people_read() -> None:
    sources = [path for top in ("protocol", "ndmpd", "tests") for path in (ROOT / top).rglob("*.py")]
    lengths = {path: len(path.read_text().splitlines()) for path in sources}
    assert {str(path): length for path, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    parts = {
        part: path
        for top in ("protocol", "ndmpd", "tests")
        for path in (ROOT / top).rglob("*.py")
        for part in path.relative_to(ROOT).with_suffix("").parts
    }
    assert [str(path) for part, path in parts.items() if FORBIDDEN_NAMES.search(part)] == []


def parsed(name: str, source: str) -> Module:
    """A module that is not there, for trying the rules on."""
    path = ROOT / Path(*name.split(".")).with_suffix(".py")
    package = tuple(name.split(".")[:-1])
    return Module(name, path, frozenset(imports(ast.parse(source), package)))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("protocol.ndmp.tape", "import ndmpd.errors"),
        ("protocol.scsi.ssc", "def f():\n    from ndmpd import pieces"),
        ("ndmpd.session.mover", "from ndmpd.services import data"),
        ("ndmpd.session.mover", "from ..services import data"),
        ("ndmpd.formats.tar", "from ndmpd.san.drive import Drive"),
        ("ndmpd.services.tape", "from ndmpd.devices import embedded"),
        ("ndmpd.ports", "from ndmpd.formats import job"),
        ("ndmpd.client.library", "from ndmpd.session import session"),
        ("ndmpd.devices.tape", "from ndmpd import app"),
    ],
)
def test_a_climb_is_found(name: str, source: str) -> None:
    assert len(list(climbs(parsed(name, source)))) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("ndmpd.session.mover", "from protocol.ndmp.codes import Error\nfrom .events import Event"),
        ("ndmpd.services.tape", "from ndmpd.ports import Transport\nimport ndmpd.session.effects"),
        ("ndmpd.ports", "if TYPE_CHECKING:\n    from ndmpd.formats.job import Job"),
        ("ndmpd.app", "from ndmpd.san import library\nfrom ndmpd.net.control import Factory"),
    ],
)  # fmt: skip
def test_a_step_down_is_not_a_climb(name: str, source: str) -> None:
    assert list(climbs(parsed(name, source))) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("protocol.xdr", "import socket"),
        ("ndmpd.session.session", "def f():\n    from time import monotonic"),
        ("ndmpd.offload.planner", "from twisted.internet import defer"),
        ("ndmpd.pieces", "import random"),
        ("ndmpd.session.auth", "import os"),
    ],
)
def test_an_impure_import_is_found(name: str, source: str) -> None:
    assert len(list(impurities(parsed(name, source)))) == 1


def test_pieces_may_close_descriptors() -> None:
    assert list(impurities(parsed("ndmpd.pieces", "import os"))) == []
