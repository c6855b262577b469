"""How rows of the registry are shown: what state a provider is in, and what its types are for."""

import inspect
import re
import sys
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlsplit

from django.utils import timezone
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince

from apps.registry.effective import provider_record
from apps.registry.facts import OPERATOR, PROVIDER, Facts
from apps.registry.models import Origin, Provider, Resource
from llamastack.admin import badge
from llamastack.apis import SERVED, Api
from llamastack.model_facts import Prices, Rates
from llamastack.providers import ProviderConfig, load, specs

WORDS = {OPERATOR: "from its metadata", PROVIDER: "from its provider's list"}
MOODS = {Origin.yaml: "note", Origin.admin: "plain", Origin.api: "plain", Origin.discovered: "good"}


@dataclass(frozen=True)
class State:
    """A provider's state: a word, its mood as a badge, and the sentence that explains it."""

    word: str
    mood: str
    reason: str = ""

    @property
    def badge(self) -> SafeString:
        return badge(self.word, self.mood, self.reason)


def state_of(row: Provider) -> State:
    if row.gone:
        return State("Gone", "plain", "Its entry has left the YAML.")
    if not row.enabled:
        return State("Disabled", "plain")
    if unavailable := provider_record(row).unavailable:
        return State("Unavailable", "doubtful", unavailable)
    if row.healthy is None:
        return State("Not checked", "plain")
    return State("Healthy", "good", row.health) if row.healthy else State("Failing", "bad", row.health)


def checked(row: Provider) -> str:
    """When a provider was last asked how it is."""
    if row.checked_at is None:
        return ""
    passed = timezone.now() - row.checked_at
    return f"{passed.seconds} s ago" if passed.total_seconds() < 60 else f"{timesince(row.checked_at)} ago"


def origin_badge(row: Resource) -> SafeString:
    return badge(row.get_origin_display(), MOODS[Origin(row.origin)])


def dollars(price: float) -> str:
    return f"{Decimal(str(price)).normalize():f}"


def shown_facts(facts: Facts) -> SafeString:
    """A line for each, with who says it."""
    values = {
        "context_length": f"{facts.context_length:,} tokens" if facts.context_length else "",
        "max_output_tokens": f"{facts.max_output_tokens:,} tokens" if facts.max_output_tokens else "",
        "prices": f"{_rates(facts.prices)} ($ for a million tokens)" if facts.prices else "",
    }
    lines = [(name, values[name], _source(source, facts)) for name, source in facts.sources.items()]
    return format_html_join("", "<div>{}: {} – {}</div>", lines) if lines else SafeString("Nothing is known.")


def _rates(rates: Rates) -> str:
    said = rates.model_dump(exclude_none=True, exclude={"long", "above"})
    usual = ", ".join(f"{name} {dollars(price)}" for name, price in said.items())
    long = rates.long if isinstance(rates, Prices) else ()
    return "; ".join([usual or "none", *(f"above {tier.above:,} tokens: {_rates(tier)}" for tier in long)])


def _source(source: str, facts: Facts) -> str:
    if source in WORDS:
        return WORDS[source]
    link = '<a href="{}" rel="noreferrer">{}</a>, checked {}'
    return format_html(link, source, urlsplit(source).netloc, facts.checked)


@dataclass(frozen=True)
class BuiltType:
    """A provider type that can be added. `unavailable` says what is missing for it here."""

    api: Api
    provider_type: str
    about: SafeString
    unavailable: str = ""


def built_types() -> list[BuiltType]:
    """By API: those of inference first, which most people come for."""
    apis = sorted(SERVED, key=lambda api: api != Api.inference)
    return [_built(api, name) for api in apis for name in specs(api)]


def _built(api: Api, name: str) -> BuiltType:
    spec = specs(api)[name]
    try:
        module = sys.modules[load(spec).__module__]
    except ImportError as error:
        return BuiltType(api, name, SafeString(), str(error))
    return BuiltType(api, name, as_code((module.__doc__ or "").partition("\n\n")[0]))


def docstring(kind: type[ProviderConfig] | None) -> SafeString:
    """What the class says of its fields."""
    return as_code(inspect.getdoc(kind) or "") if kind else SafeString()


def as_code(text: str) -> SafeString:
    """The text with its `names` set as code."""
    text = escape(text)
    return mark_safe(re.sub(r"`([^`]+)`", r'<code class="font-mono">\1</code>', text))  # noqa: S308 (escaped above)
