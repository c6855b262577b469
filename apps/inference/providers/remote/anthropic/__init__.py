"""Anthropic's Messages API.

provider.py      its address, key, list of models
translation.py   one call there and back, of no provider: for whoever offers Claude
request.py       the body: limits, sampling, thinking; conversation.py, content.py, tools.py, schemas.py its parts
answer.py        a whole answer; stream.py the events of a streamed one
families.py      what each family of Claude can do
"""

from apps.inference.providers.remote.anthropic.provider import Anthropic, AnthropicConfig
from apps.inference.providers.remote.anthropic.translation import MessagesTranslation

__all__ = ["Anthropic", "AnthropicConfig", "MessagesTranslation"]
