"""`llama stack list-apis`, `list-providers` and `list`: what there is to serve."""

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from llamastack.apis import SERVED, Api
from llamastack.cli import complete
from llamastack.cli.console import output, table
from llamastack.config import KNOWN_APIS, distributions
from llamastack.config.lookup import find
from llamastack.errors import NotFound, StackError
from llamastack.near import did_you_mean
from llamastack.providers import ProviderSpec, load, specs

ApiName = Annotated[
    str | None, typer.Argument(metavar="[API]", help="One API; all of them without it.", autocompletion=complete.apis)
]


def list_apis() -> None:
    """The APIs that this version serves."""
    table(["API", "Level", "Providers"], [(api, SERVED[api].level, len(specs(api)) or "") for api in sorted(SERVED)])


def list_providers(api: ApiName = None) -> None:
    """The provider types that this version has, and whether they can run here."""
    chosen = sorted(SERVED) if api is None else [served(api)]
    rows = [
        (spec.api, spec.provider_type, spec.kind, ", ".join(spec.pip_packages), spec.requirements, condition(spec))
        for name in chosen
        for _, spec in sorted(specs(name).items())
    ]
    if not rows:
        output.print(f"The API {api} needs no providers.")
        return
    table(["API", "Type", "Kind", "Packages", "Requirements", "Here"], rows)


def served(name: str) -> Api:
    """The API of that name. Raises NotFound with a near match, or because it is not built yet."""
    if name in SERVED:
        return Api(name)
    if name in KNOWN_APIS:
        raise NotFound(f"The API '{name}' is not built yet. `llama stack list-apis` shows those that are.")
    near = did_you_mean(name, SERVED) or ". `llama stack list-apis` shows them."
    raise NotFound(f"There is no API '{name}'{near}")


def condition(spec: ProviderSpec) -> str:
    """`available`, or what is missing."""
    missing = [package for package in spec.pip_packages if not _installed(package)]
    if missing and not spec.optional:
        return f"missing: {', '.join(missing)}"
    try:
        load(spec)
    except (ImportError, StackError) as error:
        return f"cannot be loaded: {error}"
    return f"available, but for what needs {', '.join(missing)}" if missing else "available"


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def list_distributions() -> None:
    """The distributions that `llama stack run` knows by name: built in, and in the home folder."""
    table(["Distribution", "File"], [(name, find(name)) for name in distributions()])
