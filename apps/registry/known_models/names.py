"""Which names of a vendor's models mean the same model. All names are in lower case.

`same` takes off notation alone: what is left is the same model. `family` takes off versions and regions: what is left
means several models, which may differ.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

# Patterns are compiled when the first model is asked for, not when the server starts.
DATE = r"[-@](?:\d{8}|\d{4}-\d{2}-\d{2})$"
# Google's `-001`, `@001` and `@default`.
NUMBERED = r"[-@](?:\d{3}|default)$"
GOOGLE_PATH = r"^(?:projects/[^/]+/locations/[^/]+/)?(?:publishers/[^/]+/)?models/"
# https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
REGION = r"^(?:us-gov|us|eu|apac|au|jp|ca|global)\."
BEDROCK_VERSION = r"-v\d+(?::\d+)?$|:\d+$"
ARN = r"^arn:[^:]*:bedrock:[^:]*:[^:]*:(?:foundation-model|inference-profile)/(.+)$"
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
    return re.sub(DATE, "", name)


def google(name: str) -> tuple[str, ...]:
    """`models/…` and `publishers/…/models/…` are paths to a model; `google/…` says whose it is."""
    plain = re.sub(GOOGLE_PATH, "", name)
    return tuple(dict.fromkeys((plain, plain.rpartition("/")[2])))


def google_family(name: str) -> str:
    return re.sub(DATE, "", re.sub(NUMBERED, "", name))


def bedrock(name: str) -> tuple[str, ...]:
    """A model's or a profile's ARN ends in its id. Others name a contract or a model of one's own: nothing is known."""
    if not name.startswith("arn:"):
        return (name,)
    found = re.match(ARN, name)
    return (found[1],) if found else ()


def bedrock_family(name: str) -> str:
    return re.sub(DATE, "", re.sub(BEDROCK_VERSION, "", re.sub(REGION, "", name)))


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
