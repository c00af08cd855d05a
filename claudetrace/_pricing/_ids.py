"""Reads a model id in any spelling: the model, its platform, and the endpoint's scope where the id tells it.

Nothing is matched by prefix: a minor version that is not listed has no price.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_DATE = r"20\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_DATED = re.compile(rf"(?P<id>.+)-(?P<date>{_DATE})")
_GOOGLE = re.compile(rf"(?P<id>[^@/]+)@(?:(?P<date>{_DATE})|default)")
_BEDROCK = re.compile(r"(?:(?P<profile>[a-z]+(?:-[a-z]+)*)\.)?anthropic\.(?P<id>[^.:]+?)(?:-v\d+(?::\w+)*)?", re.ASCII)
_ARN = re.compile(
    r"arn:(?P<partition>[a-z-]+):bedrock:(?P<region>[^:]*):[^:]*:(?P<kind>[a-z-]+)/(?P<id>.+)",
    re.ASCII,
)
GOVCLOUD = "us-gov"
"""The scope of AWS GovCloud's endpoints, the prefix of its profiles, and what its regions begin with."""
_LONGEST_ID = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelId:
    """What an id says."""

    model: str | None = None
    """The model's id in the price list, or `None` where it is not listed."""
    platform: str | None = None
    """The platform, where only one spells ids like this."""
    endpoint_scope: str | None = None
    """`global`, `regional` or `us-gov`, where the id says it."""


def read_id(text: str | None, known: Mapping[str, str]) -> ModelId:
    """What `text` says, looked up in `known`: every listed id with the model's own."""
    if not isinstance(text, str) or not text or len(text) > _LONGEST_ID:
        return ModelId()
    if arn := _ARN.fullmatch(text):
        named = arn["kind"] in ("inference-profile", "foundation-model")
        inner = read_id(arn["id"], known) if named else ModelId()
        if inner.platform != "bedrock":
            inner = ModelId(platform="bedrock")
        in_govcloud = arn["partition"] == "aws-us-gov" or arn["region"].startswith(f"{GOVCLOUD}-")
        return replace(inner, endpoint_scope=GOVCLOUD) if in_govcloud else inner
    if bedrock := _BEDROCK.fullmatch(text):
        profile = bedrock["profile"]
        scope = profile if profile in (None, "global", GOVCLOUD) else "regional"
        model = known.get(text) or _listed(bedrock["id"], known)
        return ModelId(model=model, platform="bedrock", endpoint_scope=scope)
    if google := _GOOGLE.fullmatch(text):
        model = known.get(text) or _snapshot(google["id"], google["date"], known)
        return ModelId(model=model, platform="vertex")
    return ModelId(model=_listed(text, known))


def _listed(text: str, known: Mapping[str, str]) -> str | None:
    if text in known:
        return known[text]
    dated = _DATED.fullmatch(text)
    return _snapshot(dated["id"], dated["date"], known) if dated else None


def _snapshot(model: str, date: str | None, known: Mapping[str, str]) -> str | None:
    if date is None:
        return known.get(model)
    if (exact := known.get(f"{model}-{date}")) is not None:
        return exact
    # A dated id with a second date is no known id.
    return None if _DATED.fullmatch(model) else known.get(model)
