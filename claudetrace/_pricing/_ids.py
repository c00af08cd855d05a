"""Reads a model's name in any spelling: the model, its platform, and the endpoint's scope where the name tells it.

Nothing is matched by prefix: a minor version that is not listed has no price.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from claudetrace._pricing._rates import book

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
Model: TypeAlias = "Mapping[str, Any]"
"""A model as the price list has it. Prices are decimal strings, US dollars for a million tokens."""
NEAREST = 4


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


def listed_models() -> list[Model]:
    """All models, the newest first."""
    return sorted(book().models.values(), key=lambda row: row["released"] or "", reverse=True)


def find_listed(name: str) -> Model | None:
    """The model that `name` means: an id as users write it, with a date, or in a cloud's spelling."""
    model = read_id(name.strip(), book().ids).model
    return None if model is None else book().models[model]


def same_model(one: str | None, other: str | None) -> bool:
    """Whether two ids mean the same model: they are equal, or names of the same listed one."""
    if one == other:
        return True
    known = book().ids
    model = read_id(one, known).model
    return model is not None and model == read_id(other, known).model


def unknown_name(name: str) -> str:
    """The message for a name without known rates, with the known names that are most like it."""
    # Programs that call Claude load this module, and hardly one of them needs it.
    from difflib import get_close_matches

    known = [each for each in book().ids if not each.startswith("anthropic.")]
    bare = name.strip().lower().rpartition("anthropic.")[2]
    # Names that contain it come first, newest first: `haiku` means a model of today.
    holding = [each for each in reversed(known) if bare and bare in each]
    near = list(dict.fromkeys([*holding, *get_close_matches(bare, known, n=NEAREST, cutoff=0.4)]))[:NEAREST]
    hint = f"the nearest known names are {', '.join(near)}" if near else "`claudetrace prices` lists all models"
    return f"no rates are known for {name!r}; {hint}"
