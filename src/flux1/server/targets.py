"""Addresses that strangers name and this server is to call: which of them it may."""

import ipaddress
import socket
from urllib.parse import urlsplit

import anyio
from anyio import CapacityLimiter, to_thread

from flux1.errors import RequestError

LOOKUP_S = 5.0
_LOOKUPS = 32  # at once, in threads of their own: a stranger's name server may never answer
# Networks whose addresses hold an IPv4 address that somebody on the way takes out again.
_TUNNELS = [
    ipaddress.ip_network(network)
    for network in ("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32",
                    "2002::/16")
]  # fmt: skip
_ISATAP = b"\x00\x00\x5e\xfe"  # bytes 8 to 11; with the universal bit, 0x02 leads
# What listens on these is no web server: a request to it could be a command to somebody else.
_SERVICES = frozenset({
    1080, 1433, 1521, 1719, 1720, 1723, 2049, 2181, 2375, 2376, 2379, 2380, 3128, 3306, 3389, 3659,
    4045, 4190, 4369, 5060, 5061, 5432, 5672, 5900, 5984, 6000, 6379, 6443, 6566, 6665, 6666, 6667,
    6668, 6669, 6679, 6697, 7000, 7001, 8086, 8500, 9042, 9092, 9100, 9160, 9200, 9300, 10080,
    10250, 10255, 11211, 15672, 25565, 27017, 27018, 50000,
})  # fmt: skip


async def check_target(url: str, private_allowed: bool) -> str:
    """The network address behind a URL that this server may call for a client (RequestError for
    any other). Whoever calls it must call this address: a name may mean another one later."""
    host, port = _host_and_port(url)
    try:
        with anyio.fail_after(LOOKUP_S):
            found = await to_thread.run_sync(
                _look_up, host, port, abandon_on_cancel=True, limiter=_lookups()
            )
    except (OSError, UnicodeError, TimeoutError):
        raise RequestError("webhook_url", f"{host[:100]!r} cannot be resolved") from None
    if not private_allowed and not all(map(is_outside, found)):
        raise RequestError(
            "webhook_url",
            f"{host[:100]!r} is inside this server's network; the operator can allow that "
            "with FLUX1_PRIVATE_WEBHOOKS=true",
        )
    return found[0]


def is_outside(place: str) -> bool:
    """Return whether an address is one of the public internet, whatever it is wrapped in."""
    address = ipaddress.ip_address(place)
    if address.version == 6:
        interface = address.packed[8:12]
        if interface[1:] == _ISATAP[1:] and interface[0] in (0, 2):
            return False
        if any(address in network for network in _TUNNELS):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _host_and_port(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError
    except ValueError:
        raise RequestError(
            "webhook_url", f"{url[:100]!r} is not an http or https address"
        ) from None
    port = port or (443 if parts.scheme == "https" else 80)
    if port in _SERVICES or (port < 1024 and port not in (80, 443)):
        raise RequestError(
            "webhook_url", f"port {port} is that of another service; use 443, 80 or a high one"
        )
    return host, port


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(place[0]).partition("%")[0] for *_, place in found]


_LIMITER = anyio.lowlevel.RunVar[CapacityLimiter]("lookups")


def _lookups() -> CapacityLimiter:
    """The limiter of this event loop."""
    try:
        return _LIMITER.get()
    except LookupError:
        _LIMITER.set(limiter := CapacityLimiter(_LOOKUPS))
        return limiter
