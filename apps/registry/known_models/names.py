"""Which names of a vendor's models mean the same model. All names are in lower case.

`same` takes off notation alone: what is left is the same model. `family` takes off versions and regions: what is left
means several models, which may differ.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

DATE = re.compile(r"[-@](?:\d{8}|\d{4}-\d{2}-\d{2})$")
# Google's `-001`, `@001` and `@default`.
NUMBERED = re.compile(r"[-@](?:\d{3}|default)$")
GOOGLE_PATH = re.compile(r"^(?:projects/[^/]+/locations/[^/]+/)?(?:publishers/[^/]+/)?models/")
# https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
REGION = re.compile(r"^(?:us-gov|us|eu|apac|au|jp|ca|global)\.")
BEDROCK_VERSION = re.compile(r"-v\d+(?::\d+)?$|:\d+$")
ARN = re.compile(r"^arn:[^:]*:bedrock:[^:]*:[^:]*:(?:foundation-model|inference-profile)/(.+)$")
FIREWORKS = "accounts/fireworks/models/"


@dataclass(frozen=True)
class Names:
    """How a vendor names its models; `vendor` is the name of the file of its data."""

    vendor: str
    same: Callable[[str], tuple[str, ...]]
    family: Callable[[str], str]


def alone(name: str) -> tuple[str, ...]:
    return (name,)


def dated(name: str) -> str:
    return DATE.sub("", name)


def google(name: str) -> tuple[str, ...]:
    """`models/…` and `publishers/…/models/…` are paths to a model; `google/…` says whose it is."""
    plain = GOOGLE_PATH.sub("", name)
    return tuple(dict.fromkeys((plain, plain.rpartition("/")[2])))


def google_family(name: str) -> str:
    return DATE.sub("", NUMBERED.sub("", name))


def bedrock(name: str) -> tuple[str, ...]:
    """A model's or a profile's ARN ends in its id. Others name a contract or a model of one's own: nothing is known."""
    if not name.startswith("arn:"):
        return (name,)
    found = ARN.match(name)
    return (found[1],) if found else ()


def bedrock_family(name: str) -> str:
    return DATE.sub("", BEDROCK_VERSION.sub("", REGION.sub("", name)))


def fireworks(name: str) -> tuple[str, ...]:
    return (name, name.removeprefix(FIREWORKS) if name.startswith(FIREWORKS) else FIREWORKS + name)


VENDORS = {
    "remote::anthropic": Names("anthropic", alone, dated),
    "remote::azure": Names("azure", alone, dated),
    "remote::bedrock": Names("bedrock", bedrock, bedrock_family),
    "remote::cerebras": Names("cerebras", alone, dated),
    "remote::databricks": Names("databricks", alone, dated),
    "remote::fireworks": Names("fireworks", fireworks, dated),
    "remote::gemini": Names("gemini", google, google_family),
    "remote::groq": Names("groq", alone, dated),
    "remote::llama-openai-compat": Names("llama", alone, dated),
    "remote::oci": Names("oci", alone, dated),
    "remote::openai": Names("openai", alone, dated),
    "remote::sambanova": Names("sambanova", alone, dated),
    "remote::together": Names("together", alone, dated),
    "remote::vertexai": Names("vertexai", google, google_family),
    "remote::watsonx": Names("watsonx", alone, dated),
}
