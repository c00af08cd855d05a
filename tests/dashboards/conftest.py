"""Datasette with our pages on ledgers of different kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import claudetrace_dashboards
import pytest
from datasette.app import Datasette
from datasette.plugins import pm

from ._made import help_desk, hostile_rows, write


@pytest.fixture(scope="session", autouse=True)
def plugin() -> None:
    """The plugin is registered, also where claudetrace is not installed with its entry points."""
    if not any(each is claudetrace_dashboards for each in pm.get_plugins()):
        pm.register(claudetrace_dashboards, "claudetrace_dashboards")


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of forty days, with hostile names among them. Read only."""
    return write(tmp_path_factory.mktemp("desk") / "ledger.db", help_desk() + hostile_rows())


class Site:
    """The pages of some files, asked as a browser would."""

    def __init__(self, *paths: Path, **settings: Any) -> None:
        more: dict[str, Any] = {}
        if hasattr(Datasette, "allowed"):
            more = {"config": settings["metadata"]} if "metadata" in settings else {}
        self.datasette = Datasette([str(path) for path in paths], **settings, **more)

    async def get(self, path: str, actor: dict[str, Any] | None = None, **arguments: str) -> Any:
        """The answer to a request for the page `path` of ours."""
        cookies = {"ds_actor": self.datasette.sign({"a": actor}, "actor")} if actor else {}
        await self.datasette.invoke_startup()
        url = f"/-/claudetrace{path}"
        return await self.datasette.client.get(url, params=arguments or None, cookies=cookies)


@pytest.fixture
def site(desk: Path) -> Site:
    return Site(desk)
