"""What a configuration says to Django's settings by the environment."""

import os
from pathlib import Path

import pytest

from llamastack.environment import EnvironmentFault, pass_on, read

SWITCH = "LLAMA_STACK_FAST_LANE"


@pytest.fixture
def without_fast_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/here.db")
    monkeypatch.delenv(SWITCH, raising=False)
    config = tmp_path / "run.yaml"
    config.write_text("version: 2\nimage_name: slow\nserver: {fast_lane: false}\n")
    return config


def test_the_fast_lane_is_switched_off_by_the_configuration(without_fast_lane: Path) -> None:
    pass_on(read(without_fast_lane))
    assert os.environ[SWITCH] == "0"


def test_an_explicit_variable_goes_before_the_configuration(
    without_fast_lane: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "1")
    pass_on(read(without_fast_lane))
    assert os.environ[SWITCH] == "1"


def test_a_switch_that_is_neither_is_an_error(without_fast_lane: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "off")
    with pytest.raises(EnvironmentFault, match=SWITCH):
        pass_on(read(without_fast_lane))
