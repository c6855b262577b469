"""What is counted, by one process and by several."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from llamastack import metrics
from llamastack.watch import STALL_SECONDS, Stalls
from tests.servers import ROOT

COUNTING = """
import sys
from llamastack import metrics
for _ in range(int(sys.argv[1])):
    metrics.answered("fast", "chat", 200, 0.3)
metrics.answered("django", "chat", 429)
metrics.queue_rows.set(5)
metrics.snapshot_version.set(int(sys.argv[1]))
"""


def values(text: str) -> dict[str, float]:
    """Each sample as Prometheus reads it, by its name and labels."""
    return {
        f"{sample.name}{''.join(f' {name}={value}' for name, value in sorted(sample.labels.items()))}": sample.value
        for family in families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("method", "route", "name"),
    [
        ("POST", "v1/chat/completions", "chat"),
        ("POST", "v1/openai/v1/completions", "completion"),
        ("POST", "v1/embeddings", "embedding"),
        ("POST", "v1alpha/inference/rerank", "rerank"),
        ("GET", "v1/chat/completions", "GET /v1/chat/completions"),
        ("GET", "v1/models/<path:model_id>", "GET /v1/models/<path:model_id>"),
        ("BREW", "v1/models", "other /v1/models"),
        ("GET", "", "GET /"),
    ],
)
def test_an_operation_has_one_of_a_few_names(method: str, route: str, name: str) -> None:
    assert metrics.operation(method, route) == name


def test_answers_are_counted_by_lane_operation_and_status() -> None:
    def told() -> dict[str, float]:
        return values(metrics.text("")[0].decode())

    name = "llama_stack_requests_total lane=fast operation=counted status=503"
    for total in (1, 2):
        metrics.answered("fast", "counted", 503)
        assert told()[name] == total
    assert "llama_stack_request_seconds_count lane=fast operation=counted" not in told()
    metrics.answered("fast", "counted", 200, 0.3)
    assert told()["llama_stack_request_seconds_bucket lane=fast le=0.1 operation=counted"] == 0
    assert told()["llama_stack_request_seconds_bucket lane=fast le=0.5 operation=counted"] == 1


def test_openmetrics_are_told_to_who_accepts_them() -> None:
    content, content_type = metrics.text("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert content.endswith(b"# EOF\n")
    assert metrics.text("*/*")[1].startswith("text/plain")


def test_a_provider_that_is_gone_is_not_down() -> None:
    metrics.set_down({("default", "one"): True, ("default", "two"): False})
    metrics.set_down({("default", "two"): True})
    told = values(metrics.text("")[0].decode())
    assert told["llama_stack_provider_down provider=one tenant=default"] == 0
    assert told["llama_stack_provider_down provider=two tenant=default"] == 1


def counted(folder: Path, number: int, times: int) -> None:
    """A worker of that number, which counts and ends."""
    env = os.environ | {metrics.FOLDER: str(folder), metrics.NUMBER: str(number), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", COUNTING, str(times)], env=env, check=True)


def test_several_workers_are_added_up_also_over_restarts(tmp_path: Path) -> None:
    for number, times in ((1, 3), (2, 4), (1, 5)):
        counted(tmp_path, number, times)
    assert len(list(tmp_path.glob("counter_*"))) == 2  # the third went on with the files of the first
    show = "from llamastack import metrics; print(metrics.text('')[0].decode())"
    env = os.environ | {metrics.FOLDER: str(tmp_path), metrics.NUMBER: "3", "PYTHONPATH": str(ROOT)}
    told = values(subprocess.run([sys.executable, "-c", show], env=env, check=True, stdout=-1, text=True).stdout)
    assert told["llama_stack_requests_total lane=fast operation=chat status=200"] == 12
    assert told["llama_stack_requests_total lane=django operation=chat status=429"] == 3
    assert told["llama_stack_request_seconds_count lane=fast operation=chat"] == 12
    assert told["llama_stack_queue_rows"] == 10
    assert told["llama_stack_snapshot_version worker=1"] == 5
    assert told["llama_stack_snapshot_version worker=2"] == 4


def test_the_longest_stall_is_shown_for_a_while() -> None:
    stalls = Stalls(0.0)
    stalls.add(0.3, 1.0)
    stalls.add(0.1, 2.0)
    assert stalls.worst == 0.3
    stalls.add(0.02, STALL_SECONDS + 1)
    assert stalls.worst == 0.3
    stalls.add(0.01, 2 * STALL_SECONDS + 2)
    assert stalls.worst == 0.02
