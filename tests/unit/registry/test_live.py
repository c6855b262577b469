"""The registry while the server runs: what one process writes, another sees; what changes, restarts alone."""

import asyncio

import httpx
import pytest

from apps.access.models import ApiKey, SnapshotVersion
from apps.inference.schemas import ChatCompletionRequest
from apps.registry import service
from apps.registry.live import Live, next_snapshot
from apps.registry.models import LISTINGS_UNTIL_GONE, Model, Origin, Provider
from apps.registry.schemas import ProviderModel
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.db import db
from llamastack.errors import Unavailable
from llamastack.pool import ProviderPool
from llamastack.providers import Health, ProviderSpec
from llamastack.providers import Provider as ProviderBase
from llamastack.snapshot import Snapshot
from llamastack.stack import LlamaStack
from tests.servers import free_port
from tests.unit.conftest import add_provider
from tests.unit.inference.test_chat_completions import HELLO, URL, serve_as
from tests.upstream import Upstream, serving


async def eventually(condition: object, seconds: float = 20) -> None:
    """Wait until `condition()` holds."""
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_provider_added_elsewhere_answers(
    client: httpx.AsyncClient, running: LlamaStack, upstream: Upstream
) -> None:
    """What another process wrote is only in the database; nobody tells this one."""
    await db(add_provider, "sky", base_url=upstream.url)
    async with asyncio.timeout(10):
        while (await client.post(URL, json={"model": "sky/sky-1", "messages": HELLO})).status_code != 200:
            await asyncio.sleep(0.05)


async def test_two_processes_agree(running: LlamaStack, sky: Provider) -> None:
    other = Live(ProviderPool({}))
    await other.start()
    assert other.snapshot.models == running.live.snapshot.models
    await db(service.edit_model, Model(identifier="late"), {"provider_id": "sky"})
    await eventually(lambda: "late" in {model.identifier for model in other.snapshot.models.values()})
    await db(lambda: service.delete_model(Model.objects.get(identifier="late")))
    await eventually(lambda: "late" not in {model.identifier for model in other.snapshot.models.values()})
    await other.stop()
    await other.pool.close()


async def test_a_snapshot_by_changes_equals_one_read_whole(transactional_db: None) -> None:
    def change_and_compare() -> None:
        snapshot = Snapshot()
        for step in range(12):
            if step % 3 == 2:
                Model.objects.all()[0].delete()
            else:
                service.edit_model(Model(identifier=f"model-{step}"), {"provider_id": "p", "aliases": [f"a{step}"]})
            if step % 2:
                snapshot = next_snapshot(snapshot) or snapshot
        assert snapshot == next_snapshot(Snapshot())

    await db(change_and_compare)


async def test_an_unchanged_registry_is_not_read_again(transactional_db: None) -> None:
    await db(add_provider, "one", base_url="http://127.0.0.1:9/v1")
    snapshot = await db(next_snapshot, Snapshot())
    assert snapshot is not None
    assert await db(next_snapshot, snapshot) is None


async def test_only_the_provider_that_changed_restarts(running: LlamaStack, sky: Provider, upstream: Upstream) -> None:
    calm = await db(add_provider, "calm", base_url=upstream.url)
    await running.live.refresh()
    before = dict(running.live.pool._running)
    await db(service.edit_provider, sky, {"api_key": "sk-other"}, True)
    await running.live.refresh()
    after = running.live.pool._running
    assert after[calm.pk] is before[calm.pk]
    assert after[sky.pk] is not before[sky.pk]


async def test_a_call_in_flight_ends_on_the_old_provider(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, upstream: Upstream
) -> None:
    await serve_as(sky, running, "held")
    call = asyncio.create_task(client.post(URL, json={"model": "held", "messages": HELLO}))
    await eventually(lambda: upstream.requests)
    await db(service.edit_provider, sky, {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk"}, True)
    await running.live.refresh()
    refused = await client.post(URL, json={"model": "held", "messages": HELLO})
    upstream.released.set()
    assert (refused.status_code, (await call).status_code) == (502, 200)


async def test_a_stop_ends_the_calls_that_go_on_and_closes_their_connections(
    running: LlamaStack, sky: Provider, upstream: Upstream
) -> None:
    request = ChatCompletionRequest.model_validate({"model": "held", "messages": HELLO})
    record = running.live.snapshot.providers[sky.pk]
    async with running.live.pool.use(record) as provider:
        asked = asyncio.create_task(provider.post_chat_completion(Call(ANONYMOUS_ADMIN), request))
        await eventually(lambda: upstream.requests)
        running.live.pool.patience = (0.01, 5)
        await running.live.pool.close()
        with pytest.raises(Unavailable, match="was stopped"):
            await asked
    await upstream.until_closed()


async def test_a_provider_that_cannot_run_says_why_and_the_others_go_on(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    row = await db(add_provider, "wrong", base_url="http://127.0.0.1:9/v1", allowed_models=7)
    await serve_as(row, running, "wrong-model")
    response = await client.post(URL, json={"model": "wrong-model", "messages": HELLO})
    assert response.status_code == 503
    assert "allowed_models" in response.json()["error"]["message"]
    assert (await client.post(URL, json={"model": "sky/sky-1", "messages": HELLO})).status_code == 200


class Broken(ProviderBase):
    """A third party's provider that cannot even be made."""

    def __init__(self, *args: object) -> None:
        raise TypeError("no such thing")


PROVIDERS = {"remote::broken": ProviderSpec(f"{__name__}.Broken")}


async def test_a_provider_that_cannot_be_made_says_why_and_the_others_go_on(
    client: httpx.AsyncClient, running: LlamaStack, upstream: Upstream
) -> None:
    row = Provider(identifier="broken", provider_type="remote::broken", module=__name__)
    await db(service.edit_provider, row, {}, True)
    await db(add_provider, "sky", base_url=upstream.url)
    await serve_as(row, running, "broken-model")
    response = await client.post(URL, json={"model": "broken-model", "messages": HELLO})
    assert (response.status_code, "no such thing" in response.text) == (503, True)
    await eventually(lambda: running.live.snapshot.model("default", "sky/sky-1"))


async def test_a_row_that_cannot_be_read_holds_up_no_other(running: LlamaStack, sky: Provider) -> None:
    await db(service.edit_model, Model(identifier="odd"), {"provider_id": "sky", "metadata": {"x": "${env.NO_SUCH}"}})
    row = Provider(identifier="odd", provider_type="remote::broken", module="tests.unit.registry")
    await db(service.edit_provider, row, {}, True)
    await db(service.edit_model, Model(identifier="later"), {"provider_id": "sky"})
    await running.live.refresh()
    assert running.live.snapshot.model("default", "later")
    assert "PROVIDERS" in (running.live.snapshot.providers[row.pk].unavailable or "")


async def test_a_name_that_postgresql_cannot_keep_holds_up_no_other(sky: Provider) -> None:
    listing = [ProviderModel(provider_model_id=name) for name in ("a\0b", "sky-3")]
    assert await db(service.record_listing, sky.pk, listing) == 1

    def recorded() -> str:
        service.record_health(sky.pk, Health(False, "odd \0 answer"))
        return Provider.objects.get(pk=sky.pk).health

    assert await db(recorded) == "odd  answer"


async def test_the_log_says_once_that_a_provider_has_begun_to_fail(
    sky: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    def failed() -> None:
        for answer in ("It is down.", "It is still down."):
            service.record_health(sky.pk, Health(False, answer))

    await db(failed)
    assert caplog.messages == ["Health check of 'sky' failed: It is down."]


async def test_a_provider_type_that_is_not_built_is_unavailable(client: httpx.AsyncClient, running: LlamaStack) -> None:
    row = await db(add_provider, "later", "remote::thegrid", api_key="secret")
    await serve_as(row, running, "granite")
    response = await client.post(URL, json={"model": "granite", "messages": HELLO})
    assert (response.status_code, "not built yet" in response.text) == (503, True)
    shown = (await client.get("/v1/providers/later")).json()
    assert shown["health"]["status"] == "Error"
    assert shown["config"] == {"api_key": "********"}


async def test_health_is_told_with_its_reason(client: httpx.AsyncClient, running: LlamaStack) -> None:
    await db(add_provider, "dead", base_url="http://127.0.0.1:9/v1")
    await running.live.refresh()
    health = (await client.get("/v1/providers/dead")).json()["health"]
    assert health["status"] == "Error"
    assert "cannot be reached" in health["message"]


async def test_discovery_registers_and_forgets_only_after_three_listings(sky: Provider) -> None:
    def listings() -> list[bool]:
        seen = []
        for _ in range(LISTINGS_UNTIL_GONE):
            service.record_listing(sky.pk, [ProviderModel(provider_model_id="sky-1")])
            seen.append(Model.objects.get(identifier="sky/sky-2").enabled)
        service.record_listing(sky.pk, [ProviderModel(provider_model_id="sky-2")])
        return [*seen, Model.objects.get(identifier="sky/sky-2").enabled]

    assert await db(listings) == [True, True, False, True]


async def test_discovery_that_fails_removes_nothing(running: LlamaStack, sky: Provider) -> None:
    await db(service.edit_provider, sky, {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk"}, True)
    await running.live.refresh()
    for _ in range(LISTINGS_UNTIL_GONE + 1):
        with pytest.raises(Exception, match="cannot be reached"):
            await running.live.discover(sky.pk)
    assert await db(lambda: Model.objects.filter(gone=True).count()) == 0


async def test_a_provider_that_comes_back_is_asked_what_it_serves(running: LlamaStack) -> None:
    port = free_port()
    row = await db(add_provider, "late", base_url=f"http://127.0.0.1:{port}/v1")
    await eventually(lambda: running.live.pool.started(row.pk))
    assert not (await running.live.check_health(row.pk)).ok
    async with serving(Upstream(models=["late-model"]), port):
        assert (await running.live.check_health(row.pk)).ok
        await eventually(lambda: running.live.snapshot.model("default", "late/late-model"), 10)


async def test_a_duty_is_taken_by_one_process(transactional_db: None) -> None:
    from apps.registry.live import claimed
    from apps.registry.models import DISCOVER_EVERY

    row = await db(add_provider, "one", base_url="http://127.0.0.1:9/v1")
    won = await asyncio.gather(*(db(claimed, [row.pk], "discovered_at", DISCOVER_EVERY) for _ in range(8)))
    assert sorted(map(len, won)) == [0] * 7 + [1]


async def test_deleting_a_provider_takes_what_was_discovered_on_it(running: LlamaStack, sky: Provider) -> None:
    await serve_as(sky, running, "mine")
    await db(service.delete_provider, sky)
    await running.live.refresh()
    left = running.live.snapshot.models.values()
    assert [(model.identifier, model.origin) for model in left] == [("mine", Origin.admin)]


async def test_concurrent_changes_never_share_a_version(transactional_db: None) -> None:
    await asyncio.gather(*(db(add_provider, f"p{n}", base_url="http://127.0.0.1:9/v1") for n in range(20)))
    versions = await db(lambda: list(Provider.objects.values_list("version", flat=True)))
    assert len(set(versions)) == 20
    assert max(versions) == await db(SnapshotVersion.current)


async def test_a_key_is_known_at_once_and_dead_once_revoked(running: LlamaStack) -> None:
    key, secret = await db(ApiKey.issue, "ci", "maya", admin=False)
    headers = {"authorization": f"Bearer {secret}"}
    principal = await running.live.principal(headers, required=True)
    assert (principal.name, principal.is_admin) == ("maya", False)
    await db(key.revoke)
    await running.live.refresh()
    assert await running.live.principal(headers, required=False) == ANONYMOUS_ADMIN


async def test_misses_share_one_look_at_the_database(running: LlamaStack) -> None:
    call = Call(ANONYMOUS_ADMIN)
    looks: list[asyncio.Task[None] | None] = []

    async def miss() -> None:
        with pytest.raises(Exception, match="was not found"):
            await running.live.admitted(call, "nobody", "llm")
        looks.append(running.live._check)

    await asyncio.gather(*(miss() for _ in range(50)))
    assert len(set(looks)) == 1


async def test_a_provider_that_is_not_running_is_503(running: LlamaStack, sky: Provider) -> None:
    record = running.live.snapshot.providers[sky.pk]
    running.live.pool.apply({})
    with pytest.raises(Unavailable):
        async with running.live.pool.use(record):
            pass
