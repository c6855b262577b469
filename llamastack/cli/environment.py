"""The configuration a command was given."""

from llamastack import environment
from llamastack.cli.console import warn
from llamastack.config import StackConfig


def read(source: str) -> StackConfig:
    """The configuration of that name or file; what it says to no effect is a warning. Raises ConfigError."""
    config = environment.read(source)
    for note in config.notes:
        warn(note)
    return config
