"""Which module imports which, wherever it says so: at its top, in a function or for its types alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "claudetrace"
PATHS = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
TABLE = (ROOT / "docs/architecture.md").read_text().partition("## Rooms")[2].partition("\n## ")[0]
LAYERS = [
    tuple(re.findall(r"`(\w+)(?:\.py|/)?`", cell) for cell in (place, never))
    for place, _, never in re.findall(r"^\| (`.*) \| (.*) \|(.*)\|$", TABLE, re.MULTILINE)
]
"""Each line of the map: the rooms, and what they never load."""


def _imports(module: str, node: ast.AST, *, types: bool) -> Iterator[str]:
    """What `module` imports in `node`: modules of ours and the packages of others. `types`: for its types too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test) and not types:
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            package = module if PATHS[module].stem == "__init__" else module.rpartition(".")[0]
            above = package.split(".")[: len(package.split(".")) - child.level + 1] if child.level else []
            source = ".".join((*above, *filter(None, [child.module])))
            for alias in child.names:
                yield name if (name := f"{source}.{alias.name}") in PATHS else source
        yield from _imports(module, child, types=types)


def _graph(*, types: bool) -> dict[str, set[str]]:
    return {
        module: {
            name if name in PATHS else name.partition(".")[0]
            for name in _imports(module, ast.parse(path.read_text()), types=types)
        }
        - {module}
        for module, path in PATHS.items()
    }


IMPORTS = _graph(types=True)
LOADS = _graph(types=False)


def _room(module: str) -> str:
    return "__init__" if module == "claudetrace" else module.removeprefix("claudetrace.").partition(".")[0]


def _loaded(module: str, known: set[str]) -> set[str]:
    for name in LOADS.get(module, ()):
        if name not in known:
            known.add(name)
            _loaded(name, known)
    return known


def test_the_map_has_every_room() -> None:
    """The table in docs/architecture.md names each module and package of the library once, and no other."""
    mapped = [room for rooms, _ in LAYERS for room in rooms]

    assert sorted(mapped) == sorted({_room(module) for module in PATHS})


def test_no_circle() -> None:
    """No module imports one that imports it, by whatever way."""
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_rooms_import_what_is_below_them() -> None:
    """A room imports rooms of its own line of the table or of one further down."""
    line = {room: number for number, (rooms, _) in enumerate(LAYERS) for room in rooms}
    upwards = [
        f"{module} -> {name}"
        for module, names in IMPORTS.items()
        for name in names & PATHS.keys()
        if line[_room(name)] < line[_room(module)]
    ]

    assert upwards == []


@pytest.mark.parametrize(("rooms", "never"), LAYERS, ids=[rooms[0] for rooms, _ in LAYERS])
def test_rooms_never_load(rooms: list[str], never: list[str]) -> None:
    """What the last column names is not loaded by a room, nor by what it loads, now or later."""
    loaded = {
        f"{module} -> {_room(name) if name in PATHS else name}"
        for module in PATHS
        if _room(module) in rooms
        for name in _loaded(module, set())
    }

    assert [each for each in sorted(loaded) if each.partition(" -> ")[2] in never] == []
