"""`Terms`: what a price depends on besides usage, model and day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import orjson

from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    from claudetrace._pricing._own import OwnRates

Platform: TypeAlias = Literal["anthropic", "bedrock", "vertex", "foundry", "aws", "google_cloud"]
PLATFORMS = ("anthropic", "bedrock", "vertex", "foundry", "aws", "google_cloud")
WORDS: Mapping[str, tuple[str, ...]] = {
    "platform": PLATFORMS,
    "endpoint_scope": ("global", "regional", "us-gov"),
    "data_zone": ("us",),
    "billed_to": ("user_profile",),
}
_TEXTS = ("endpoint_scope", "data_zone", "billed_to", "own_rates", "day")
_SWITCHES = (
    *("batch", "content_empty", "code_execution", "free_code", "contradictory"),
    *("told_platform", "free_host", "replays", "replayed"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The column `pricing_terms`. With `usage` and the models, it is enough to price a row again."""

    platform: str = "anthropic"
    """`anthropic`, `bedrock`, `vertex`, `foundry`, `aws` or `google_cloud`."""
    batch: bool = False
    endpoint_scope: str | None = None
    """`global`, `regional` or `us-gov`, where the model id does not say it."""
    data_zone: str | None = None
    """`us`: a deployment in Foundry's US Data Zone."""
    billed_to: str | None = None
    """`user_profile`: another organization pays."""
    content_empty: bool = False
    """The answer has no output: a refusal like this is not billed."""
    code_execution: bool = False
    """The answer has the result of a code execution, whose container may be billed by the hour."""
    free_code: bool = False
    """Code ran beside a web tool that makes its container free."""
    told_platform: bool = False
    """The settings name the platform of the host, however its models are spelled."""
    free_host: bool = False
    """The settings say that the host costs nothing."""
    replays: bool = False
    """The settings say that the host answers from a cache of its own, too."""
    replayed: bool = False
    """The response is a replay: it was billed before."""
    contradictory: bool = False
    """The events of the stream contradict each other about usage."""
    own_rates: str | None = None
    """`OwnRates.text` of the own prices in force."""
    day: str | None = None
    """The day whose rates apply, where it is not the row's own: that of a batch, for its results."""
    text: str = field(init=False, repr=False, compare=False)
    """The same as JSON: the platform, and what differs from the defaults. Also the key of the caches of prices."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _to_json(self))

    def __hash__(self) -> int:
        return hash(self.text)

    def with_own_rates(self, own_rates: OwnRates | None) -> Terms:
        """These terms, naming `own_rates`."""
        return self if own_rates is None else _with_own_rates(self, own_rates.text)

    @classmethod
    def from_json(cls, text: str | None) -> Terms:
        """The terms that `text` holds. Never raises: what is missing or unreadable is the default."""
        return _from_json(text) if isinstance(text, str) else cls()


def checked_words(**words: object) -> dict[str, Any]:
    """`words` without those that are `None`. Raises `ClaudetraceError` for an unknown value."""
    given = {name: word for name, word in words.items() if word is not None}
    for name, word in given.items():
        if not isinstance(word, str) or word not in WORDS[name]:
            right = " or ".join(f'"{each}"' for each in WORDS[name])
            raise ClaudetraceError(f"{name} cannot be {word!r:.80}: it is {right}, or left out")
    return given


@lru_cache(maxsize=256)
def _with_own_rates(terms: Terms, text: str) -> Terms:
    return replace(terms, own_rates=text)


def _to_json(terms: Terms) -> str:
    told: dict[str, Any] = {"platform": terms.platform}
    for each in fields(terms):
        if each.init and (value := getattr(terms, each.name)) != each.default:
            told[each.name] = value
    return orjson.dumps(told).decode()


@lru_cache(maxsize=1024)
def _from_json(text: str) -> Terms:
    try:
        told = orjson.loads(text)
    except ValueError:
        told = None
    if not isinstance(told, Mapping):
        return Terms()
    kept: dict[str, Any] = {name: told[name] for name in _TEXTS if isinstance(told.get(name), str)}
    kept |= {name: told[name] for name in _SWITCHES if isinstance(told.get(name), bool)}
    if isinstance(told.get("platform"), str):
        kept["platform"] = told["platform"]
    return Terms(**kept)
