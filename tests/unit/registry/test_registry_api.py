"""GET /v1/models, /v1/providers, /v1/inspect/routes, /v1/health, /v1/version, and their description."""

import httpx

from apps.registry import service
from apps.registry.models import Model, Provider
from llamastack.db import db
from llamastack.stack import LlamaStack


async def test_models_carry_both_shapes(client: httpx.AsyncClient, sky: Provider) -> None:
    listing = (await client.get("/v1/models")).json()
    assert listing["object"] == "list"
    model = listing["data"][0]
    assert (model["id"], model["object"], model["owned_by"]) == ("sky/sky-1", "model", "sky")
    assert (model["identifier"], model["provider_id"], model["provider_resource_id"]) == ("sky/sky-1", "sky", "sky-1")
    assert isinstance(model["created"], int)


async def test_a_name_with_slashes_is_found_and_an_alias_leads_to_it(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    row = await db(Model.objects.get, identifier="sky/sky-2")
    await db(service.edit_model, row, {"aliases": ["gpt-4o", "my/own/name"], "default": True})
    await running.live.refresh()
    for name in ("sky/sky-2", "gpt-4o", "my/own/name"):
        assert (await client.get(f"/v1/models/{name}")).json()["identifier"] == "sky/sky-2"
    listed = (await client.get("/v1/models")).json()["data"]
    assert [(model["identifier"], model["default"]) for model in listed] == [("sky/sky-2", True), ("sky/sky-1", False)]


async def test_an_unknown_model_is_404(client: httpx.AsyncClient, sky: Provider) -> None:
    response = await client.get("/v1/models/sky/sky-9")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_disabled_model_is_absent(client: httpx.AsyncClient, running: LlamaStack, sky: Provider) -> None:
    row = await db(Model.objects.get, identifier="sky/sky-2")
    await db(service.edit_model, row, {"enabled": False})
    await running.live.refresh()
    assert [model["id"] for model in (await client.get("/v1/models")).json()["data"]] == ["sky/sky-1"]


async def test_providers_are_told_without_their_secrets(client: httpx.AsyncClient, sky: Provider) -> None:
    response = await client.get("/v1/providers")
    assert "sk-upstream" not in response.text
    provider = response.json()["data"][0]
    assert (provider["api"], provider["provider_id"], provider["provider_type"]) == (
        "inference",
        "sky",
        "remote::openai",
    )
    assert provider["config"]["api_key"] == "********"
    told = (await client.get("/v1/providers/sky")).json()
    assert told["health"] == {"status": "OK", "message": "2 models"}


async def test_an_unknown_provider_is_404(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/providers/nobody")).status_code == 404


async def test_every_route_listed_is_answered(client: httpx.AsyncClient, sky: Provider) -> None:
    routes = (await client.get("/v1/inspect/routes")).json()["data"]
    chat = [route for route in routes if route["route"] == "/v1/chat/completions"]
    assert [route["method"] for route in chat] == ["GET", "POST"]
    assert all(route["provider_types"] == ["remote::openai"] for route in chat)
    for route in routes:
        path = route["route"].replace("{model_id}", "sky/sky-1").replace("{provider_id}", "sky")
        body = None if route["method"] == "GET" else {}
        if route["method"] == "DELETE":
            path += "-that-never-was"
        response = await client.request(route["method"], path, json=body)
        assert response.json().get("error", {}).get("code") != "unknown_url", (route, response.text)
        assert response.status_code < 500


async def test_health_and_version(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/health")).json() == {"status": "OK"}
    assert (await client.get("/v1/version")).json()["version"].count(".") == 2


async def test_the_description_names_every_operation_once(client: httpx.AsyncClient) -> None:
    described = (await client.get("/openapi.json")).json()
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    aliases = {path for path, found in described["paths"].items() if any(o["deprecated"] for o in found.values())}
    assert aliases == {path for path in described["paths"] if path.startswith("/v1/openai/v1/")}
    assert described["components"]["securitySchemes"]["Bearer"]["scheme"] == "bearer"
