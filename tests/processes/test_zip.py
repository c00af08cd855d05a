"""The package works from inside a zip file, as zipapp, shiv and pex make it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import claudetrace

ROOT = Path(claudetrace.__file__).parents[1]
PROGRAM = """
import asyncio, json, sys
sys.path.insert(0, sys.argv[1])
import anthropic
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
import claudetrace
from click.testing import CliRunner
from claudetrace.cli import main
from pathlib import Path

db = Path(sys.argv[2])
answer = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 1000, "output_tokens": 100},
}


class Answers(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
Thread(target=server.serve_forever, daemon=True).start()
with claudetrace.instrument(db=db, budgets=[claudetrace.Budget("b", usd=1, on_exceeded="block")], otlp=None):
    client = anthropic.Anthropic(api_key="k", base_url=f"http://127.0.0.1:{server.server_port}")
    client.messages.create(model="claude-sonnet-4-5", max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
    assert claudetrace.flush(30)
with claudetrace.Ledger(db) as ledger:
    (call,) = ledger.calls()

from claudetrace.cli._dashboard import application

page = asyncio.run(application(db, {}).client.get("/-/claudetrace", follow_redirects=True))
from claudetrace.cli._run import metered

child = __import__("subprocess").run(
    [sys.executable, "-c", "import sys; print('claudetrace' in sys.modules)"],
    env={**metered({"PYTHONPATH": sys.argv[1]}), "CLAUDETRACE_DB": str(db)}, capture_output=True, text=True,
)
print(json.dumps({
    "from": claudetrace.__file__.startswith(sys.argv[1]),
    "cost": str(call.cost_usd),
    "commands": [CliRunner().invoke(main, [*each.split(), "--db", str(db)]).exit_code for each in ("report", "doctor")],
    "page": [page.status_code, "claude-sonnet-4-5" in page.text],
    "run": child.stdout.strip() or child.stderr,
}))
"""


def test_everything_from_a_zip(tmp_path: Path) -> None:
    """A call is recorded and priced, a budget holds, and commands, dashboards and `claudetrace run` work."""
    packed = tmp_path / "packed.zip"
    with ZipFile(packed, "w") as archive:
        for package in (ROOT / "claudetrace", ROOT / "dashboards/claudetrace_dashboards"):
            for file in package.rglob("*"):
                if file.is_file() and "__pycache__" not in file.parts:
                    archive.write(file, file.relative_to(package.parent))
        archive.write(ROOT / "dashboards/datasette.yaml", "claudetrace_dashboards/datasette.yaml")
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, packed, tmp_path / "ledger.db"], capture_output=True, text=True, cwd=tmp_path
    )

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == {
        "from": True,
        "cost": "0.004500000000",
        "commands": [0, 0],
        "page": [200, True],
        "run": "True",
    }
