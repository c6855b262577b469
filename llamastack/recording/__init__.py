"""What upstreams say, recorded once and replayed for ever, below every provider and whatever its API.

Tape       tape.py        the mode and the folder, as the environment names them, and what lies there
Track      tape.py        whose exchanges they are: the API, the provider, its secrets; kept while a provider starts
Asked      asked.py       a request as it is compared: no host, no key, floats rounded
Answer     reply.py       a reply as it is kept: its body, or the events of its stream
Recording  files.py       the file: plain JSON
nearest    nearest.py     how a request that was not recorded differs from those that were

The transport that records and replays is llamastack/egress/recorder.py. This needs neither Django nor aiohttp.
"""

from llamastack.recording.files import RecordingFault
from llamastack.recording.tape import Mode, Tape, Track, current, keeping, of_test

__all__ = ["Mode", "RecordingFault", "Tape", "Track", "current", "keeping", "of_test"]
