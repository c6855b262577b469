"""The wire formats of vendors, from their public documentation, and the scripted upstream that speaks them.

vendor.py    what a table says of a vendor
hosted.py, servers.py, clouds.py   the tables
native.py    vendors with a dialect of their own, and how one is added
script.py    the upstream
"""

from tests.conformance.vendors.anthropic import ANTHROPIC, ANTHROPIC_ADAPTIVE, ANTHROPIC_COMPATIBLE
from tests.conformance.vendors.bedrock import BEDROCK, BEDROCK_BY_TOOL, BEDROCK_OPENAI
from tests.conformance.vendors.clouds import AZURE, AZURE_DATED, LLAMA_STACK, PASSTHROUGH, VERTEX_MAAS
from tests.conformance.vendors.google import GEMINI, VERTEX, VERTEX_CLAUDE
from tests.conformance.vendors.hosted import (
    CEREBRAS,
    DATABRICKS,
    FIREWORKS,
    GROQ,
    LLAMA,
    NVIDIA,
    OPENAI,
    RUNPOD,
    SAMBANOVA,
    TOGETHER,
)
from tests.conformance.vendors.native import Native
from tests.conformance.vendors.oracle import ORACLE, ORACLE_COHERE, ORACLE_COMMAND_A
from tests.conformance.vendors.servers import HF_ENDPOINT, HF_SERVERLESS, LLAMA_CPP, OLLAMA, TGI, VLLM
from tests.conformance.vendors.vendor import Vendor
from tests.conformance.vendors.watsonx import WATSONX

HOSTED = (OPENAI, LLAMA, GROQ, CEREBRAS, TOGETHER, FIREWORKS, SAMBANOVA, DATABRICKS, NVIDIA, RUNPOD)
SERVERS = (VLLM, OLLAMA, LLAMA_CPP, TGI, HF_ENDPOINT, HF_SERVERLESS)
CLOUDS = (AZURE, AZURE_DATED, VERTEX_MAAS, LLAMA_STACK, PASSTHROUGH, WATSONX, ORACLE)
NATIVES: tuple[Native, ...] = (
    ANTHROPIC,
    ANTHROPIC_ADAPTIVE,
    ANTHROPIC_COMPATIBLE,
    GEMINI,
    VERTEX,
    VERTEX_CLAUDE,
    ORACLE_COHERE,
    ORACLE_COMMAND_A,
    BEDROCK,
    BEDROCK_BY_TOOL,
)
VENDORS: tuple[Vendor, ...] = (*HOSTED, *SERVERS, *CLOUDS, *NATIVES, BEDROCK_OPENAI)
