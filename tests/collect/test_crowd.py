"""Services that send to one `claudetrace collect` while it is killed: each billed response once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .collecting import Collecting
from .crowd import SAID, Crowd, kill_again_and_again


def test_each_response_is_there_once_though_the_process_is_killed(
    collecting: Callable[..., Collecting], tmp_path: Path
) -> None:
    """Two processes of each of three services, four kills: every billed response once. `make attack` has more."""
    collector = collecting(CLAUDETRACE_COLLECT_TOKENS=SAID)
    crowd = Crowd(tmp_path, collector, processes=2, seconds=6)
    kill_again_and_again(collector, 4)
    crowd.end()
    crowd.verdict(collector.db)
