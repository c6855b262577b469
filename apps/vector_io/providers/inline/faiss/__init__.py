"""`inline::faiss`."""
