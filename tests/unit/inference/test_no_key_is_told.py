"""What a vendor says in an answer of status 200, and what of it may be told."""

from typing import Any

import pytest

from apps.inference.providers.remote.openai import OpenAI, OpenAIConfig
from llamastack.call import Call
from llamastack.errors import UpstreamError
from tests.unit.inference.scripted import Asked, chat, scripted, started, with_data


async def heard(provider: OpenAI, call: Call, stream: bool) -> None:
    reply: Any = await provider.post_chat_completion(call, chat(stream=stream))
    assert [each async for each in reply]


@pytest.mark.parametrize("own", [{}, {"openai_api_key": "sk-of-a-caller-1"}])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_of_status_200_repeats_no_key_and_is_cut(own: dict[str, str], stream: bool) -> None:
    async def telling(asked: Asked) -> Any:
        return {"detail": f"no such key: {asked.headers['Authorization']}" + 1000 * "z"}

    async with scripted({"POST /v1/chat/completions": telling}) as vendor:
        config = OpenAIConfig(base_url=f"{vendor.url}/v1", api_key="sk-of-the-operator")
        async with started(OpenAI("openai", config)) as provider:
            with pytest.raises(UpstreamError) as caught:
                await heard(provider, with_data(**own), stream)
    assert "no such key: ***zzz" in caught.value.message
    assert len(caught.value.message) < 600
