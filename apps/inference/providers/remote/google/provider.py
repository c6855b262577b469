"""What the Gemini API and Vertex AI share: chats by generateContent, vectors in calls of as many texts as one takes."""

import asyncio
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import urlencode

from apps.inference.providers import vectors
from apps.inference.providers.remote.google import embeddings
from apps.inference.providers.remote.google.embeddings import Asked, Embeds
from apps.inference.providers.remote.google.generate import GenerateContent
from apps.inference.providers.remote.translation import JSON, Translation, reading
from apps.inference.providers.remote.vendor import Vendor
from apps.inference.schemas import ChatCompletionRequest, EmbeddingRequest, EmbeddingResponse
from llamastack.call import Call
from llamastack.errors import NotFound, UpstreamError

MOST_PAGES = 20
AT_ONCE = 8  # calls for the vectors of one request


class Google(Vendor):
    """`older_ids`: its models before Gemini 3 take the ids of tool calls as well."""

    older_ids: ClassVar[bool] = True

    def translated(self, request: ChatCompletionRequest) -> Translation:
        resource = self.resource(request.model)
        return GenerateContent(request, resource, self.upstream, self.config, older_ids=self.older_ids)

    @abstractmethod
    def resource(self, model: str) -> str:
        """A model's address below that of the API. Raises NotFound."""

    @abstractmethod
    def embeds(self, asked: Asked) -> Iterator[Embeds]:
        """The calls that give the vectors of all texts, in their order."""

    def no_model(self, model: str) -> NotFound:
        return NotFound(f"{self.upstream} has no model '{model[:200]}'.", param="model", code="model_not_found")

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        asked = embeddings.asked(request, self.upstream, self.config)
        sent, found, counts = list(self.embeds(asked)), [], []
        for start in range(0, len(sent), AT_ONCE):
            for some, count in await self._at_once(call, sent[start : start + AT_ONCE]):
                found += some
                counts.append(count)
        tokens = [count for count in counts if count is not None]
        return vectors.response(request, found, sum(tokens) if len(tokens) == len(sent) else None, self.upstream)

    async def _at_once(self, call: Call, sent: list[Embeds]) -> list[tuple[list[list[float]], int | None]]:
        """Some calls' vectors and their counts of tokens; the first that fails ends the others."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._embedded(call, each)) for each in sent]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        return [task.result() for task in tasks]

    async def _embedded(self, call: Call, sent: Embeds) -> tuple[list[list[float]], int | None]:
        answer = await self.reply(call, sent, await self.answer(call, sent))
        with reading(EmbeddingResponse, self.upstream):
            return sent.vectors(answer), sent.counted(answer)

    async def paged(self, path: str, size: int, items: str, headers: dict[str, str]) -> list[JSON]:
        """All the `items` of a list that comes in pages."""
        found: list[JSON] = []
        token = ""
        for _ in range(MOST_PAGES):
            query = urlencode({"pageSize": size} | ({"pageToken": token} if token else {}))
            page = await self.egress.get(f"{path}?{query}", headers)
            if not isinstance(page, dict):
                raise UpstreamError(f"{self.upstream} listed its models as something that is no object.")
            found += page.get(items, ())
            if not (token := str(page.get("nextPageToken") or "")):
                break
        if not all(isinstance(item, dict) and isinstance(item.get("name"), str) for item in found):
            raise UpstreamError(f"{self.upstream} listed models without a name.")
        return found
