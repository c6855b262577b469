"""What SQLite needs on the way to the database."""

from pathlib import Path

import httpx

from tests.servers import serving


def test_the_log_of_sqlite_is_kept_from_call_to_call_and_gone_when_the_server_has_stopped(tmp_path: Path) -> None:
    with serving("remote-only", home=tmp_path) as server:
        for _ in range(5):
            assert httpx.get(f"{server.url}/v1/providers", trust_env=False).status_code == 200
            assert len(list(tmp_path.rglob("*.db-wal"))) == 1
        server.stop()
    assert list(tmp_path.rglob("*.db-wal")) == []
