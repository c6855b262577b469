"""The one door through which resources are written: for the admin, the APIs, the YAML, the CLI and discovery.

Every function is plain and runs in one transaction; async code reaches it by `db()`. What changed is seen by every
process through its snapshot.
"""

from apps.registry.service.declared import apply
from apps.registry.service.models import (
    changed_model,
    delete_model,
    edit_model,
    model_changes,
    register_model,
    unregister_model,
    update_model,
)
from apps.registry.service.providers import (
    changed_provider,
    delete_provider,
    discovered_on,
    edit_provider,
    given_anew,
    lent,
    models_on,
    moved_secrets,
)
from apps.registry.service.refusals import may_change
from apps.registry.service.reported import record_health, record_listing

__all__ = [
    "apply",
    "changed_model",
    "changed_provider",
    "delete_model",
    "delete_provider",
    "discovered_on",
    "edit_model",
    "edit_provider",
    "given_anew",
    "lent",
    "may_change",
    "model_changes",
    "models_on",
    "moved_secrets",
    "record_health",
    "record_listing",
    "register_model",
    "unregister_model",
    "update_model",
]
