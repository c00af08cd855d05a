"""A ledger that is not there yet: the page says how to begin one, and shows it once there is."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from datasette.database import Database

from claudetrace._sqlite import NamedPath

if TYPE_CHECKING:
    from pathlib import Path

    from datasette.app import Datasette

_awaited: WeakKeyDictionary[Datasette, Path] = WeakKeyDictionary()


def wait_for(datasette: Datasette, path: Path) -> None:
    """Remembers which ledger this Datasette was started for."""
    _awaited[datasette] = path


def awaited(datasette: Datasette) -> Path | None:
    """The path of the ledger that is not there yet, after a look whether it is: then it is opened."""
    path = _awaited.get(datasette)
    if path is None or any(db.path == NamedPath(path) for db in datasette.databases.values()):
        return None
    if not path.is_file() or not path.stat().st_size:
        return path
    datasette.add_database(Database(datasette, path=NamedPath(path), is_mutable=True), name=path.stem)
    return None
