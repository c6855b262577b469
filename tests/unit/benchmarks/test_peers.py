"""A peer that cannot be installed or started is said to, with its reason."""

import argparse
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from benchmarks._peers import Peer, Started
from benchmarks._python import Missing, run
from benchmarks._targets import ALONE, OURS, Target
from benchmarks.peers import Peers

ENDS = "import sys; print('no such option'); sys.exit(3)"


class Broken(Peer):
    """It is installed, and ends as soon as it starts."""

    name, package = "Broken", "broken==1"
    installs = 0

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        return self._folder

    def fetch(self) -> None:
        self.installs += 1

    def started(self, url: str, port: int, state: Path) -> Started:
        return Started([sys.executable, "-c", ENDS], {})


class Newer(Broken):
    overrides: ClassVar = {"its part": "2"}


class Absent(Broken):
    def fetch(self) -> None:
        run([sys.executable, "-c", "import sys; sys.exit('no matching distribution')"])


@pytest.fixture
def peers(tmp_path: Path) -> Peers:
    options = argparse.Namespace(seconds=0.1, rounds=1)
    return Peers(options, Target(ALONE, 1, 0), Target(OURS, 1, 0), tmp_path)


@pytest.mark.parametrize(
    ("peer", "reason"),
    [(Broken, "it ended with 3, and said last: no such option"), (Absent, "failed: no matching distribution")],
)
def test_a_peer_that_is_missing_is_said_to(peers: Peers, peer: type[Broken], reason: str, tmp_path: Path) -> None:
    peers.measure(peer(tmp_path / "peer"))
    [said] = peers.missing
    assert said.startswith("Broken is not measured: ")
    assert said.endswith(reason)
    assert peers.rows == peers.figures == []


def test_a_peer_is_installed_once_for_each_version(tmp_path: Path) -> None:
    peer, newer = Broken(tmp_path / "peer"), Newer(tmp_path / "peer")
    for one in (peer, peer, newer, newer):
        one.install()
    assert (peer.installs, newer.installs) == (1, 1)


def test_what_fails_without_a_word_is_missing_too() -> None:
    with pytest.raises(Missing, match="failed: nothing"):
        run([sys.executable, "-c", "raise SystemExit(1)"])
