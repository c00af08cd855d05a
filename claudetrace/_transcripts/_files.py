"""Where transcripts are, and `Transcript`: one of them, read on from where it was read to."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claudetrace._text import from_json
from claudetrace._transcripts._responses import Response, message_of, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

AT_ONCE_BYTES = 1 << 22
LONGEST_LINE_BYTES = 1 << 28
"""A line that is longer is skipped, and counted as broken."""
_MARKS = (b'"assistant"', b'"cost-state"')
_META = ".meta.json"


def config_folders(environment: Mapping[str, str]) -> list[Path]:
    """Where Claude Code keeps its files: as `CLAUDE_CONFIG_DIR` says, else the folders in the home that it knows."""
    if named := environment.get("CLAUDE_CONFIG_DIR"):
        return [Path(each.strip()) for each in named.split(",") if each.strip()]
    home = environment.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - never raises
    return [Path(home, ".claude"), Path(environment.get("XDG_CONFIG_HOME") or Path(home, ".config"), "claude")]


def transcripts_in(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All transcripts below `folder`, those of subagents too."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".jsonl"):
                yield entry
            elif entry.is_dir(follow_symlinks=False):
                yield from transcripts_in(Path(entry.path))


def session_files(config: Path, session: str) -> list[Path]:
    """The transcripts of `session` and of its subagents, as far as they are there."""
    if "/" in session or session.startswith("."):
        return []
    found: list[Path] = []
    for path in config.glob(f"projects/*/{session}.jsonl"):
        found += [path, *(Path(entry.path) for entry in transcripts_in(path.with_suffix("")))]
    return found


class Transcript:
    """The transcript at `path`, from `offset` on. `responses` are those that were read and not taken yet."""

    def __init__(self, path: Path, offset: int = 0, started: datetime | None = None) -> None:
        self.path = path
        self.offset = offset
        """How far it is read: always the beginning of a line."""
        self.broken = 0
        self.responses: dict[str, Response] = {}
        self.cost_state: Mapping[str, Any] | None = None
        """The CLI's own totals, as it wrote them down last before `started`."""
        self._started = started
        self._has_begun = False
        self._newest: str | None = None

    def read(self, progress: Callable[[int], None] | None = None) -> None:
        """Reads what has been added. Raises `OSError`."""
        with self.path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < self.offset:
                # Truncated, or another file of that name: ids tell what is new of it.
                self.offset = 0
            file.seek(self.offset)
            rest = b""
            while chunk := file.read(AT_ONCE_BYTES):
                whole, newline, rest = (rest + chunk).rpartition(b"\n")
                if newline:
                    self._take(whole)
                    self.offset += len(whole) + 1
                if progress is not None:
                    progress(len(chunk))
                if len(rest) > LONGEST_LINE_BYTES:
                    self.broken += 1
                    self.offset += len(rest)
                    rest = b""

    def taken(self, *, whole: bool = True, all_of_them: bool = True) -> list[Response]:
        """Takes the responses that have stopped and are followed by another; the last too if it is `whole`, or all."""
        found = [
            each
            for name, each in self.responses.items()
            if all_of_them or (each.final and (whole or name != self._newest))
        ]
        for each in found:
            del self.responses[each.message_id]
        return found

    def _take(self, lines: bytes) -> None:
        for line in lines.split(b"\n"):
            if any(mark in line for mark in _MARKS):
                self._take_line(line)
            elif line and not line.rstrip().endswith(b"}"):
                self.broken += 1

    def _take_line(self, line: bytes) -> None:
        try:
            record = from_json(line)
        except ValueError:
            self.broken += 1
            return
        if not isinstance(record, dict):
            return
        if record.get("type") == "cost-state":
            if not self._has_begun:
                self.cost_state = record
        elif (found := message_of(record)) is not None:
            message_id, message = found
            response = self.responses.get(message_id)
            if response is None:
                response = self.responses[message_id] = Response(message_id)
            response.add(record, message)
            self._newest = message_id
            if self._started is not None and response.at is not None and response.at >= self._started:
                self._has_begun = True
            if response.agent is None and record.get("isSidechain"):
                response.agent = self._subagent

    @cached_property
    def _subagent(self) -> str:
        """The name of the subagent whose transcript this is, as the file beside it says."""
        told: Any = None
        with suppress(OSError, ValueError):
            told = from_json(self.path.with_name(self.path.stem + _META).read_bytes())
        name = text(told.get("agentType")) if isinstance(told, dict) else None
        return name or "subagent"
