"""Each vendor's section of a run.yaml as 0.3.5 writes it and as OGX does: taken as it is, and where it leads.

0.3.5: https://github.com/llamastack/llama-stack/tree/v0.3.5/src/llama_stack/providers/remote/inference (`config.py`,
`sample_run_config`), OGX: https://github.com/ogx-ai/ogx/tree/main/src/ogx/providers/remote/inference.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from apps.inference.providers.remote.vendor import Vendor
from llamastack.apis import Api
from llamastack.config import ConfigError, load_config
from llamastack.config.expand import Environment
from llamastack.providers import load, specs

CEREBRAS = "https://api.cerebras.ai/v1"
FIREWORKS = "https://api.fireworks.ai/inference/v1"
GROQ = "https://api.groq.com/openai/v1"
LLAMA = "https://api.llama.com/compat/v1"
NVIDIA = "https://integrate.api.nvidia.com/v1"
OPENAI = "https://api.openai.com/v1"
SAMBANOVA = "https://api.sambanova.ai/v1"
TOGETHER = "https://api.together.xyz/v1"
GEMINI = "https://generativelanguage.googleapis.com/v1beta"
WORKSPACE = "https://w.cloud.databricks.com"
RUNPOD = "https://api.runpod.ai/v2/abc/openai/v1"
RESOURCE = "https://r.openai.azure.com"
WATSONX = "https://us-south.ml.cloud.ibm.com"
VERTEX = "aiplatform.googleapis.com/v1/projects/p/locations/{}"

ENV = {
    "AZURE_API_BASE": RESOURCE,
    "DATABRICKS_HOST": WORKSPACE,
    "NVIDIA_API_KEY": "12345",
    "OLLAMA_URL": "http://ollama:11434",
    "RUNPOD_URL": RUNPOD,
    "TGI_URL": "http://tgi:8080",
    "VERTEX_AI_PROJECT": "p",
    "VLLM_URL": "http://vllm:8000/v1",
}


def keyed(vendor: str, **config: Any) -> dict[str, Any]:
    return {"api_key": f"${{env.{vendor}_API_KEY:=}}", **config}


# Of each type what 0.3.5 writes, what OGX writes, and where a chat goes.
WRITTEN: dict[str, tuple[dict[str, Any] | None, dict[str, Any] | None, str]] = {
    "anthropic": (keyed("ANTHROPIC"), keyed("ANTHROPIC"), "https://api.anthropic.com"),
    "bedrock": (
        {},
        {
            "aws_bedrock_bearer_token": "${env.AWS_BEDROCK_BEARER_TOKEN:=}",
            "region_name": "${env.AWS_DEFAULT_REGION:=us-east-2}",
            "aws_role_arn": "${env.AWS_ROLE_ARN:=}",
            "aws_web_identity_token_file": "${env.AWS_WEB_IDENTITY_TOKEN_FILE:=}",
        },
        "https://bedrock-runtime.us-east-2.amazonaws.com",
    ),
    "cerebras": (keyed("CEREBRAS", base_url="https://api.cerebras.ai"), keyed("CEREBRAS", base_url=CEREBRAS), CEREBRAS),
    "databricks": (
        {"url": "${env.DATABRICKS_HOST:=}", "api_token": "${env.DATABRICKS_TOKEN:=}"},
        {"base_url": "${env.DATABRICKS_HOST:=}", "api_token": "${env.DATABRICKS_TOKEN:=}"},
        f"{WORKSPACE}/serving-endpoints",
    ),
    "fireworks": (keyed("FIREWORKS", url=FIREWORKS), keyed("FIREWORKS", base_url=FIREWORKS), FIREWORKS),
    "gemini": (
        keyed("GEMINI"),
        keyed("GEMINI", access_token="${env.GEMINI_ACCESS_TOKEN:=}", project="${env.GEMINI_AI_PROJECT:=}"),
        GEMINI,
    ),
    "groq": (keyed("GROQ", url="https://api.groq.com"), keyed("GROQ", base_url=GROQ), GROQ),
    "hf::endpoint": (
        {"endpoint_name": "us/mine", "api_token": "${env.HF_API_TOKEN:=}"},
        None,
        "https://api.endpoints.huggingface.cloud/v2/endpoint",  # which knows the endpoint's own
    ),
    "hf::serverless": (
        {"huggingface_repo": "meta-llama/Llama-3.1-8B-Instruct", "api_token": "${env.HF_API_TOKEN:=}"},
        None,
        "https://router.huggingface.co/v1",
    ),
    "llama-cpp-server": (
        None,
        {"base_url": "${env.LLAMA_CPP_SERVER_URL:=http://localhost:8080/v1}"},
        "http://localhost:8080/v1",
    ),
    "llama-openai-compat": (
        keyed("LLAMA", openai_compat_api_base=f"{LLAMA}/"),
        keyed("LLAMA", base_url=f"{LLAMA}/"),
        LLAMA,
    ),
    "nvidia": (
        keyed(
            "NVIDIA",
            url="${env.NVIDIA_BASE_URL:=https://integrate.api.nvidia.com}",
            append_api_version="${env.NVIDIA_APPEND_API_VERSION:=True}",
        ),
        keyed("NVIDIA", base_url="${env.NVIDIA_BASE_URL:=https://integrate.api.nvidia.com/v1}"),
        NVIDIA,
    ),
    "ollama": (
        {"url": "${env.OLLAMA_URL:=http://localhost:11434}"},
        {"base_url": "${env.OLLAMA_URL:=http://localhost:11434/v1}"},
        "http://ollama:11434/v1",
    ),
    "openai": (
        keyed("OPENAI", base_url="${env.OPENAI_BASE_URL:=https://api.openai.com/v1}"),
        keyed("OPENAI", base_url="${env.OPENAI_BASE_URL:=https://api.openai.com/v1}"),
        OPENAI,
    ),
    "passthrough": (
        keyed("PASSTHROUGH", url="${env.PASSTHROUGH_URL:=http://there:8000}"),
        keyed(
            "PASSTHROUGH",
            base_url="${env.PASSTHROUGH_URL:=http://there:8000/v1}",
            forward_headers={"maas_api_token": "Authorization"},
            extra_blocked_headers=["x-internal"],
        ),
        "http://there:8000/v1",
    ),
    "runpod": (
        {"url": "${env.RUNPOD_URL:=}", "api_token": "${env.RUNPOD_API_TOKEN}"},
        {"base_url": "${env.RUNPOD_URL:=}", "api_token": "${env.RUNPOD_API_TOKEN}"},
        RUNPOD,
    ),
    "sambanova": (keyed("SAMBANOVA", url=SAMBANOVA), keyed("SAMBANOVA", base_url=SAMBANOVA), SAMBANOVA),
    "tgi": ({"url": "${env.TGI_URL:=}"}, {"base_url": "${env.TGI_URL:=}"}, "http://tgi:8080/v1"),
    "together": (keyed("TOGETHER", url=TOGETHER), keyed("TOGETHER", base_url=TOGETHER), TOGETHER),
    "vertexai": (
        {"project": "${env.VERTEX_AI_PROJECT:=}", "location": "${env.VERTEX_AI_LOCATION:=us-central1}"},
        None,
        "https://us-central1-" + VERTEX.format("us-central1"),
    ),
    "vllm": (
        {
            "url": "${env.VLLM_URL:=}",
            "max_tokens": "${env.VLLM_MAX_TOKENS:=4096}",
            "api_token": "${env.VLLM_API_TOKEN:=fake}",
            "tls_verify": "${env.VLLM_TLS_VERIFY:=true}",
        },
        {
            "base_url": "${env.VLLM_URL:=}",
            "max_tokens": "${env.VLLM_MAX_TOKENS:=4096}",
            "api_token": "${env.VLLM_API_TOKEN:=fake}",
            "native_responses": "${env.VLLM_NATIVE_RESPONSES:=false}",
            "network": {"tls": {"verify": "${env.VLLM_TLS_VERIFY:=true}"}},
        },
        "http://vllm:8000/v1",
    ),
    "azure": (
        keyed(
            "AZURE",
            api_base="${env.AZURE_API_BASE:=}",
            api_version="${env.AZURE_API_VERSION:=}",
            api_type="${env.AZURE_API_TYPE:=}",
        ),
        keyed(
            "AZURE",
            base_url="${env.AZURE_API_BASE:=}",
            api_version="${env.AZURE_API_VERSION:=}",
            api_type="${env.AZURE_API_TYPE:=}",
        ),
        RESOURCE,
    ),
    "watsonx": (
        keyed("WATSONX", url=f"${{env.WATSONX_BASE_URL:={WATSONX}}}", project_id="${env.WATSONX_PROJECT_ID:=}"),
        keyed("WATSONX", base_url=f"${{env.WATSONX_BASE_URL:={WATSONX}}}", project_id="${env.WATSONX_PROJECT_ID:=}"),
        WATSONX,
    ),
    "oci": (
        None,
        {
            "oci_auth_type": "${env.OCI_AUTH_TYPE:=instance_principal}",
            "oci_config_file_path": "${env.OCI_CONFIG_FILE_PATH:=~/.oci/config}",
            "oci_config_profile": "${env.OCI_CLI_PROFILE:=DEFAULT}",
            "oci_region": "${env.OCI_REGION:=us-ashburn-1}",
            "oci_compartment_id": "${env.OCI_COMPARTMENT_OCID:=}",
        },
        "https://inference.generativeai.us-ashburn-1.oci.oraclecloud.com",
    ),
}
CASES = [
    pytest.param(kind, written, url, id=f"{kind} of {whose}")
    for kind, (older, newer, url) in WRITTEN.items()
    for whose, written in (("0.3.5", older), ("OGX", newer))
    if written is not None
]


def read(folder: Path, kind: str, written: dict[str, Any], env: Environment) -> Vendor:
    """The provider that a run.yaml with this section makes."""
    entry = {"provider_id": "one", "provider_type": f"remote::{kind}", "config": written}
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump({"version": 2, "image_name": "one", "providers": {"inference": [entry]}}))
    [provider] = load_config(file, env=env).providers["inference"]
    made = load(specs(Api.inference)[provider.provider_type])
    one = made("one", made.config_class.model_validate(made.config_class.by_own_names(provider.config)))
    assert isinstance(one, Vendor)
    return one


@pytest.mark.parametrize(("kind", "written", "url"), CASES)
def test_a_section_is_taken_as_it_is_written_and_leads_to_the_vendor(
    tmp_path: Path, kind: str, written: dict[str, Any], url: str
) -> None:
    assert read(tmp_path, kind, written, ENV | {"RUNPOD_API_TOKEN": "r"}).url().rstrip("/") == url


@pytest.mark.parametrize(("kind", "written", "url"), CASES)
def test_a_key_of_digits_is_a_key(tmp_path: Path, kind: str, written: dict[str, Any], url: str) -> None:
    """`${env.X}` makes a number of digits; where text is due it stays text."""
    names = ("api_key", "api_token")
    if not (name := next((name for name in names if name in written), "")):
        return
    key = read(tmp_path, kind, written | {name: "${env.DIGITS}"}, ENV | {"DIGITS": "00123"}).api_key()
    assert key is not None
    assert key.get_secret_value() == "00123"


def test_vertexai_of_ogx_is_global_and_its_store_of_signatures_is_not_needed(tmp_path: Path) -> None:
    store = {"namespace": "vertexai_thought_signatures", "backend": "kv_default"}
    written = {"project": "p", "location": "${env.VERTEX_AI_LOCATION:=global}", "thought_signature_store": store}
    assert read(tmp_path, "vertexai", written, {}).url() == "https://" + VERTEX.format("global")


def test_vllms_own_responses_are_refused_with_what_is_asked_instead(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.native_responses: its /v1/responses is not used here"):
        read(tmp_path, "vllm", {"base_url": "http://vllm/v1", "native_responses": True}, {})


def test_every_remote_type_that_upstream_has_is_here() -> None:
    ours = {name.removeprefix("remote::") for name in specs(Api.inference) if name.startswith("remote::")}
    assert ours - set(WRITTEN) == {"llamastack"}


@pytest.mark.parametrize("kind", ["azure", "databricks", "runpod", "tgi", "vllm"])
def test_an_address_that_the_environment_does_not_name_is_asked_for_where_it_stands(tmp_path: Path, kind: str) -> None:
    older, newer, _ = WRITTEN[kind]
    for written in (older, newer):
        with pytest.raises(ConfigError, match=r"run\.yaml:\d+: providers\.inference\[0\]\.config\.\w+: this key"):
            read(tmp_path, kind, written or {}, {"RUNPOD_API_TOKEN": "r"})
