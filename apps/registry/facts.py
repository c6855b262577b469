"""What holds of a model: what its operator says, else what its provider listed, else what is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from apps.registry.effective import model_record
from apps.registry.models import Model, Provider
from llamastack.apis import Api
from llamastack.call import SHARED_TENANT
from llamastack.model_facts import FACTS, ModelFacts, Prices
from llamastack.snapshot import ModelRecord, Snapshot

OPERATOR, PROVIDER = "operator", "provider"


@dataclass(frozen=True, slots=True)
class Facts:
    """`sources` says of each fact who says it: `operator`, `provider`, or the address where it is published.

    `checked` is the day when the published ones were last found to be so.
    """

    context_length: int | None = None
    max_output_tokens: int | None = None
    prices: Prices | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    checked: str = ""


def facts_in(snapshot: Snapshot, model: ModelRecord) -> Facts:
    """Of a model on the first of its homes."""
    provider = snapshot.provider(model.tenant, model.provider_id, Api.inference)
    return facts_of(model, provider.provider_type if provider else "", model.provider_model_id)


def facts_of(model: ModelRecord, provider_type: str, provider_model_id: str) -> Facts:
    """Of a model where a provider of that type serves it as `provider_model_id`: a lookup, without the database."""
    from apps.registry.known_models import known_model  # a start does without it

    known = known_model(provider_type, provider_model_id)
    said = {OPERATOR: model.stated, PROVIDER: model.listed}
    if known:
        said[known.source] = known.facts
    sources = {name: source for name in FACTS if (source := _first(name, said))}
    held = {name: getattr(said[source], name) for name, source in sources.items()}
    return Facts(**held, sources=sources, checked=known.checked if known and known.source in sources.values() else "")


def _first(name: str, said: Mapping[str, ModelFacts]) -> str | None:
    return next((source for source, facts in said.items() if getattr(facts, name) is not None), None)


def facts_of_row(row: Model, provider_types: Mapping[tuple[str, str], str]) -> Facts:
    """As `facts_in`, of a row that may be in no snapshot."""
    model = model_record(row)
    own = provider_types.get((model.tenant, model.provider_id))
    provider_type = own or provider_types.get((SHARED_TENANT, model.provider_id), "")
    return facts_of(model, provider_type, model.provider_model_id)


def provider_types() -> dict[tuple[str, str], str]:
    """The types of the providers of inference, by tenant and identifier."""
    rows = Provider.objects.filter(api=Api.inference).values_list("tenant", "identifier", "provider_type")
    return {(tenant, identifier): provider_type for tenant, identifier, provider_type in rows}
