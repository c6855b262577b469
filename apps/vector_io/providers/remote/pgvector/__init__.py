"""`remote::pgvector`."""
