"""Fields that a provider cannot honour: refused by name or, where its config says so, left out of the request."""

import logging
from collections.abc import Iterable

from pydantic import Field

from llamastack.errors import UnsupportedParameter
from llamastack.providers import ProviderConfig

log = logging.getLogger(__name__)

SHOWN = 200  # characters of names in the log
REMEDY = "Leave it out, or set 'drop_unsupported: true' in the provider's config."


class GeneratesConfig(ProviderConfig):
    """What every provider that generates can be told."""

    drop_unsupported: bool = Field(
        False, description="Leave out of a request what cannot be honoured here; otherwise that is a 400"
    )


def to_drop(refusals: Iterable[UnsupportedParameter], config: GeneratesConfig) -> set[str]:
    """The fields to leave out of a request. Raises the first refusal where the config lets nothing be left out."""
    dropped = set()
    for refusal in refusals:
        if not config.drop_unsupported:
            raise refusal
        dropped.add(str(refusal.param))
    if dropped:
        log.info("Left out of a request: %s", ", ".join(sorted(dropped))[:SHOWN])
    return dropped
