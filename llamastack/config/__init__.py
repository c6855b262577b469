"""run.yaml, version 2, as pydantic models. Imports no Django."""

from llamastack.config.expand import env_paths, expand, references
from llamastack.config.known import KNOWN_APIS, KNOWN_PROVIDER_TYPES
from llamastack.config.load import document, load_config
from llamastack.config.lookup import distributions
from llamastack.config.sections import ModelEntry, ProviderEntry, RegisteredResources, Server, StackConfig
from llamastack.config.source import ConfigError, Place, Problem
from llamastack.config.storage import database_url
from llamastack.config.validate import validated

__all__ = [
    "KNOWN_APIS",
    "KNOWN_PROVIDER_TYPES",
    "ConfigError",
    "ModelEntry",
    "Place",
    "Problem",
    "ProviderEntry",
    "RegisteredResources",
    "Server",
    "StackConfig",
    "database_url",
    "distributions",
    "document",
    "env_paths",
    "expand",
    "load_config",
    "references",
    "validated",
]
