"""Any conversation there and back keeps its meaning: what a vendor with a dialect of its own is sent, as its scripted
server reads it, is what the caller asked; what it cannot express was refused by name before.
"""

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from apps.inference.schemas import ChatCompletionRequest
from llamastack.apis import Api
from llamastack.errors import BadRequest
from llamastack.providers import load, specs
from tests.conformance.vendors import NATIVES
from tests.conformance.vendors.native import Native
from tests.conformance.vendors.vendor import CHAT, JSON
from tests.conversations import meaning, requests

OF_EACH = pytest.mark.parametrize("vendor", NATIVES, ids=lambda vendor: vendor.name)


@OF_EACH
@given(data=st.data())
def test_a_conversation_there_and_back_keeps_its_meaning(vendor: Native, data: st.DataObject) -> None:
    body = data.draw(requests(model=vendor.model, **vendor.asks))
    sent, asked = expressed(vendor, body)
    read = meaning(vendor.question(CHAT, sent))
    if "limit" in read and not {"max_tokens", "max_completion_tokens"} & asked.keys():
        del read["limit"]  # some must be given one
    told = meaning(asked)
    if "user" not in read:
        told.pop("user", None)  # a hint, which not every vendor has a word for
    assert coarse(read) == coarse(told)


def expressed(vendor: Native, body: JSON) -> tuple[JSON, JSON]:
    """What is sent, and the body without the fields that were refused until it was: as `drop_unsupported` does it."""
    provider_class = load(specs(Api.inference)[vendor.provider_type])
    config = provider_class.config_class.model_validate(vendor.config_at("http://vendor.example"))
    provider: Any = provider_class("under-test", config)
    asked = body
    while True:
        request = ChatCompletionRequest.model_validate(asked)
        try:
            sent = provider.translated(request).body
        except BadRequest as refused:
            field = str(refused.param).partition("[")[0].partition(".")[0]
            assume(field in asked.keys() - {"messages", "tools"})
            asked = {name: value for name, value in asked.items() if name != field}
        else:
            assert request == ChatCompletionRequest.model_validate(asked)
            return json.loads(json.dumps(sent)), asked


def coarse(meant: JSON) -> JSON:
    """Vendors that think by a budget of tokens have other degrees."""
    return meant | ({"reasoning_effort": True} if "reasoning_effort" in meant else {})
