"""The wire types of inference, after OpenAI's API reference.

Requests keep fields they do not know, so that a vendor's own parameters reach the vendor; a provider that cannot
honour one raises UnsupportedParameter. Replies keep unknown fields too, so that nothing a vendor says is lost.
"""

from apps.inference.schemas.base import FinishReason, Usage, now
from apps.inference.schemas.chat import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Choice,
    ChunkChoice,
    Delta,
    ImagePart,
    Message,
    TextPart,
    completion_id,
)
from apps.inference.schemas.completions import (
    Completion,
    CompletionChoice,
    CompletionChunk,
    CompletionRequest,
    text_completion_id,
)
from apps.inference.schemas.embeddings import Embedding, EmbeddingRequest, EmbeddingResponse, EmbeddingUsage
from apps.inference.schemas.generation import (
    GenerationRequest,
    JsonSchemaFormat,
    OtherFormat,
    ResponseFormat,
    StreamOptions,
)
from apps.inference.schemas.rerank import RerankData, RerankItem, RerankRequest, RerankResponse
from apps.inference.schemas.stored import (
    ChatCompletionUpdate,
    DeletedChatCompletion,
    StoredChatCompletion,
    StoredMessage,
)
from apps.inference.schemas.tools import (
    AllowedToolsChoice,
    Function,
    FunctionCall,
    FunctionDelta,
    NamedToolChoice,
    OtherTool,
    OtherToolCall,
    OtherToolChoice,
    ToolCall,
    ToolCallDelta,
    chosen_names,
)
from apps.registry.schemas import ProviderModel

__all__ = [
    "AllowedToolsChoice",
    "AssistantMessage",
    "ChatCompletion",
    "ChatCompletionChunk",
    "ChatCompletionRequest",
    "ChatCompletionUpdate",
    "Choice",
    "ChunkChoice",
    "Completion",
    "CompletionChoice",
    "CompletionChunk",
    "CompletionRequest",
    "DeletedChatCompletion",
    "Delta",
    "Embedding",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "EmbeddingUsage",
    "FinishReason",
    "Function",
    "FunctionCall",
    "FunctionDelta",
    "GenerationRequest",
    "ImagePart",
    "JsonSchemaFormat",
    "Message",
    "NamedToolChoice",
    "OtherFormat",
    "OtherTool",
    "OtherToolCall",
    "OtherToolChoice",
    "ProviderModel",
    "RerankData",
    "RerankItem",
    "RerankRequest",
    "RerankResponse",
    "ResponseFormat",
    "StoredChatCompletion",
    "StoredMessage",
    "StreamOptions",
    "TextPart",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    "chosen_names",
    "completion_id",
    "now",
    "text_completion_id",
]
