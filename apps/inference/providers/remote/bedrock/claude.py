"""How Claude thinks and samples, which is the same on Bedrock as at Anthropic, said in Converse's words.

https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html, …/model-parameters-claude
"""

from apps.inference.providers.remote.anthropic.families import family
from apps.inference.providers.remote.anthropic.sampling import sample, think
from apps.inference.providers.unsupported import JSON, Lacks
from apps.inference.schemas import ChatCompletionRequest

CHOICES = {"any": {"type": "any"}, "tool": {"type": "tool"}}


def ask(made: JSON, request: ChatCompletionRequest, lacks: Lacks) -> None:
    """Adds `temperature`, `top_p`, `reasoning_effort` and `thinking` to a body of Converse's."""
    able = family(request.model)
    thinking = (request.model_extra or {}).get("thinking")
    choice = next(iter(made.get("toolConfig", {}).get("toolChoice", {})), "auto")
    said: JSON = {"max_tokens": request.limit or able.limit, "tool_choice": CHOICES.get(choice)}
    if thinking is not None:
        said["thinking"] = thinking
    think(said, request, able, lacks)
    sample(said, request, able, lacks)
    if "thinking" in said:
        made.setdefault("additionalModelRequestFields", {})["thinking"] = said["thinking"]
    if "effort" in said.get("output_config", {}):
        made["outputConfig"] = made.get("outputConfig", {}) | {"effort": said["output_config"]["effort"]}
    for own, name in (("temperature", "temperature"), ("topP", "top_p")):
        if name in said:
            made["inferenceConfig"][own] = said[name]
