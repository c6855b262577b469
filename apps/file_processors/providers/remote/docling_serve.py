"""Documents read by docling-serve: layout, tables, OCR. https://github.com/docling-project/docling-serve"""

from typing import Any

from pydantic import BaseModel, Field, SecretStr, ValidationError

from apps.file_processors import refusals
from apps.file_processors.providers.remote.converting import Converting, ConvertingConfig

BREAK = "<!-- llama-stack-page-break -->"


class DoclingServeConfig(ConvertingConfig):
    base_url: str = Field(
        "http://localhost:5001", description="Where docling-serve runs; /v1 at the end may be left out"
    )
    api_key: SecretStr | None = Field(None, description="What docling-serve expects as X-Api-Key")

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"base_url": "http://localhost:5001"}


class Converted(BaseModel):
    """What is read of its answer."""

    class Content(BaseModel):
        md_content: str | None = None

    class Fault(BaseModel):
        error_message: str = ""

    document: Content = Content()
    status: str
    errors: list[Fault] = []


class DoclingServe(Converting):
    config_class = DoclingServeConfig
    provider_type = "docling-serve"
    path = "v1/convert/file"
    health_path = "health"

    def address(self) -> str:
        return super().address().removesuffix("/v1")

    def credentials(self) -> dict[str, str]:
        key = self.config.api_key
        return {"X-Api-Key": key.get_secret_value()} if key else {}

    def fields(self, kind: str) -> dict[str, str]:
        return {"to_formats": "md", "image_export_mode": "placeholder", "md_page_break_placeholder": BREAK}

    def pages(self, name: str, answer: Any) -> list[tuple[int | None, str]]:
        """A document of one page, or without any, has no break."""
        try:
            found = Converted.model_validate(answer)
        except ValidationError as error:
            raise self.nonsense() from error
        if found.status not in ("success", "partial_success"):
            why = next((fault.error_message for fault in found.errors if fault.error_message), found.status)
            raise refusals.broken(name, f"its reader says: {why[:500]}")
        texts = (found.document.md_content or "").replace("<!-- image -->", "").split(BREAK)
        return [(None, texts[0])] if len(texts) == 1 else list(enumerate(texts, 1))
