"""The table of the kinds of call."""

from __future__ import annotations

from . import _batches, _clouds, _failures, _left, _middleware, _streams, _tools, _whole
from ._kit import Kind, seen

KINDS: list[Kind] = [
    *_whole.KINDS,
    *_streams.KINDS,
    *_left.KINDS,
    *_failures.KINDS,
    *_batches.KINDS,
    *_tools.KINDS,
    *_clouds.KINDS,
    *_middleware.KINDS,
]

__all__ = ["KINDS", "Kind", "seen"]
