"""Puts other models and keys into a server's database before it starts, as its own API would have written them.

LLAMA_STACK_HOME=… python -m benchmarks._fill CONFIG ROWS
"""

import sys

from llamastack import environment
from llamastack.database import open_tables

PROVIDER = "sky"
TENANTS = 100


def main(source: str, rows: int) -> None:
    open_tables(environment.read(source))
    from django.db import transaction

    from apps.access.models import ApiKey, SnapshotVersion, digest
    from apps.registry.models import Model, Origin

    names = [(number, f"model-{number}", f"tenant-{number % TENANTS}") for number in range(rows)]
    with transaction.atomic():
        version = SnapshotVersion.bump()
        models = [
            Model(
                version=version,
                tenant=tenant,
                owner=tenant,
                identifier=name,
                origin=Origin.api,
                declared={"provider_id": PROVIDER, "provider_model_id": name},
            )
            for _, name, tenant in names
        ]
        keys = [
            ApiKey(version=version, tenant=tenant, owner=tenant, name=name, prefix=name[:10], digest=digest(name))
            for _, name, tenant in names
        ]
        Model.objects.bulk_create(models, batch_size=500)
        ApiKey.objects.bulk_create(keys, batch_size=500)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
