"""`inline::qdrant`."""
