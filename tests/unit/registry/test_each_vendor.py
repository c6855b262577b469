"""A vendor is registered in a minute: by the admin's form, by /manage/ or by a run.yaml, and its models answer."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml

from apps.registry import service
from llamastack.apis import Api
from llamastack.asgi import application
from llamastack.config import load_config
from llamastack.db import db
from llamastack.providers import specs
from llamastack.stack import LlamaStack
from tests.conformance.vendors import AZURE, VENDORS
from tests.conformance.vendors.script import HELLO, SAID, scripted
from tests.conformance.vendors.vendor import Vendor
from tests.unit.pages import Browser
from tests.unit.registry.test_admin_providers import page_of
from tests.unit.registry.test_rest import PROVIDERS

Config = dict[str, Any]
ONE_OF_EACH = {vendor.provider_type: vendor for vendor in reversed(VENDORS)}
WAYS = ("form", "script", "yaml")


@dataclass
class Operator:
    """Registers a provider in each way, and switches it off in the same: that is what no config means."""

    browser: Browser
    running: LlamaStack
    folder: Path

    async def write(self, way: str, kind: str, config: Config | None) -> None:
        await {"form": self.in_the_admin, "script": self.by_manage, "yaml": self.by_yaml}[way](kind, config)

    async def in_the_admin(self, kind: str, config: Config | None) -> None:
        if config is None:
            page = await self.browser.submit(await page_of("form"), enabled=None)
            assert "was changed successfully" in page.text
            return
        fields = {f"config_{name}": "\n".join(v) if isinstance(v, list) else str(v) for name, v in config.items()}
        add = f"/admin/registry/provider/add/?api=inference&provider_type={kind}"
        page = await self.browser.submit(add, identifier="form", **fields)
        assert "was added successfully" in page.text

    async def by_manage(self, kind: str, config: Config | None) -> None:
        row = {"provider_id": "script", "provider_type": kind, "config": config}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://localhost") as http:
            if config is None:
                answer = await http.patch(f"{PROVIDERS}/inference/script", json={"enabled": False})
            else:
                answer = await http.post(PROVIDERS, json=row)
        assert answer.is_success, answer.text

    async def by_yaml(self, kind: str, config: Config | None) -> None:
        row = {"provider_id": "yaml", "provider_type": kind, "config": config}
        run = {"version": 2, "image_name": "one", "providers": {"inference": [] if config is None else [row]}}
        file = self.folder / "run.yaml"
        file.write_text(yaml.safe_dump(run))
        await db(service.apply, load_config(file, env={}))
        await self.running.live.refresh()


@pytest.fixture
def operator(browser: Browser, running: LlamaStack, tmp_path: Path) -> Operator:
    return Operator(browser, running, tmp_path)


async def discovered(client: openai.AsyncOpenAI, provider: str) -> str:
    """The name of the provider's model, once there is one."""
    async with asyncio.timeout(10):
        while True:
            async for model in client.models.list():
                if model.id.startswith(f"{provider}/"):
                    return model.id
            await asyncio.sleep(0.01)


def test_every_type_that_can_be_registered_is_here() -> None:
    assert set(ONE_OF_EACH) == {kind for kind in specs(Api.inference) if kind.startswith("remote::")}


@pytest.mark.parametrize("vendor", ONE_OF_EACH.values(), ids=lambda vendor: vendor.name)
async def test_a_vendor_is_registered_answers_and_is_switched_off(
    operator: Operator, client: httpx.AsyncClient, vendor: Vendor
) -> None:
    caller = openai.AsyncOpenAI(base_url="http://localhost/v1", api_key="any", http_client=client, max_retries=0)
    named = {"allowed_models": ["sky"]} if vendor is AZURE else {}  # which lists no deployments
    async with scripted(vendor) as script:
        for way in WAYS:
            await operator.write(way, vendor.provider_type, vendor.config_at(script.url) | named)
            model = await discovered(caller, way)
            reply = await caller.chat.completions.create(model=model, messages=HELLO)
            assert (reply.choices[0].message.content, reply.model) == (SAID, model)
            await operator.write(way, vendor.provider_type, None)
            with pytest.raises(openai.InternalServerError, match=f"Provider '{way}' of model '{model}' is") as off:
                await caller.chat.completions.create(model=model, messages=HELLO)
            assert off.value.status_code == 503
            assert not (await caller.models.list()).data
