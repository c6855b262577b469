"""Llama Stack on Django: one API for every AI capability, with providers that plug in behind it."""

__version__ = "0.1.0"
