"""What is made of the code is as the code is now."""

from docs.providers_page import FILE, page
from llamastack.apis import Api
from llamastack.providers import load, specs


def test_the_page_of_providers_is_current() -> None:
    assert FILE.read_text() == page(), "Run `make docs`, or `python -m docs.providers_page`, and commit what it writes."


def test_every_type_and_every_field_is_on_it() -> None:
    sections = dict(section.split("\n", 1) for section in FILE.read_text().split("\n### ")[1:])
    assert set(sections) == set(specs(Api.inference))
    for provider_type, spec in specs(Api.inference).items():
        for field in load(spec).config_class.model_fields:
            assert f"| `{field}` |" in sections[provider_type]
