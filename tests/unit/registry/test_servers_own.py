"""Credentials and files of the server's own: its operator's providers may use them, and no tenant's."""

from typing import Any

import httpx
import pytest
from django.contrib.auth.models import Permission

from apps.access.models import ApiKey, User
from apps.registry import service
from apps.registry.effective import provider_record
from apps.registry.models import Origin, Provider
from llamastack.config import ProviderEntry, StackConfig
from llamastack.db import db
from llamastack.errors import BadRequest
from llamastack.stack import LlamaStack
from tests.unit.pages import Browser
from tests.unit.registry.test_rest import PROVIDERS

ELSEWHERE = "http://127.0.0.1:9"
KEYS = {"aws_access_key_id": "AKIA", "aws_secret_access_key": "secret-of-theirs"}
PROJECT = {"project": "sky", "location": "global"}
COMPARTMENT = {"oci_compartment_id": "ocid1.compartment.oc1..sky"}
# What would use the server's own, each with the setting that is named.
USES: list[tuple[str, dict[str, Any], str]] = [
    ("remote::bedrock", {}, "api_key"),
    ("remote::bedrock", {"base_url": ELSEWHERE}, "api_key"),
    ("remote::bedrock", {"profile_name": "ops"}, "profile_name"),
    ("remote::bedrock", KEYS | {"profile_name": "ops"}, "profile_name"),
    (
        "remote::bedrock",
        KEYS | {"aws_web_identity_token_file": "/etc/passwd", "aws_role_arn": "arn:aws:iam::1:role/x"},
        "aws_web_identity_token_file",
    ),
    ("remote::vertexai", PROJECT, "api_key"),
    ("remote::vertexai", PROJECT | {"base_url": ELSEWHERE, "api_key": ""}, "api_key"),
    ("remote::oci", COMPARTMENT, "oci_auth_type"),
    (
        "remote::oci",
        COMPARTMENT | {"oci_auth_type": "config_file", "oci_config_file_path": "/etc/passwd"},
        "oci_auth_type",
    ),
]
OWN: list[tuple[str, dict[str, Any]]] = [
    ("remote::bedrock", {"api_key": "theirs"}),
    ("remote::bedrock", KEYS | {"aws_role_arn": "arn:aws:iam::1:role/x"}),
    ("remote::vertexai", PROJECT | {"api_key": "theirs"}),
    ("remote::oci", COMPARTMENT | {"api_key": "theirs"}),
]


def row(kind: str, **more: Any) -> Provider:
    return Provider(identifier="cloud", provider_type=kind, **more)


def applied(**config: Any) -> StackConfig:
    entry = ProviderEntry(api="inference", provider_id="cloud", provider_type="remote::vertexai", declared=config)
    return StackConfig(image_name="test", providers={"inference": [entry]})


@pytest.mark.parametrize(("kind", "config", "named"), USES)
@pytest.mark.django_db
def test_a_tenants_provider_uses_nothing_of_the_servers(kind: str, config: dict[str, Any], named: str) -> None:
    theirs = {"tenant": "blue", "origin": Origin.admin}, {"tenant": "*", "origin": Origin.api}
    for whose in theirs:
        with pytest.raises(BadRequest, match="Only a provider of the run") as refused:
            service.edit_provider(row(kind, **whose), config, enabled=True)
        assert refused.value.param == f"config.{named}"
        landed = row(kind, override={"config": config}, **whose)  # before there was this rule, or by another way
        assert f"'{named}'" in (provider_record(landed).unavailable or "")


@pytest.mark.parametrize(("kind", "config", "named"), USES)
@pytest.mark.django_db
def test_an_operators_provider_uses_it(kind: str, config: dict[str, Any], named: str) -> None:
    assert provider_record(service.edit_provider(row(kind), config, enabled=True)).unavailable is None


@pytest.mark.parametrize(("kind", "config"), OWN)
@pytest.mark.django_db
def test_a_tenants_provider_has_credentials_of_its_own(kind: str, config: dict[str, Any]) -> None:
    theirs = service.edit_provider(row(kind, tenant="blue"), config, enabled=True)
    assert provider_record(theirs).unavailable is None


@pytest.mark.django_db
def test_a_tenants_provider_that_is_refused_now_can_be_disabled() -> None:
    theirs = row("remote::vertexai", tenant="blue", override={"config": PROJECT})
    theirs.save()
    assert not service.edit_provider(theirs, {}, enabled=False).enabled


async def test_a_tenants_key_adds_no_such_provider(client: httpx.AsyncClient, running: LlamaStack) -> None:
    _, secret = await db(ApiKey.issue, "ops", "bob", admin=True, tenant="blue")
    given = {"provider_id": "cloud", "provider_type": "remote::bedrock", "config": {"base_url": ELSEWHERE}}
    refused = await client.post(PROVIDERS, json=given, headers={"Authorization": f"Bearer {secret}"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "config.api_key")
    assert await db(Provider.objects.filter(identifier="cloud").count) == 0


async def test_an_admins_key_does_not_send_the_servers_credentials_elsewhere(
    client: httpx.AsyncClient, running: LlamaStack
) -> None:
    await db(service.apply, applied(**PROJECT))
    cloud = f"{PROVIDERS}/inference/cloud"
    for config in ({"base_url": ELSEWHERE}, {"network": {"proxy": {"url": ELSEWHERE}}}):
        refused = await client.patch(cloud, json={"config": config})
        assert (refused.status_code, "only a superuser" in refused.text) == (403, True)
    assert (await client.patch(cloud, json={"config": {"location": "eu", "allowed_models": ["google/x"]}})).is_success
    assert (await client.patch(cloud, json={"config": {"base_url": ELSEWHERE, "api_key": "mine"}})).is_success
    refused = await client.patch(cloud, json={"reset": ["api_key"]})
    assert (refused.status_code, "only a superuser" in refused.text) == (403, True)


async def test_staff_of_a_tenant_add_no_such_provider_either(browser: Browser) -> None:
    def demote() -> None:
        ada = User.objects.get(username="ada")
        ada.is_superuser, ada.tenant = False, "blue"
        ada.save()
        ada.user_permissions.set(Permission.objects.filter(codename__in=("add_provider", "view_provider")))

    await db(demote)
    path = "/admin/registry/provider/add/?api=inference&provider_type=remote::vertexai"
    page = await browser.submit(path, identifier="cloud", config_project="sky", config_location="global")
    assert "Only a provider of the run.yaml" in page.text
    assert await db(Provider.objects.filter(identifier="cloud").count) == 0
