"""Stores that are SQLite files of this machine: what `inline::faiss` and `inline::sqlite-vec` share."""
