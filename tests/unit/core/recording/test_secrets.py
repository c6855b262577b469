"""What is a secret, and where it is found again."""

import base64

import pytest
from pydantic import BaseModel, SecretStr

from llamastack.recording.secrets import MASK, Secrets, of_config, of_request

CANARY = 'ca"na/ry-7531'


def test_a_secret_is_masked_in_every_text_and_name_and_form() -> None:
    masked = Secrets([CANARY]).masked({CANARY: [f"a {CANARY} b", {"x": "ca%22na%2Fry-7531"}], "n": 1, "k": None})
    assert masked == {MASK: [f"a {MASK} b", {"x": MASK}], "n": 1, "k": None}
    assert Secrets([CANARY]).text(r"escaped: ca\"na/ry-7531") == f"escaped: {MASK}"


def test_what_stands_under_the_name_of_a_secret_is_masked() -> None:
    given = {"tools": [{"headers": {"Authorization": "Bearer x", "X-Api-Key": "y"}}], "password": "p", "token": "Paris"}
    kept = {"tools": [{"headers": {"Authorization": MASK, "X-Api-Key": MASK}}], "password": MASK, "token": "Paris"}
    assert Secrets([]).masked(given) == kept


def test_a_short_secret_is_a_word_like_others() -> None:
    assert Secrets(["fake"]).masked("fake news") == "fake news"


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("https://x/v1", {"Authorization": "Bearer canary-7531"}),
        ("https://x/v1", {"x-goog-api-key": "canary-7531"}),
        ("https://x/v1", {"Authorization": f"Basic {base64.b64encode(b'maya:canary-7531').decode()}"}),
        ("https://x/v1?api_key=canary-7531", {}),
        ("https://x/v1", {"X-LlamaStack-Provider-Data": '{"n": 1, "openai_api_key": "canary-7531"}'}),
        ("https://x/v1", {"X-OGX-Provider-Data": '{"vendor": {"keys": ["canary-7531"]}}'}),
        ("https://x/v1", {"X-Named-By-An-Operator": "canary-7531"}),
        ("https://maya:canary-7531@x/v1", {}),
    ],
)
def test_the_secrets_of_a_request(url: str, headers: dict[str, str]) -> None:
    assert "canary-7531" in set(of_request(url, headers))


def test_what_is_no_secret_or_cannot_be_read_is_none() -> None:
    headers = {"Content-Type": "application/json", "Authorization": "Basic no-base64", "x-ogx-provider-data": "no JSON"}
    assert set(of_request("https://[research.example/v1", headers)) == {"Basic no-base64", "no-base64", "no JSON"}


def test_the_secrets_of_a_config_are_found_however_deep() -> None:
    class Inner(BaseModel):
        headers: dict[str, SecretStr] = {"x": SecretStr("two")}
        keys: list[SecretStr] = [SecretStr("three\n")]

    class Config(BaseModel):
        api_key: SecretStr | None = SecretStr("one")
        base_url: str = "https://x"
        inner: Inner = Inner()

    assert set(of_config(Config())) == {"one", "two", "three"}
