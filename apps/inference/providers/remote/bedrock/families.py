"""What a model on Bedrock can do beyond what Converse says of all of them, as its id tells.

From https://docs.aws.amazon.com/bedrock/latest/userguide: structured-output (models that follow a schema),
API_runtime_ToolChoice (who can be made to call a tool), model-parameters-* (`top_k`, reasoning), and
https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html (November 2026). Of an id that does not
tell its model, such as an application's inference profile, nothing is assumed: Bedrock itself takes or refuses it.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from apps.inference.providers.remote.anthropic import families as claude

# us.anthropic.claude-sonnet-4-5-20250929-v1:0; arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0
WHERE = r"(?:(?:us|eu|ap|apac|ca|sa|me|af|jp|au|global)(?:-[a-z]+)?\.)?"
MODEL = re.compile(rf"(?:^|/){WHERE}(?P<maker>[a-z][a-z0-9-]*)\.(?P<name>[a-z][a-z0-9.-]*)")
FOLLOWING = re.compile(
    r"claude|gpt-oss|qwen3|deepseek\.v3|deepseek-v3|gemma-3|minimax|kimi|nemotron"
    r"|mistral-large-3|ministral-3|magistral|voxtral"
)
NEVER_FORCED = ("meta", "cohere", "ai21")
TOP_K: dict[str, tuple[str, ...]] = {"anthropic": ("top_k",), "mistral": ("top_k",), "cohere": ("k",)}
NOVA_TOP_K = ("inferenceConfig", "topK")


@dataclass(frozen=True)
class Family:
    """`follows_schemas`: by itself, and not only in the input of a tool. `can_be_forced`: to call a tool.

    `reasons` is how the effort of it is asked for: in `nova`'s words, or by an `effort`; of Claude claude.py tells.
    `top_k` is where that stands among the model's own fields.
    """

    claude: bool = False
    follows_schemas: bool = False
    can_be_forced: bool = True
    reasons: Literal["", "nova", "effort"] = ""
    top_k: tuple[str, ...] = ()


@lru_cache(maxsize=1024)
def family(model: str) -> Family:
    found = MODEL.search(model.lower())
    if found is None:
        return Family()
    maker, name = found["maker"], found["name"]
    plain = Family(
        follows_schemas=bool(FOLLOWING.search(f"{maker}.{name}")),
        can_be_forced=maker not in NEVER_FORCED,
        top_k=TOP_K.get(maker, ()),
    )
    if maker == "anthropic":
        return _claude(name, plain)
    if maker == "amazon" and name.startswith("nova"):
        return replace(plain, top_k=NOVA_TOP_K, reasons="nova" if name.startswith("nova-2") else "")
    return replace(plain, reasons="effort") if name.startswith("gpt-oss") else plain


def _claude(name: str, plain: Family) -> Family:
    """As Anthropic's own API has it."""
    own = claude.family(name)
    return replace(plain, claude=True, follows_schemas=own.follows_schemas, can_be_forced=own.can_be_forced)
