"""Makes a gigabyte of transcripts as Claude Code writes them, and imports it twice: `python transcripts.py [MB]`."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

DICE = random.Random(7)
START = datetime(2026, 10, 1, tzinfo=UTC)
SESSION_BYTES = 4 << 20
BLOCKS = ({"type": "text", "text": "x" * 800}, {"type": "tool_use", "id": "t", "input": {"a": "y" * 900}})


def session(path: Path, number: int) -> int:
    """Writes one session; gives how many responses it has."""
    at, size, responses = START + timedelta(minutes=7 * number), 0, 0
    common = {"sessionId": f"s-{number}", "cwd": f"/src/app{number % 40}", "gitBranch": "main", "version": "2.1.332"}
    with path.open("w") as file:
        while size < SESSION_BYTES:
            at += timedelta(seconds=DICE.uniform(2, 30))
            usage = {
                "input_tokens": DICE.randint(1, 4000),
                "cache_creation_input_tokens": 900,
                "cache_read_input_tokens": DICE.randint(10_000, 150_000),
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 900},
                "output_tokens": DICE.randint(20, 900),
                "server_tool_use": {"web_search_requests": 0},
                "service_tier": "standard",
                "speed": "standard",
                "iterations": [],
            }
            message = {"id": f"msg_{number}_{responses}", "role": "assistant", "model": "claude-sonnet-4-5-20250929"}
            for block in BLOCKS:
                told = {**message, "content": [block], "stop_reason": "tool_use", "usage": usage}
                line = {"type": "assistant", "message": told, "requestId": f"req_{responses}", **common}
                size += write(file, line | {"timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z")})
            result = {"type": "user", "message": {"role": "user", "content": "z" * DICE.randint(500, 12_000)}, **common}
            size += write(file, result)
            responses += 1
    return responses


def write(file: object, record: dict[str, object]) -> int:
    return file.write(json.dumps(record, separators=(",", ":")) + "\n")  # type: ignore[attr-defined]


def main() -> int:
    """Prints how long each import took."""
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made, "projects", "-src-app")
        folder.mkdir(parents=True)
        count = megabytes * (1 << 20) // SESSION_BYTES
        responses = sum(session(folder / f"s-{number}.jsonl", number) for number in range(count))
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{size / 1e9:.2f} GB in {count:,} transcripts, {responses:,} responses")
        command = [sys.executable, "-m", "claudetrace", "import", "claude-code", "--dir", made, "--db", f"{made}/l.db"]
        for name in ("first", "again"):
            began = time.perf_counter()
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(f"{name}: {time.perf_counter() - began:.1f} s: {told.splitlines()[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
