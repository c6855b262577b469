"""What this server counts, for Prometheus: `GET /metrics` (apps/registry/metrics.py) shows it.

Imports nothing of ours. With several workers each one writes to files of its own in a folder that they share, and
whoever is asked adds them up: which of the two holds is decided when this is first imported.
"""

import os
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # set by whoever starts several workers, and read by prometheus_client
NUMBER = "LLAMA_STACK_WORKER"  # from 1; a worker that follows on one that has ended may have its number
SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)

worker = os.environ.get(NUMBER, "1")
several = FOLDER in os.environ
if several:
    # By its number, not by its process: files would gather with every restart. No two workers have one at a time.
    values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]
registry = CollectorRegistry()


def _gauge(name: str, about: str, labels: tuple[str, ...] = (), over: str = "livesum") -> Gauge:
    return Gauge(f"llama_stack_{name}", about, labels, registry=registry, multiprocess_mode=over)  # type: ignore[arg-type]


def _of_worker(name: str, about: str) -> Gauge:
    """A gauge that tells the workers apart; the one of this worker."""
    return _gauge(name, about, ("worker",), over="livemax").labels(worker)


requests = Counter(
    "llama_stack_requests",
    "Requests that were answered, by the lane that did.",
    ("lane", "operation", "status"),
    registry=registry,
)
seconds = Histogram(
    "llama_stack_request_seconds",
    "From a model's call until its answer began.",
    ("lane", "operation"),
    buckets=SECONDS,
    registry=registry,
)
stored_lost = Counter(
    "llama_stack_stored_lost", "Completions that nobody waited for, and that were not stored.", registry=registry
)
usage_lost = Counter("llama_stack_usage_lost", "Usage records that could not be written.", registry=registry)
usage_waits = Counter("llama_stack_usage_waits", "Calls that waited for room in the queue.", registry=registry)
queue_rows = _gauge("queue_rows", "Rows that wait to be written to the database.")
calls_in_flight = _gauge("calls_in_flight", "Calls that providers are answering.")
provider_down = _gauge(
    "provider_down", "1 where calls to a provider are refused at once.", ("tenant", "provider"), over="livemax"
)
workers = _gauge("workers", "Processes that shall serve.", over="livemax")
workers_ready = _gauge("workers_ready", "Processes that serve.")
snapshot_version = _of_worker("snapshot_version", "The version of the registry that a worker knows.")
loop_stall_seconds = _of_worker("loop_stall_seconds", "The longest stall of the event loop of late (15 to 30 s).")
worker_pid = _of_worker("worker_pid", "A worker's process.")
worker_start_time_seconds = _of_worker("worker_start_time_seconds", "When a worker was ready, in Unix time.")
worker_cpu_seconds = _of_worker("worker_cpu_seconds", "Processor time that a worker has used.")
worker_resident_bytes = _of_worker("worker_resident_bytes", "Memory that a worker has resident.")

# What an operator asks for by name; every other operation is its method and route.
OPERATIONS = {
    "chat/completions": "chat",
    "completions": "completion",
    "embeddings": "embedding",
    "inference/rerank": "rerank",
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_requests: dict[tuple[str, str, int], Counter] = {}
_seconds: dict[tuple[str, str], Histogram] = {}
_down: set[tuple[str, str]] = set()


def answered(lane: str, operation: str, status: int, took: float | None = None) -> None:
    """Count an answer. `lane` is `fast` or `django`; `took` are the seconds until it began, where they are known."""
    counter = _requests.get((lane, operation, status))
    if counter is None:
        counter = _requests[lane, operation, status] = requests.labels(lane, operation, str(status))
    counter.inc()
    if took is not None:
        histogram = _seconds.get((lane, operation))
        if histogram is None:
            histogram = _seconds[lane, operation] = seconds.labels(lane, operation)
        histogram.observe(took)


def operation(method: str, route: str) -> str:
    """The name of what was asked for. `route` is the URL's pattern (`v1/models/<path:model_id>`), never its text."""
    name = OPERATIONS.get(route.partition("/")[2].removeprefix("openai/v1/")) if method == "POST" else None
    return name or f"{method if method in METHODS else 'other'} /{route}"


def set_down(down: Mapping[tuple[str, str], bool]) -> None:
    """Say of each provider, by tenant and id, whether calls to it are refused at once."""
    for names in _down - down.keys():
        provider_down.labels(*names).set(0)  # those of several workers cannot be taken back
    for names, is_down in down.items():
        provider_down.labels(*names).set(is_down)
    _down.update(down)


def text(accept: str) -> tuple[bytes, str]:
    """What has been counted, and its content type: Prometheus' format, or OpenMetrics where that is accepted."""
    encode, content_type = choose_encoder(accept)
    return encode(_counted()), content_type


def total(name: str) -> int:
    """What a counter without labels has come to."""
    return int(_counted().get_sample_value(f"llama_stack_{name}_total") or 0)


def _counted() -> CollectorRegistry:
    if not several:
        return registry
    shown = CollectorRegistry()
    MultiProcessCollector(shown)  # type: ignore[no-untyped-call]
    return shown
