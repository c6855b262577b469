"""A line of a PROVIDERS table, apart from what runs it: who reads the tables imports nothing else."""

from dataclasses import dataclass, replace
from typing import Self

from llamastack.apis import Api


@dataclass(frozen=True)
class ProviderSpec:
    """A line of a PROVIDERS table: strings only, so that reading the table imports nothing heavy.

    `path` is the dotted path of the class; `requirements` names the file that installs `pip_packages`; an `exclusive`
    provider keeps its state in one process. `optional`: it runs without these packages too, with less.
    """

    path: str
    api: Api = Api.inference
    provider_type: str = ""
    pip_packages: tuple[str, ...] = ()
    requirements: str = ""
    needs: tuple[Api, ...] = ()
    exclusive: bool = False
    optional: bool = False

    def keyed(self, api: Api, provider_type: str) -> Self:
        """This spec with its key in the table filled in."""
        return replace(self, api=api, provider_type=provider_type)

    @property
    def kind(self) -> str:
        """`inline` or `remote`."""
        return self.provider_type.partition("::")[0]
