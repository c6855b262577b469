"""The 27 APIs: each with the Django app that serves it, its level, and whether providers stand behind it."""

from dataclasses import dataclass
from enum import StrEnum

# Where 0.3.5 served its OpenAI-compatible routes, and llama-stack-client 0.2 still calls them.
ALIASES = "/v1/openai/v1"


class Api(StrEnum):
    """The name of an API: the same in YAML, in URLs' tags, in folders and in docs."""

    agents = "agents"
    batches = "batches"
    benchmarks = "benchmarks"
    connectors = "connectors"
    conversations = "conversations"
    datasetio = "datasetio"
    datasets = "datasets"
    eval = "eval"
    file_processors = "file_processors"
    files = "files"
    inference = "inference"
    inspect = "inspect"
    models = "models"
    post_training = "post_training"
    prompts = "prompts"
    providers = "providers"
    responses = "responses"
    safety = "safety"
    scoring = "scoring"
    scoring_functions = "scoring_functions"
    shields = "shields"
    synthetic_data_generation = "synthetic_data_generation"
    telemetry = "telemetry"
    tool_groups = "tool_groups"
    tool_runtime = "tool_runtime"
    vector_io = "vector_io"
    vector_stores = "vector_stores"


@dataclass(frozen=True)
class ApiInfo:
    """Where an API lives. `has_providers`: its app has a `providers` package with a PROVIDERS table."""

    app: str
    level: str = "v1"
    has_providers: bool = False


# The APIs that are served today. An API enters this table with the issue that makes it work:
# what is not here answers 404, is missing from `llama stack list-apis` and `unavailable` in YAML.
SERVED: dict[Api, ApiInfo] = {
    Api.batches: ApiInfo("batches", has_providers=True),
    Api.file_processors: ApiInfo("file_processors", level="v1alpha", has_providers=True),
    Api.files: ApiInfo("files", has_providers=True),
    Api.inference: ApiInfo("inference", has_providers=True),
    Api.inspect: ApiInfo("registry"),
    Api.models: ApiInfo("registry"),
    Api.providers: ApiInfo("registry"),
    Api.vector_io: ApiInfo("vector_io", has_providers=True),
    Api.vector_stores: ApiInfo("vector_io"),
}
