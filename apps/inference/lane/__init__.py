"""What the fast lane (apps/inference/gateway.py) knows of what it passes on.

requests    requests.py   what it takes: OpenAI's requests in strict types, written anew for the upstream
replies     replies.py    what of an upstream's answers can go on as it is
"""
