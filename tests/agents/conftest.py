"""The real Agent SDK with the CLI of its wheel, against an API on loopback that bills."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import claudetrace

from .billing import Api

QUIET = {
    "ANTHROPIC_API_KEY": "sk-ant-test",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_AUTOUPDATER": "1",
}


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as billing:
        yield billing


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The folder of the CLI's files."""
    folder = tmp_path / "config"
    folder.mkdir()
    return folder


@pytest.fixture
def options(api: Api, config: Path, tmp_path: Path) -> Callable[..., Any]:
    """Options of a query that goes to `api`."""
    sdk = pytest.importorskip("claude_agent_sdk")
    work = tmp_path / "work"
    work.mkdir()

    def made(**further: Any) -> Any:
        helpers = {
            f"helper{number}": sdk.AgentDefinition(description="helps", prompt="help", tools=["Bash"])
            for number in range(2)
        }
        env = {**QUIET, "ANTHROPIC_BASE_URL": api.url, "CLAUDE_CONFIG_DIR": str(config), **further.pop("env", {})}
        settings = {
            "model": "claude-sonnet-4-5",
            "setting_sources": [],
            "permission_mode": "acceptEdits",
            "allowed_tools": ["Bash", "Agent", "Task"],
            "cwd": work,
            "agents": helpers,
        }
        return sdk.ClaudeAgentOptions(**{**settings, **further}, env=env)

    return made


@pytest.fixture
def rows(start: Callable[..., Any], ledger: Callable[[], list[claudetrace.Call]]) -> Callable[[], list[Any]]:
    """Starts the meter; gives its rows, oldest first, when nothing of ours has failed."""
    running = start()

    def told() -> list[claudetrace.Call]:
        calls = ledger()
        assert dict(running.health.failures) == {}
        return calls

    return told
