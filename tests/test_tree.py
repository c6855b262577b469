"""The tree holds what its tables say, and no more than it may."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from llamastack.apis import SERVED, Api
from llamastack.config import KNOWN_PROVIDER_TYPES, distributions, load_config
from llamastack.providers import Provider, ProviderConfig, load, specs

ROOT = Path(__file__).resolve().parents[1]
WITH_PROVIDERS = [api for api, info in SERVED.items() if info.has_providers]


def test_there_are_twenty_seven_apis() -> None:
    assert len(Api) == 27


@pytest.mark.parametrize("api", SERVED)
def test_a_served_api_has_its_app_and_its_routes(api: Api) -> None:
    app = SERVED[api].app
    folder = ROOT / "apps" / app
    assert (folder / "api.py").exists()
    has_providers = any(info.has_providers for info in SERVED.values() if info.app == app)
    assert (folder / "protocol.py").exists() == has_providers


@pytest.mark.parametrize("api", WITH_PROVIDERS)
def test_every_line_of_a_table_leads_to_a_class_with_a_config(api: Api) -> None:
    for spec in specs(api).values():
        provider = load(spec)
        assert issubclass(provider, Provider)
        assert issubclass(provider.config_class, ProviderConfig)


@pytest.mark.parametrize("api", WITH_PROVIDERS)
async def test_a_provider_whose_start_was_broken_off_can_be_stopped(api: Api) -> None:
    for spec in specs(api).values():
        kind = load(spec)
        config = kind.config_class.model_validate(kind.config_class.sample_run_config())
        await kind("p", config, **{str(needed): None for needed in spec.needs}).stop()


@pytest.mark.parametrize("api", WITH_PROVIDERS)
def test_every_provider_is_in_the_table(api: Api) -> None:
    """Those that are no other's base."""
    package = importlib.import_module(f"apps.{SERVED[api].app}.providers")
    names = [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    classes = {
        kind for name in names for kind in vars(importlib.import_module(name)).values() if isinstance(kind, type)
    }
    providers = {kind for kind in classes if issubclass(kind, Provider)}
    bases = {base for kind in providers for base in kind.__mro__[1:]}
    assert providers - bases == {load(spec) for spec in specs(api).values()}


@pytest.mark.parametrize("api", WITH_PROVIDERS)
def test_every_built_type_is_a_known_type(api: Api) -> None:
    assert set(specs(api)) <= KNOWN_PROVIDER_TYPES[api]


def test_a_type_that_can_run_nowhere_without_a_package_says_where_to_get_it() -> None:
    for api in WITH_PROVIDERS:
        for spec in specs(api).values():
            assert not spec.pip_packages or (ROOT / spec.requirements).exists()


@pytest.mark.parametrize("name", distributions())
def test_each_distribution_loads(name: str) -> None:
    assert load_config(name).image_name == name


SHORT = "cerebras fireworks groq llama_cpp_server llama_openai_compat runpod sambanova together"


@pytest.mark.parametrize("vendor", SHORT.split())
def test_a_vendor_that_speaks_the_dialect_takes_twenty_lines(vendor: str) -> None:
    file = ROOT / "apps/inference/providers/remote" / f"{vendor}.py"
    assert len(file.read_text().splitlines()) <= 20


TABLES = ", ".join(f"apps.{SERVED[api].app}.providers" for api in WITH_PROVIDERS)
PACKAGES = ("httpx", "openai", "groq", "together", "fireworks", "cerebras", "databricks", "ollama", "huggingface_hub")


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("llamastack", ("django", "torch", "aiohttp", "pydantic", "httpx", "asyncio")),
        ("llamastack.stack", ("django", "torch", "aiohttp")),
        ("llamastack.client", ("django.apps", "torch", "aiohttp", "openai", "uvicorn", "llamastack.cli")),
        ("llamastack.config", ("django", "torch", "transformers", "uvicorn")),
        ("llamastack.cli", ("django", "torch", "transformers", "aiohttp", "uvicorn")),
        ("llamastack.asgi", ("torch", "transformers", "celery.worker", "celery.beat", "redis")),
        (TABLES, ("django", "torch", "aiohttp", "pydantic", "orjson", *PACKAGES)),
    ],
)
def test_imports_stay_light(imported: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {imported}; print([name for name in {absent!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_only_one_process_wide_thing_is_kept() -> None:
    """The only global is the running Stack."""
    found = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for folder in ("llamastack", "apps")
        for file in (ROOT / folder).rglob("*.py")
        for line in file.read_text().splitlines()
        if line.strip().startswith("global ")
    ]
    assert all(line.startswith("llamastack/stack.py: global _running") for line in found), found
