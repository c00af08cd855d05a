"""A Messages API on loopback that bills: what it has answered is the truth that rows must equal.

It prices by figures of its own, so that what proves a cost shares nothing with what made it.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

# Dollars a million tokens: input, output. Cache: read a tenth, write 1.25 times for five minutes, twice for an hour.
LIST = {"claude-sonnet-4-5": (3, 15), "claude-haiku-4-5": (1, 5), "claude-opus-4-5": (5, 25)}


def picousd(model: str, usage: dict[str, Any]) -> int:
    """What `usage` costs at the list price of `model`, in picodollars."""
    into, out = next(price for name, price in LIST.items() if model.startswith(name))
    split = usage["cache_creation"]
    units = (
        Fraction(usage["input_tokens"])
        + Fraction(usage["cache_read_input_tokens"], 10)
        + split["ephemeral_5m_input_tokens"] * Fraction(5, 4)
        + split["ephemeral_1h_input_tokens"] * 2
    )
    searches = usage.get("server_tool_use", {}).get("web_search_requests", 0)
    whole = units * into * 10**6 + usage["output_tokens"] * out * 10**6 + searches * 10**10
    assert whole.denominator == 1
    return int(whole)


@dataclass
class Billed:
    """One response that the server has sent whole."""

    message_id: str
    model: str
    usage: dict[str, Any]
    request_id: str
    prompt: str
    picousd: int


@dataclass
class Api:
    """The server: `bill` is what it has answered. Words in a prompt say how it answers; see `_answer`."""

    bill: list[Billed] = field(default_factory=list)
    refused: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    fail_next: int = 0
    slow_s: float = 0.0
    started: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        api = self

        class Handler(_Handler):
            owner = api

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def billed(self) -> dict[str, int]:
        return {each.message_id: each.picousd for each in self.bill}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Api

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._send(200, b"")

    def do_GET(self) -> None:
        self._send(404, b'{"type":"error","error":{"type":"not_found_error","message":"no"}}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        api = self.owner
        if "count_tokens" in self.path:
            self._send(200, b'{"input_tokens": 10}')
            return
        if not self.path.startswith("/v1/messages"):
            self._send(404, b"{}")
            return
        with api.lock:
            number = len(api.requests)
            api.requests.append(body)
            fails = api.fail_next > 0
            api.fail_next -= fails
        if fails:
            api.refused += 1
            self._send(529, b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}')
            return
        self._answer(body, number)

    def _answer(self, body: dict[str, Any], number: int) -> None:
        api = self.owner
        model, message_id = body["model"], f"msg_{number:04d}{id(api) % 10**10:010d}{time.time_ns() % 10**8:08d}"
        prompt, results = _last(body)
        blocks = _blocks(prompt, results, number, body)
        usage = {
            "input_tokens": 1000 + number * 7,
            "cache_creation_input_tokens": 300 + number,
            "cache_read_input_tokens": 2000 + number * 10,
            "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200 + number},
            "output_tokens": 1,
            "service_tier": "standard",
        }
        final = {**usage, "output_tokens": 37 + number}
        stop = "tool_use" if any(block["type"] == "tool_use" for block in blocks) else "end_turn"
        request_id = f"req_{message_id}"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("request-id", request_id)
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        message = {"id": message_id, "type": "message", "role": "assistant", "model": model, "content": []}
        try:
            start = {**message, "stop_reason": None, "stop_sequence": None, "usage": usage}
            self._event("message_start", {"message": start})
            for index, block in enumerate(blocks):
                self._block(index, block)
            api.started.set()
            if api.slow_s and "slow" in prompt:
                time.sleep(api.slow_s)
            said = {k: v for k, v in final.items() if k != "service_tier"}
            self._event("message_delta", {"delta": {"stop_reason": stop, "stop_sequence": None}, "usage": said})
            with api.lock:
                api.bill.append(Billed(message_id, model, final, request_id, prompt, picousd(model, final)))
            self._event("message_stop", {})
        except OSError:
            return

    def _block(self, index: int, block: dict[str, Any]) -> None:
        if block["type"] == "text":
            begun, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            begun = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        self._event("content_block_start", {"index": index, "content_block": begun})
        self._event("content_block_delta", {"index": index, "delta": delta})
        self._event("content_block_stop", {"index": index})

    def _event(self, kind: str, data: dict[str, Any]) -> None:
        self.wfile.write(f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode())
        self.wfile.flush()

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _last(body: dict[str, Any]) -> tuple[str, int]:
    """The newest text of the user that asks for something, and how many tool results came after it."""
    results = 0
    for message in reversed(body["messages"]):
        content = message["content"]
        if message["role"] != "user":
            continue
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        results += sum(block["type"] == "tool_result" for block in blocks)
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        for text in reversed(texts):
            if "PLEASE" in text:
                return text[text.index("PLEASE") :], results
    return "", results


def _blocks(prompt: str, results: int, number: int, body: dict[str, Any]) -> list[dict[str, Any]]:
    words = prompt.split()
    wanted = {word.split("=")[0]: word.split("=")[1] for word in words if "=" in word}
    text = {"type": "text", "text": f"answer {number}"}
    if results < int(wanted.get("tools", 0)):
        call = {"command": f"echo {number}", "description": "say a number"}
        return [text, {"type": "tool_use", "id": f"toolu_{number}_b", "name": "Bash", "input": call}]
    if results < int(wanted.get("agents", 0)):
        names = [tool["name"] for tool in body.get("tools", ()) if tool["name"] in ("Agent", "Task")]
        return [
            text,
            *(
                {
                    "type": "tool_use",
                    "id": f"toolu_{number}_{at}",
                    "name": names[0],
                    "input": {"description": "a part", "prompt": "PLEASE tools=1 go", "subagent_type": f"helper{at}"},
                }
                for at in range(int(wanted["agents"]))
            ),
        ]
    return [text]
