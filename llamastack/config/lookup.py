"""Where a configuration is found by what the user typed: a file, a distribution of ours, one in the home folder."""

import os
import re
from pathlib import Path

from llamastack.config.source import ConfigError, Problem
from llamastack.home import home
from llamastack.near import did_you_mean

BUILT_IN = Path(__file__).resolve().parent.parent / "distributions"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def find(source: str | Path) -> Path:
    """The file that `source` means; raises ConfigError that names near matches."""
    candidates = [Path(os.path.expanduser(source))]
    if NAME.fullmatch(str(source)):
        candidates += [BUILT_IN / f"{source}.yaml", *_in_home(str(source))]
    for candidate in candidates:
        if os.path.isfile(candidate):  # unlike Path.is_file, False for a name that no file can have
            return candidate
    names = distributions()
    near = did_you_mean(Path(source).name.removesuffix(".yaml"), names) or "."
    raise ConfigError(Problem(f"no file and no distribution '{source}'{near} Distributions: {', '.join(names)}"))


def distributions() -> list[str]:
    """The names that `find` knows: those that come with the server and those in the home folder."""
    built_in = {path.stem for path in BUILT_IN.glob("*.yaml")}
    folders = {folder.name.removeprefix("llamastack-") for folder in (home() / "distributions").glob("*/")}
    return sorted(built_in | {name for name in folders if any(path.is_file() for path in _in_home(name))})


def _in_home(name: str) -> list[Path]:
    folder = home() / "distributions"
    return [folder / f"llamastack-{name}" / f"{name}-run.yaml", folder / name / f"{name}-run.yaml"]
