"""The only door to the outside: HTTP to upstreams, and what goes wrong there as StackErrors.

Egress       client.py      one provider's upstream: its address, headers and time-outs; JSON and event streams
Forward      forward.py     one call whose bytes go on as they come
parsed       reading.py     an upstream's bodies as JSON
Network      routes.py      how an address is reached: directly or by a proxy, with which TLS settings and headers
opened       network.py     the `network` section of a provider's config, which becomes a Network
Transport    transport.py   one exchange of bytes; LiveTransport is aiohttp's, for proxies and whatever else is unusual
LeanTransport lean.py       the one that nearly all goes by: requests written, connections kept
Connected    connection.py  a connection: what has come for whom, what waits to be sent
Incoming     incoming.py    a reply as its bytes come
Unpacking    unpacking.py   a body that is packed
Signing      signing.py     headers that depend on what is sent
Credentials  aws.py         those of AWS, and signatures made with them
Recorder     recorder.py    stands in for it, and records or replays (llamastack/recording)
parse        addresses.py   a URL that a caller names, read strictly; and which addresses it may lead to
events       frames.py      Amazon's binary event streams
Guard        guard.py       connections to such addresses alone as were checked
Fetcher      fetch.py       a file at such a URL, within limits
Retries      retries.py     which call is made again, when, and how many of all
Breaker      breaker.py     leaving an upstream alone that is down
meaning      failures.py    an upstream's status and an exception of the transport as the StackError they mean
sentence     sentences.py   what an upstream says of an error, and what of it may be shown
Within       waiting.py     limits of time
bounded      interim.py      a limit of interim answers
capped       bodies.py      limits of a body
"""

from llamastack.egress.client import Egress
from llamastack.egress.signing import Signer
from llamastack.egress.transport import FIRST_BYTE_SECONDS, IDLE_SECONDS, TOTAL_SECONDS, Timeouts

__all__ = ["FIRST_BYTE_SECONDS", "IDLE_SECONDS", "TOTAL_SECONDS", "Egress", "Signer", "Timeouts"]
