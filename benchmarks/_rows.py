"""The rows of a registry of a size: what benchmarks/registry.py measures with. Needs a Django that is set up."""

from django.db import transaction

from apps.access.models import ApiKey, SnapshotVersion, digest
from apps.registry.models import Model, Origin, Provider
from llamastack.call import SHARED_TENANT

TENANTS = ("default", "blue", "green", "red")
OTHERS = 20  # providers that are not the one with most of the models
BATCH = 500


@transaction.atomic
def fill(models: int, keys: int, url: str) -> None:
    """Of a hundred models 80 are on one provider, 4 of them with aliases; 10 on others; 5 have homes and 1 references;
    the rest is of tenants."""
    version = SnapshotVersion.bump()
    many = {"origin": Origin.api, "version": version}
    config = {"config": {"base_url": url, "api_key": "any"}}
    names = [f"vendor-{number}" for number in range(OTHERS)]
    kind = "remote::openai"
    providers = [Provider(identifier=name, provider_type=kind, override=config, **many) for name in names]
    Provider.objects.bulk_create(providers)
    rows = [Model(**_model(number), owner="bench", **many) for number in range(models)]
    Model.objects.bulk_create(rows, BATCH)
    made = [
        ApiKey(
            name=f"key {number}",
            owner=f"owner-{number % 1000}",
            tenant=TENANTS[number % len(TENANTS)],
            prefix="lls-bench",
            digest=digest(secret(number)),
            version=version,
        )
        for number in range(keys)
    ]
    ApiKey.objects.bulk_create(made, BATCH)


def secret(number: int) -> str:
    return f"lls-bench-{number}"


def _model(number: int) -> dict[str, object]:
    family, size = ("llama", "qwen", "mistral", "gpt", "claude", "gemma")[number % 6], 1 + number % 70
    name = f"{family}-{1 + number % 4}.{number % 7}-{size}b-instruct-{number:05}"
    metadata = {"context_length": 8192 * (1 + number % 4), "display_name": f"{family.title()} {size}B"}
    fields: dict[str, object] = {"provider_id": "sky", "provider_model_id": f"maker/{name}", "metadata": metadata}
    tenant, prefix = SHARED_TENANT, "sky"
    part = number % 100
    if part < 4:
        fields["aliases"] = [f"{family}-{number}", f"{family}-{number}-latest"]
    elif 80 <= part < 90:
        prefix = fields["provider_id"] = f"vendor-{number % OTHERS}"
    elif 90 <= part < 95:
        there = [{"provider_id": one, "provider_model_id": name} for one in ("sky", f"vendor-{part % OTHERS}")]
        prefix, fields = "routed", {"homes": there}
    elif part == 95:
        first = _model(number - 95)
        prefix, fields = "routed", {"homes": [{"model": first["identifier"]}, {"provider_id": "vendor-1", "order": 1}]}
    elif part > 95:
        tenant, prefix = TENANTS[part % len(TENANTS)], "own"
    return {"identifier": f"{prefix}/{name}", "tenant": tenant, "override": fields}
