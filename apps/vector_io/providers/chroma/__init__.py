"""Stores that are Chroma's collections, in this process or on a server: what both providers share."""
