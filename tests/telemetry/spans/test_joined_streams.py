"""What the SDK's own span says of a stream is the same whoever reads it."""

from __future__ import annotations

from typing import Any

import pytest
from seam.kinds._left import CUT_AFTER
from seam.kinds._plays import json_answer, streamed

from claudetrace._demo._server import PlayServer

from ._calls import ASK, new_client
from ._places import Place
from .conftest import NO_NATIVE, has_native_spans

pytestmark = [
    pytest.mark.usefixtures("app", "meter"),
    pytest.mark.skipif(not has_native_spans(), reason=NO_NATIVE),
]
OUTPUT = "gen_ai.usage.output_tokens"


def read(stream: Any) -> None:
    try:
        for _ in stream:
            continue
    except Exception:
        return


def test_a_cut_raw_stream_has_no_output_that_a_plain_one_lacks(play: PlayServer, app: Place) -> None:
    """Cut before the API has counted its output, a raw stream's span has no count of it, as a plain stream's."""
    play.add(streamed(cut_after=CUT_AFTER, times=2))
    with new_client(play.url, None, is_async=False) as client:
        read(client.messages.create(**ASK, stream=True))
        read(client.messages.with_raw_response.create(**ASK, stream=True).parse())

    plain, raw = app.spans()
    assert OUTPUT not in plain.attributes
    assert OUTPUT not in raw.attributes


@pytest.mark.parametrize(("form", "said"), [("json_schema", "json"), ("another", None)])
def test_only_a_known_form_is_called_json(form: str, said: str | None, play: PlayServer, app: Place) -> None:
    """A form of output that nobody knows yet is not called JSON."""
    play.add(json_answer())
    with new_client(play.url, None, is_async=False) as client:
        client.messages.create(**ASK, extra_body={"output_config": {"format": {"type": form}}})

    (span,) = app.spans()
    assert span.attributes.get("gen_ai.output.type") == said
