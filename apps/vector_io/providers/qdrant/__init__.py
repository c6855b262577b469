"""Chunks as Qdrant's points: what `inline::qdrant` and `remote::qdrant` share."""
