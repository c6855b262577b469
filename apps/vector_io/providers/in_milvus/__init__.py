"""Stores that are collections of Milvus: what `inline::milvus` and `remote::milvus` share."""
