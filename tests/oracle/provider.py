"""The provider with the stand-in instead of Oracle's driver: all else of it is as it is."""

from pathlib import Path
from typing import Any

from apps.vector_io.providers.remote.oci.provider import OracleDatabase
from tests.oracle.driver import PASSWORD, USER, Driver

DRIVER = Driver()


class OnStandIn(OracleDatabase):
    stand_in = DRIVER

    def driver(self) -> Any:
        return self.stand_in


def in_file(path: Path) -> dict[str, Any]:
    return {"conn_str": str(path), "user": USER, "password": PASSWORD}
