"""Each line of the README's table of what is seen, tried: one call the named way, and what the ledger has of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

from agents.billing import Api

import claudetrace

ASK: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "PLEASE answer"}],
}


def by_anthropic(api: Api, _folder: Path) -> None:
    """Through the anthropic package."""
    import anthropic

    with anthropic.Anthropic(api_key="k", base_url=api.url) as client, client.messages.stream(**ASK) as stream:
        stream.until_done()


def agent_options(api: Api, folder: Path) -> Any:
    from claude_agent_sdk import ClaudeAgentOptions

    env = {
        "ANTHROPIC_BASE_URL": api.url,
        "ANTHROPIC_API_KEY": "sk-ant-test",
        "CLAUDE_CONFIG_DIR": str(folder / "config"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    return ClaudeAgentOptions(model="claude-sonnet-4-5", env=env, setting_sources=[], cwd=folder)


def by_agent_sdk(api: Api, folder: Path) -> None:
    """Through the Claude Agent SDK."""
    from claude_agent_sdk import query

    async def ask() -> None:
        async for _ in query(prompt="PLEASE answer", options=agent_options(api, folder)):
            pass

    asyncio.run(ask())


def by_claude_code(api: Api, folder: Path) -> None:
    """By `claude -p`, imported afterwards."""
    import claude_agent_sdk

    options = agent_options(api, folder)
    claude = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"
    command = [str(claude), "-p", "PLEASE answer", "--model", "claude-sonnet-4-5"]
    subprocess.run(command, env={**os.environ, **options.env}, cwd=folder, check=True, capture_output=True, timeout=120)
    claudetrace.flush()
    run = [sys.executable, "-m", "claudetrace", "import", "claude-code", "--dir", str(folder / "config" / "projects")]
    subprocess.run([*run, "--db", str(folder / "ledger.db")], check=True, capture_output=True)


def by_boto3(api: Api, _folder: Path) -> None:
    """By boto3's converse."""
    import boto3

    client = boto3.client("bedrock-runtime", endpoint_url=api.url)
    try:
        client.converse(
            modelId="us.anthropic.claude-sonnet-4-5", messages=[{"role": "user", "content": [{"text": "x"}]}]
        )
    except client.exceptions.ClientError:
        pass  # this API is none of AWS's; the call was made


def by_litellm(api: Api, _folder: Path) -> None:
    """By LiteLLM."""
    import litellm

    asked = litellm.completion(
        model="anthropic/claude-sonnet-4-5", api_key="k", api_base=api.url, messages=ASK["messages"], stream=True
    )
    for _ in asked:
        pass


def by_http(api: Api, _folder: Path) -> None:
    """By raw HTTP."""
    urllib.request.urlopen(urllib.request.Request(f"{api.url}/v1/messages", json.dumps(ASK).encode())).read()


def by_http_told(api: Api, _folder: Path) -> None:
    """By raw HTTP, with the answer handed to `record`."""
    by_http(api, _folder)
    billed = api.bill[-1]
    claudetrace.record(
        {
            "id": billed.message_id,
            "type": "message",
            "model": billed.model,
            "usage": billed.usage,
            "stop_reason": "end_turn",
            "content": [],
        }
    )


SEEN: dict[Callable[[Api, Path], None], bool] = {
    by_anthropic: True,
    by_agent_sdk: True,
    by_claude_code: True,
    by_boto3: False,
    by_litellm: False,
    by_http: False,
    by_http_told: True,
}


def main() -> int:
    """Prints a line for each way; 1 where one is seen otherwise than the README says."""
    wrong = 0
    for way, seen in SEEN.items():
        with tempfile.TemporaryDirectory() as made, Api() as api:
            folder = Path(made)
            (folder / "config").mkdir()
            with claudetrace.instrument(db=folder / "ledger.db", force=True):
                way(api, folder)
                claudetrace.flush(10)
                found: dict[str | None, int | None] = {}
                if (folder / "ledger.db").exists():
                    with claudetrace.Ledger(folder / "ledger.db") as ledger:
                        found = {call.message_id: call.cost_picousd for call in ledger.calls()}
            right = found == (api.billed() if seen else {}) and bool(found) == seen
            wrong += not right
            print(f"{'ok   ' if right else 'WRONG'}  {way.__doc__}  {'seen' if found else 'not seen'}")
    print(f"{len(SEEN) - wrong} of {len(SEEN)} ways as the README says")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
