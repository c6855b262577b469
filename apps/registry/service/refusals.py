"""What no row may be, whichever table it is of, and who may change it."""

from typing import Any

from apps.access.models import Owned
from apps.registry.models import Origin, Resource
from llamastack.call import DEFAULT_TENANT, SHARED_TENANT, Principal
from llamastack.config.expand import strings
from llamastack.encryption import PREFIX
from llamastack.errors import BadRequest, Conflict


def may_change(principal: Principal, row: Owned) -> bool:
    """Whether an admin may change this row: those of the tenant, and in the default tenant what all share."""
    shared = row.tenant == SHARED_TENANT and principal.tenant == DEFAULT_TENANT
    return principal.is_admin and (row.tenant == principal.tenant or shared)


def refuse_duplicate(row: Resource, table: Any) -> None:
    if table.filter(tenant=row.tenant, identifier=row.identifier).exclude(pk=row.pk).exists():
        raise Conflict(f"'{row.identifier}' exists already; choose another identifier.", param="identifier")


def refuse_declared(row: Resource) -> None:
    if row.origin == Origin.yaml and not row.gone:
        raise Conflict(f"'{row.identifier}' is declared in the YAML and would come back: disable it instead.")


def refuse_sealed(value: Any, place: str) -> None:
    """Text in the form of stored secrets would be decrypted and shown, or sent somewhere else."""
    if any(text.startswith(PREFIX) for _, text in strings(value)):
        raise BadRequest(f"'{place}': no value may begin with '{PREFIX}'.", param=place, code="invalid_value")
