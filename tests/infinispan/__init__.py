"""A scripted Infinispan for tests, written from its REST and query guides and the tests of its own REST server (15).

schemas.py  Protobuf messages with their annotations, and entries that are checked by them
ickle.py    its query language
caches.py   a cache: its entries and its index
digest.py   who asks, as its server checks it
server.py   its HTTP API
"""
