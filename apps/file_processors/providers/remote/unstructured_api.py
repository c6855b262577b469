"""Documents read by the partition endpoint of Unstructured, its own or a self-hosted one.

https://docs.unstructured.io/api-reference/partition/overview
"""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, Field, SecretStr, TypeAdapter, ValidationError

from apps.file_processors.providers.remote.converting import Converting, ConvertingConfig


class UnstructuredConfig(ConvertingConfig):
    base_url: str = Field("https://api.unstructuredapp.io", description="Where its API begins")
    api_key: SecretStr | None = Field(None, description="What it expects as unstructured-api-key")
    strategy: str = Field("auto", description="How it reads: auto, fast, hi_res or ocr_only", pattern="^[a-z_]+$")

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"api_key": "key"}


class Element(BaseModel):
    """What is read of each of its answer's elements."""

    class Place(BaseModel):
        page_number: int | None = None

    type: str = ""
    text: str = ""
    metadata: Place = Place()

    @property
    def markdown(self) -> str:
        forms = {"Title": "# {}", "ListItem": "- {}"}
        return forms.get(self.type, "{}").format(self.text) if self.text.strip() else ""


ELEMENTS = TypeAdapter(list[Element])


class Unstructured(Converting):
    config_class = UnstructuredConfig
    provider_type = "unstructured-api"
    path = "general/v0/general"

    def credentials(self) -> dict[str, str]:
        key = self.config.api_key
        return {"unstructured-api-key": key.get_secret_value()} if key else {}

    def fields(self, kind: str) -> dict[str, str]:
        return {"strategy": self.config.strategy, "output_format": "application/json"}

    def pages(self, name: str, answer: Any) -> list[tuple[int | None, str]]:
        try:
            elements = ELEMENTS.validate_python(answer)
        except ValidationError as error:
            raise self.nonsense() from error
        return _by_page(elements)


def _by_page(elements: Iterable[Element]) -> list[tuple[int | None, str]]:
    pages: dict[int | None, list[str]] = {}
    for element in elements:
        pages.setdefault(element.metadata.page_number, []).append(element.markdown)
    return [(number, "\n\n".join(filter(None, texts))) for number, texts in pages.items()] or [(None, "")]
