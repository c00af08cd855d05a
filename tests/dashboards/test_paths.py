"""A ledger whose path has characters that mean something in a URI is shown, and no other file is made or read."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from claudetrace_dashboards.serving import datasette_on

from claudetrace import ClaudetraceError

from ._made import plain_row, write

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["a#b", "a?b", "a?mode=rwc", "a%41b", "a%b", "a b", "ü€", "a&b;c", "it's", 'a"b', "a:b@c", "a+b~c"]


def files_of(folder: Path) -> set[str]:
    """All files under `folder`, without those that SQLite keeps beside an open one."""
    return {os.fspath(path) for path in folder.rglob("*") if not path.name.endswith(("-wal", "-shm", ".lock"))}


async def shown(path: Path) -> str:
    answer = await datasette_on(path, {}).client.get("/-/claudetrace", follow_redirects=True)
    return str(answer.text)


@pytest.mark.parametrize("name", NAMES)
async def test_any_path_is_the_file_of_that_name(name: str, tmp_path: Path) -> None:
    """The page has the ledger's figures, and nothing else is in the folder than before."""
    folder = tmp_path / name
    folder.mkdir()
    path = write(folder / f"{name}.db", [plain_row(time.time_ns())])
    before = files_of(tmp_path)
    text = await shown(path)

    assert "claude-sonnet-5-5" in text
    assert "There is no ledger" not in text
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("name", ["a#b", "a?mode=rwc"])
async def test_a_ledger_that_comes_later_is_found_by_its_name(name: str, tmp_path: Path) -> None:
    """A page that waited for a ledger of such a name shows it once it is there."""
    path = tmp_path / f"{name}.db"
    waiting = datasette_on(path, {})
    before = (await waiting.client.get("/-/claudetrace", follow_redirects=True)).text
    made = write(tmp_path / "made.db", [plain_row(time.time_ns())])
    shutil.copyfile(made, path)
    after = (await waiting.client.get("/-/claudetrace", follow_redirects=True)).text

    assert ("claude-sonnet-5-5" in before, "claude-sonnet-5-5" in after) == (False, True)
    assert files_of(tmp_path) == {os.fspath(path), os.fspath(made)}


@pytest.mark.parametrize("name", ["\udcff", "a\nb"])
def test_a_name_that_no_page_can_show_is_refused(name: str, tmp_path: Path) -> None:
    """Bytes that are no text and line breaks in a path are told before anything is served."""
    with pytest.raises(ClaudetraceError, match="link it to another name"):
        datasette_on(tmp_path / f"{name}.db", {})
