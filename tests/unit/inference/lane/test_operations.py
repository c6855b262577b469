"""What the fast lane carries, beside what the other one calls it."""

import pytest

from apps.inference.lane.operations import OPERATIONS
from llamastack import metrics


@pytest.mark.parametrize("path", OPERATIONS)
def test_it_is_counted_under_the_same_name_in_both_lanes(path: str) -> None:
    assert metrics.operation("POST", path.removeprefix("/")) == OPERATIONS[path].name
