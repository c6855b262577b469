"""Other gateways: each in an environment of its own under .venv/peers, set up to reach the fast upstream."""

import json
import shutil
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import _echo
from benchmarks._python import Missing, newer_python, run
from tests.servers import ROOT

PEERS = ROOT / ".venv/peers"
UV = str(Path(sys.executable).with_name("uv"))
JSON = dict[str, Any]


@dataclass
class Started:
    """How it is started, and asked."""

    command: list[str]
    variables: dict[str, str]


class Peer(ABC):
    """`must` and `aim`: how many times its chats ours shall be."""

    name: ClassVar[str]
    package: ClassVar[str]
    must: ClassVar[float | None] = None
    aim: ClassVar[float | None] = None
    overrides: ClassVar[dict[str, str]] = {}  # what it depends on, in other versions than it would take
    key = "any"
    prefix = ""

    @property
    def folder(self) -> Path:
        return PEERS / self.name.lower()

    def headers(self, url: str) -> str:
        return ""

    def install(self) -> None:
        """Once for each version. Raises Missing."""
        stamp = self.folder / "installed"
        versions = f"{self.package} {self.overrides}"
        if stamp.exists() and stamp.read_text() == versions:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.fetch()
        stamp.write_text(versions)

    @abstractmethod
    def fetch(self) -> None:
        """Put it into its folder. Raises Missing."""

    @abstractmethod
    def started(self, url: str, port: int, state: Path) -> Started:
        """How its one worker starts, with its configuration written to `state`."""


class OGX(Peer):
    """As its starter distribution: completions stored in SQLite, no keys."""

    name, package = "OGX", "ogx==1.5.0"
    must, aim = 20, 28
    prefix = "sky/"

    @property
    def python(self) -> list[str]:
        return newer_python(PEERS / "python")

    def fetch(self) -> None:
        version = run([*self.python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()
        where = ["--target", str(self.folder / "site"), "--python-version", version]
        run([UV, "pip", "install", "--quiet", "--only-binary", ":all:", *where, self.package])

    def started(self, url: str, port: int, state: Path) -> Started:
        config = state / "config.yaml"
        config.write_text(json.dumps(self._config(url, port, state)))
        command = [*self.python, "-m", "ogx.cli.ogx", "run", str(config), "--insecure"]
        return Started(command, {"PYTHONPATH": str(self.folder / "site"), "HOME": str(state)})

    def _config(self, url: str, port: int, state: Path) -> JSON:
        sky = {"provider_id": "sky", "provider_type": "remote::openai", "config": {"base_url": url, "api_key": "any"}}
        model = {"model_id": _echo.MODEL, "provider_id": "sky", "provider_model_id": _echo.MODEL, "model_type": "llm"}
        sql = {"backend": "sql_default"}
        kept = {"table_name": "inference_store", **sql, "max_write_queue_size": 10000, "num_writers": 4}
        stores: JSON = {"metadata": {"namespace": "registry", "backend": "kv_default"}, "inference": kept}
        stores |= {name: {"table_name": name, **sql} for name in ("conversations", "prompts", "connectors")}
        backends = {
            "kv_default": {"type": "kv_sqlite", "db_path": str(state / "kv.db")},
            "sql_default": {"type": "sql_sqlite", "db_path": str(state / "sql.db")},
        }
        return {
            "version": 2,
            "distro_name": "bench",
            "apis": ["inference"],
            "providers": {"inference": [sky]},
            "storage": {"backends": backends, "stores": stores},
            "registered_resources": {"models": [{**model, "metadata": {}}]},
            "server": {"port": port},
        }


class LiteLLM(Peer):
    """Its proxy, with the one key that it asks for, and no database: nothing is stored."""

    name, package = "LiteLLM", "litellm[proxy]==1.106.2"
    must, aim = 45, 60
    key = "sk-bench-0123456789abcdef0123456789abcdef"

    def fetch(self) -> None:
        python = str(self.folder / "bin/python")
        run([UV, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(self.folder)])
        run([UV, "pip", "install", "--quiet", "--python", python, self.package])

    def started(self, url: str, port: int, state: Path) -> Started:
        config = state / "config.yaml"
        served = {"model": f"openai/{_echo.MODEL}", "api_base": url, "api_key": "any"}
        models = [{"model_name": _echo.MODEL, "litellm_params": served}]
        config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": self.key}}))
        command = [str(self.folder / "bin/litellm"), "--config", str(config), "--num_workers", "1"]
        return Started([*command, "--host", "127.0.0.1", "--port", str(port)], {"HOME": str(state)})


class Portkey(Peer):
    """On Node; it takes where to go from the request's headers, and stores nothing."""

    name, package = "Portkey", "@portkey-ai/gateway@1.15.2"
    # With later versions of it, which the package's range takes, every stream is answered with 500: "immutable".
    overrides: ClassVar = {"@hono/node-server": "1.13.8"}

    def headers(self, url: str) -> str:
        return f"x-portkey-provider: openai\r\nx-portkey-custom-host: {url}\r\n"

    def fetch(self) -> None:
        if not shutil.which("npm"):
            raise Missing("it needs Node and npm")
        name, _, version = self.package.rpartition("@")
        wanted = {"private": True, "dependencies": {name: version}, "overrides": self.overrides}
        (self.folder / "package.json").write_text(json.dumps(wanted))
        quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
        run(["npm", "install", *quiet, "--prefix", str(self.folder)])

    def started(self, url: str, port: int, state: Path) -> Started:
        program = self.folder / "node_modules/@portkey-ai/gateway/build/start-server.js"
        return Started(["node", str(program), "--headless", f"--port={port}"], {"HOME": str(state)})


ALL: dict[str, Peer] = {peer.name: peer for peer in (OGX(), LiteLLM(), Portkey())}
