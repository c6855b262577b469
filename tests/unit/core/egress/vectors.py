"""URLs that lead, by one reading or another, to where no caller may send this server: families of addresses × forms.

`VECTORS` has each URL by a name that says what it is. What they are made from is public knowledge: the parsers of
inet_aton and of browsers (https://url.spec.whatwg.org/#host-parsing), IANA's registries, reports about other servers.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote

Form = Callable[[IPv4Address], str]

FAMILIES = {
    "loopback": "127.0.0.1",
    "loopback's end": "127.255.255.254",
    "unspecified": "0.0.0.0",
    "this network": "0.1.2.3",
    "private 10": "10.0.0.1",
    "private 172": "172.16.0.1",
    "private 172's end": "172.31.255.254",
    "private 192": "192.168.1.1",
    "link-local": "169.254.0.1",
    "metadata": "169.254.169.254",
    "task metadata": "169.254.170.2",
    "Alibaba's metadata": "100.100.100.200",
    "Azure's wire server": "168.63.129.16",
    "Oracle's metadata": "192.0.0.192",
    "shared": "100.64.0.1",
    "documentation 1": "192.0.2.1",
    "documentation 2": "198.51.100.1",
    "documentation 3": "203.0.113.1",
    "benchmarking": "198.18.0.1",
    "6to4 relay": "192.88.99.1",
    "multicast": "224.0.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
}
SIX = {
    "loopback 6": "::1",
    "unspecified 6": "::",
    "link-local 6": "fe80::1",
    "site-local": "fec0::1",
    "unique local": "fd12:3456:789a::1",
    "unique local's other half": "fc00::1",
    "AWS's metadata 6": "fd00:ec2::254",
    "Google's metadata 6": "fd20:ce::254",
    "multicast 6": "ff02::1",
    "documentation 6": "2001:db8::1",
    "documentation 6 of 2024": "3fff::1",
    "ORCHID": "2001:20::1",
    "benchmarking 6": "2001:2::1",
    "discard": "100::1",
    "segment routing": "5f00::1",
    "not given out": "4000::1",
}


def four(text: str) -> list[int]:
    return [int(part) for part in text.split(".")]


def _dword(address: IPv4Address) -> int:
    return int(address)


def _parts(address: IPv4Address, form: str) -> str:
    return ".".join(format(part, form) for part in address.packed)


def _high_low(address: IPv4Address) -> str:
    high, low = divmod(int(address), 1 << 16)
    return f"{high:x}:{low:x}"


def _translated(text: str, form: str) -> str:
    """Each character of a kind that IDNA, or NFKC, maps to a digit or a dot."""
    offsets = {"full-width": 0xFF10 - 0x30, "bold": 0x1D7CE - 0x30, "monospace": 0x1D7F6 - 0x30}
    return "".join(chr(ord(char) + offsets[form]) if char.isdigit() else char for char in text)


HOSTS: dict[str, Form] = {
    "as it is": str,
    "one decimal number": lambda a: str(_dword(a)),
    "one hexadecimal number": lambda a: hex(_dword(a)),
    "one octal number": lambda a: f"0{_dword(a):o}",
    "hexadecimal parts": lambda a: ".".join(hex(part) for part in a.packed),
    "upper-case hexadecimal": lambda a: ".".join(f"0X{part:X}" for part in a.packed),
    "octal parts": lambda a: ".".join(f"0{part:o}" for part in a.packed),
    "long octal parts": lambda a: _parts(a, "08o"),
    "zeros before decimals": lambda a: _parts(a, "03d"),
    "one part octal": lambda a: f"0{a.packed[0]:o}." + str(a).partition(".")[2],
    "two parts": lambda a: f"{a.packed[0]}.{int(a) & 0xFFFFFF}",
    "three parts": lambda a: f"{a.packed[0]}.{a.packed[1]}.{int(a) & 0xFFFF}",
    "two parts, hexadecimal": lambda a: f"{a.packed[0]:#x}.{int(a) & 0xFFFFFF:#x}",
    "past 255": lambda a: ".".join(str(part + 256) for part in a.packed),
    "past 32 bits": lambda a: str(_dword(a) + (1 << 32)),
    "a dot after it": lambda a: f"{a}.",
    "two dots after it": lambda a: f"{a}..",
    "a dot too many": lambda a: str(a).replace(".", "..", 1),
    "percent-encoded": lambda a: "".join(f"%{ord(char):02x}" for char in str(a)),
    "percent-encoded dots": lambda a: str(a).replace(".", "%2e"),
    "percent-encoded twice": lambda a: str(a).replace(".", "%252e"),
    "a NUL after it": lambda a: f"{a}%00.example.com",
    "full-width digits": lambda a: _translated(str(a), "full-width"),
    "bold digits": lambda a: _translated(str(a), "bold"),
    "monospaced digits": lambda a: _translated(str(a), "monospace"),
    "ideographic dots": lambda a: str(a).replace(".", "。"),
    "full-width dots": lambda a: str(a).replace(".", "．"),
    "half-width ideographic dots": lambda a: str(a).replace(".", "｡"),
    "a soft hyphen in it": lambda a: "\u00ad".join(str(a)),
    "in brackets": lambda a: f"[{a}]",
    "mapped": lambda a: f"[::ffff:{a}]",
    "mapped, in hexadecimal": lambda a: f"[::ffff:{_high_low(a)}]",
    "mapped, in full": lambda a: f"[0:0:0:0:0:ffff:{_high_low(a)}]",
    "compatible": lambda a: f"[::{a}]",
    "translated": lambda a: f"[::ffff:0:{a}]",
    "by NAT64": lambda a: f"[64:ff9b::{a}]",
    "by a local NAT64": lambda a: f"[64:ff9b:1::{a}]",
    "by 6to4": lambda a: f"[2002:{_high_low(a)}::1]",
    "by Teredo": lambda a: f"[2001:0:{_high_low(a)}::1]",
    "as a client of Teredo": lambda a: f"[2001::{_high_low(IPv4Address(int(a) ^ 0xFFFFFFFF))}]",
    "by ISATAP": lambda a: f"[2a00:1450::5efe:{_high_low(a)}]",
    "by ISATAP, given out": lambda a: f"[2a00:1450::200:5efe:{_high_low(a)}]",
}
# Around a public name, what some parser takes for the host.
CONFUSIONS: dict[str, str] = {
    "after a user": "http://public.example@{host}/",
    "after a user and a password": "http://public.example:80@{host}/",
    "after two users": "http://a@public.example@{host}/",
    "before a backslash and @": "http://{host}\\@public.example/",
    "after a backslash and @": "http://public.example\\@{host}/",
    "after a fragment and @": "http://public.example#@{host}/",
    "before a fragment and @": "http://{host}#@public.example/",
    "before a query and @": "http://{host}?@public.example/",
    "after an encoded @": "http://public.example%40{host}/",
    "after an encoded slash": "http://{host}%2f@public.example/",
    "after a port of nothing": "http://{host}:/",
    "of a port with zeros": "http://{host}:080/",
    "of a port after another": "http://{host}:80:80/",
    "of a port past the last": "http://{host}:65616/",
    "of a negative port": "http://{host}:-1/",
    "of a port in full-width digits": "http://{host}:８０/",
    "after a tab": "http://\t{host}/",
    "with a line break in it": "ht\ntp://{host}/",
    "after a blank": " http://{host}/",
    "after a blank in the URL": "http://public.example {host}/",
    "after three slashes": "http:///{host}/",
    "after four slashes": "http:////{host}/",
    "after one slash": "http:/{host}/",
    "after no slash": "http:{host}",
    "after backslashes": "http:\\\\{host}\\",
    "with no scheme": "//{host}/",
    "with no colon": "http//{host}/",
    "with a NUL": "http://{host}\0.public.example/",
    "with a soft hyphen": "http://\u00ad{host}/",
    "with a mark of direction": "http://\u202e{host}/",
    "with a line separator": "http://public.example\u2028@{host}/",
    "with a header in it": "http://{host}\r\nHost: public.example\r\n\r\n/",
    "as a list": "http://public.example,{host}/",
    "as a later label": "http://{host};public.example/",
}
SCHEMES = (
    *("file:///etc/passwd", "file://localhost/etc/passwd", "file://{host}/share", "FILE:/etc/passwd", "/etc/passwd"),
    *("ftp://{host}/a.png", "ftps://{host}/a", "sftp://{host}/a", "tftp://{host}/a", "gopher://{host}:70/_GET", "ldap://{host}/"),
    *("dict://{host}:11211/stats", "jar:http://{host}!/", "unix:///var/run/docker.sock", "http+unix://%2fvar%2frun/"),
    *("ws://{host}/", "wss://{host}/", "smb://{host}/a", "ssh://{host}", "telnet://{host}", "imap://{host}", "redis://{host}"),
    *("javascript:alert(1)", "about:blank", "blob:http://{host}/a", "view-source:http://{host}/", "url:http://{host}/"),
    *("netdoc:///etc/passwd", "php://input", "expect://id", "httpx://{host}/", "https+http://{host}/", "http.://{host}/"),
)  # fmt: skip
# Names that stand for an address of a family by themselves, as resolvers have them.
NAMES: dict[str, list[str]] = {
    "localhost": ["127.0.0.1", "::1"],
    "LOCALHOST": ["127.0.0.1"],
    "a.localhost": ["127.0.0.1"],
    "localhost.localdomain": ["127.0.0.1"],
    "localhost6": ["::1"],
    "ip6-localhost": ["::1"],
    "metadata": ["169.254.169.254"],
    "metadata.google.internal": ["169.254.169.254"],
    "instance-data": ["169.254.169.254"],
    "kubernetes.default.svc": ["10.96.0.1"],
    "host.docker.internal": ["172.17.0.1"],
    "redis": ["10.0.0.5"],
    "printer.local": ["192.168.1.9"],
    "127-0-0-1.of.example": ["127.0.0.1"],
    "127.0.0.1.of.example": ["127.0.0.1"],
    "xn--of-example-9xa.example": ["127.0.0.1"],
    "nowhere.example": [],
    "mapped.example": ["::ffff:127.0.0.1"],
    "scoped.example": ["fe80::1%1"],
    "first-public.example": ["93.184.216.34", "127.0.0.1"],
    "first-private.example": ["10.0.0.1", "93.184.216.34"],
    "six-and-four.example": ["2606:2800:220:1::1", "10.0.0.1"],
    "four-and-six.example": ["93.184.216.34", "::1"],
    **{f"f{index}.example": [address] for index, address in enumerate([*FAMILIES.values(), *SIX.values()])},
}  # fmt: skip


def _vectors() -> Iterator[tuple[str, str]]:
    for family, text in FAMILIES.items():
        for form, host in HOSTS.items():
            yield f"{family}, {form}", f"http://{host(IPv4Address(text))}/a.png"
    for family, text in SIX.items():
        yield family, f"http://[{text}]/a.png"
        yield f"{family}, in full", f"http://[{IPv6Address(text).exploded}]/a.png"
        yield f"{family}, of a zone", f"http://[{text}%25eth0]/a.png"
        yield f"{family}, of a bare zone", f"http://[{text}%1]/a.png"
        yield f"{family}, without brackets", f"http://{text}/a.png"
        yield f"{family}, of an IPvFuture", f"http://[v1.{text}]/a.png"
    for name, form in CONFUSIONS.items():
        for host in ("127.0.0.1", "169.254.169.254", "[::1]"):
            yield f"{host} {name}", form.format(host=host)
    for scheme in SCHEMES:
        yield scheme, scheme.format(host="127.0.0.1")
    for name in NAMES:
        yield f"the name {name}", f"http://{name}/a.png"
        yield f"the name {name} by TLS", f"https://{name}:8443/a.png"
        yield f"the name {name} after a user", f"http://u:p@{name}/a.png"
    for port in (0, 1, 7, 19, 21, 22, 23, 25, 53, 110, 143, 389, 445, 587, 993, 2049, 5060, 6000, 6667, 65536):
        yield f"port {port} of a public name", f"http://public.example:{port}/a.png"
        yield f"port {port} of the loopback", f"http://127.0.0.1:{port}/a.png"


VECTORS = dict(_vectors())
# Of each family, the plainest: for what is tried with each of them several times.
PLAIN = {
    **{family: f"http://{text}/a.png" for family, text in FAMILIES.items()},
    **{family: f"http://[{text}]/a.png" for family, text in SIX.items()},
    **{f"the name {name}": f"http://{name}/a.png" for name in NAMES},
}


def quoted(url: str) -> str:
    return quote(url, safe="")
