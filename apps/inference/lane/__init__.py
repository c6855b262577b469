"""What the fast lane (apps/inference/gateway.py) knows of what it passes on.

OPERATIONS  operations.py   its paths, each with its requests and replies
Client      clients.py      who asks: what was read of it, and when it goes
Chat        requests.py     what it takes: OpenAI's requests in strict types, written anew for the upstream
Passage     passage.py      one request: whom it asks, what is sent, how it went
conforming  replies.py      what of whole answers can go on as it is, and under what name
Flow        flow.py         a stream on its way; streams.py says which events pass, assembled.py makes them one again
whole       answers.py      what is sent to the client
tally       tally.py        what a provider tells of tokens
"""
