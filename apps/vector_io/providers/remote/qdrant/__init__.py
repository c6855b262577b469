"""`remote::qdrant`."""
