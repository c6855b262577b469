"""A scripted Elasticsearch for tests, written from its reference (8.17), which refuses what the real one refuses.

answers.py    what it says of a mistake
mapping.py    an index's definition, and documents that are checked by it
queries.py    the query DSL
index.py      an index: what has been written, and what a refresh has made visible
searching.py  the body of a search
server.py     its HTTP API
"""
