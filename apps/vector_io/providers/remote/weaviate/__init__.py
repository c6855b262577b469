"""`remote::weaviate`."""
