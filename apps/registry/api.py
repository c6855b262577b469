"""Models, providers and the server itself, read from the snapshot."""

from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from ninja import Router

from apps.access.service import Request
from apps.registry import service
from apps.registry.config_classes import config_class
from apps.registry.listing import sent, shown_model
from apps.registry.models import Provider
from apps.registry.routes import routes
from apps.registry.schemas import (
    DeletedModel,
    HealthInfo,
    ModelInfo,
    ModelList,
    ProviderHealth,
    ProviderInfo,
    ProviderList,
    RegisterModel,
    RouteList,
    UpdateModel,
    VersionInfo,
)
from apps.registry.secrets import masked
from llamastack import __version__
from llamastack.apis import Api
from llamastack.call import Principal
from llamastack.db import db
from llamastack.errors import BadRequest, NotFound, PermissionDenied
from llamastack.snapshot import ModelRecord, ProviderRecord
from llamastack.stack import current

router = Router()
models = Router(tags=["models"])


@models.get("/models", response=ModelList, summary="List models")
async def list_models(request: Request) -> Any:
    """Every model the caller may use, the default ones first."""
    live = current().live
    parts = await live.listing.of(live.snapshot, request.auth.principal.tenant)
    if len(parts) == 1:
        return HttpResponse(parts[0], content_type="application/json")
    length = {"Content-Length": str(sum(map(len, parts)))}
    return StreamingHttpResponse(sent(parts), content_type="application/json", headers=length)


@models.get("/models/{path:model_id}", response=ModelInfo, summary="Get a model")
async def get_model(request: Request, model_id: str) -> Any:
    """A model by its identifier (slashes allowed) or an alias."""
    route = await current().live.named(request.auth, model_id)
    return shown(route)


@models.post("/models", response=ModelInfo, summary="Register a model")
async def register_model(request: Request, body: RegisterModel) -> Any:
    """Give a provider's model a name. Needs an admin's key where keys are required."""
    live, principal = current().live, admin(request)
    known = live.snapshot.providers_of(principal.tenant)
    provider_id = chosen_provider(known, body) if body.homes is None else body.provider_id
    await db(service.register_model, principal, provider_id, body)
    await live.refresh()
    return shown(await live.named(request.auth, body.model_id))


@models.patch("/models/{path:model_id}", response=ModelInfo, summary="Update a model")
async def update_model(request: Request, model_id: str, body: UpdateModel) -> Any:
    """Change what is given of a model. Needs an admin's key where keys are required."""
    live, principal = current().live, admin(request)
    model = await live.named(request.auth, model_id)
    if "provider_id" in body.model_fields_set:
        refuse_unknown(live.snapshot.providers_of(principal.tenant), body.provider_id)
    await db(service.update_model, principal, model.key, body)
    await live.refresh()
    return shown(await live.named(request.auth, model.identifier))


@models.delete("/models/{path:model_id}", response=DeletedModel, summary="Unregister a model")
async def unregister_model(request: Request, model_id: str) -> Any:
    """Forget a model. One that the YAML declares can only be disabled, in the admin."""
    live, principal = current().live, admin(request)
    model = await live.named(request.auth, model_id)
    await db(service.unregister_model, principal, model.key)
    await live.refresh()
    return DeletedModel(id=model.identifier)


@router.get("/providers", response=ProviderList, tags=["providers"], summary="List providers")
async def list_providers(request: Request) -> Any:
    """Every provider and its last health; to an admin its effective config too (secrets masked)."""
    principal = request.auth.principal
    records = current().live.snapshot.providers_of(principal.tenant)
    healths = await db(known_health)
    return ProviderList(data=[shown_provider(record, healths, principal) for record in records])


@router.get("/providers/{provider_id}", response=ProviderInfo, tags=["providers"], summary="Get a provider")
async def get_provider(request: Request, provider_id: str) -> Any:
    """A provider asked for its health now."""
    live = current().live
    for record in live.snapshot.providers_of(request.auth.principal.tenant):
        if record.provider_id == provider_id:
            health = await live.check_health(record.key)
            return shown_provider(record, {record.key: (health.ok, health.message)}, request.auth.principal)
    raise NotFound(f"Provider '{provider_id[:200]}' was not found. GET /v1/providers lists them.")


@router.get("/inspect/routes", response=RouteList, tags=["inspect"], summary="List routes")
async def list_routes(request: Request) -> Any:
    """Every route this server answers, with the provider types behind it."""
    records = current().live.snapshot.providers_of(request.auth.principal.tenant)
    return RouteList(data=routes(records))


@router.get("/health", response=HealthInfo, auth=None, tags=["inspect"], summary="Health")
async def health(request: HttpRequest) -> Any:
    """200 once the registry is read; 503 before."""
    current()
    return HealthInfo()


@router.get("/version", response=VersionInfo, auth=None, tags=["inspect"], summary="Version")
async def version(request: HttpRequest) -> Any:
    return VersionInfo(version=__version__)


def admin(request: Request) -> Principal:
    """The caller, who may change the registry."""
    if not request.auth.principal.is_admin:
        raise PermissionDenied("Only an admin's key may change the registry.")
    return request.auth.principal


def chosen_provider(providers: list[ProviderRecord], body: RegisterModel) -> str:
    """The provider a registration means; BadRequest names those there are."""
    known = inference_providers(providers)
    named = body.provider_id or body.model_id.partition("/")[0]
    if body.provider_id is None and named not in known and len(known) == 1:
        return known.pop()
    refuse_unknown(providers, named)
    return named


def inference_providers(providers: list[ProviderRecord]) -> set[str]:
    return {provider.provider_id for provider in providers if provider.api == Api.inference}


def refuse_unknown(providers: list[ProviderRecord], named: str) -> None:
    known = inference_providers(providers)
    if named not in known:
        raise BadRequest(
            f"Name one of the providers: {', '.join(sorted(known)) or 'there is none yet'}.", param="provider_id"
        )


def shown(model: ModelRecord) -> ModelInfo:
    return shown_model(current().live.snapshot, model)


def known_health() -> dict[int, tuple[bool | None, str]]:
    return {row[0]: (row[1], row[2]) for row in Provider.objects.values_list("pk", "healthy", "health")}


def shown_provider(
    record: ProviderRecord, healths: dict[int, tuple[bool | None, str]], principal: Principal
) -> ProviderInfo:
    """Who is no admin has no business with a provider's addresses and settings."""
    config = record.config if principal.is_admin else {}
    return ProviderInfo(
        api=record.api,
        provider_id=record.provider_id,
        provider_type=record.provider_type,
        config=masked(config_class(record.api, record.provider_type, record.module), config),
        health=shown_health(record, *healths.get(record.key, (None, ""))),
    )


def shown_health(record: ProviderRecord, healthy: bool | None, message: str) -> ProviderHealth:
    if record.unavailable:
        return ProviderHealth(status="Error", message=f"unavailable: {record.unavailable}")
    if healthy is None:
        return ProviderHealth(status="Not Implemented", message="not checked yet")
    return ProviderHealth(status="OK" if healthy else "Error", message=message or None)
