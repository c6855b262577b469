"""Google's own dialect, generateContent, which the Gemini API and Vertex AI share.

Formats: https://ai.google.dev/api/generate-content and
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference (GenerateContentResponse:
https://cloud.google.com/vertex-ai/docs/reference/rest/v1/GenerateContentResponse).

provider.py    what both vendors share
generate.py    one call: its path and body, and its answer
settings.py    a request's fields as generationConfig, tools and the like
turns.py       messages as contents and systemInstruction
media.py       images, audio and files as parts
answers.py     candidates, usage and ends as OpenAI has them
embeddings.py  texts as vectors
"""

from apps.inference.providers.remote.google.generate import GenerateContent
from apps.inference.providers.remote.google.provider import Google

__all__ = ["GenerateContent", "Google"]
