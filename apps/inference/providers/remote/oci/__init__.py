"""Oracle's OCI Generative AI."""

from apps.inference.providers.remote.oci.provider import OCI

__all__ = ["OCI"]
