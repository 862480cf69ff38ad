"""The permitted destinations of deliveries: no internal addresses, which callers must not reach by the API.

A name is resolved for each delivery, which is then sent to the address that was checked: a later change of
the name's address has no effect.
"""

import socket
from functools import partial
from ipaddress import IPv4Address, IPv6Network, ip_address

import httpx
from anyio import CapacityLimiter, to_thread

from shared.errors import InvalidWebhookUrl

_MAX_PORT = 65_535
_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # has all public IPv6 addresses except those of NAT64
_ISATAP = (0x00005EFE, 0x02005EFE)  # the 32 bits before an IPv4 address in the lower half
_REMEDY = "use a public address, or let webhooks reach internal ones by TRAINSHED_WEBHOOKS_ALLOW_PRIVATE=true"


def check_url(url: str, *, allow_private: bool) -> httpx.URL:
    """Parse and check the URL of a webhook. Names are not resolved; each delivery checks their addresses.

    Args:
        allow_private: whether the URL may have an internal address.

    Raises:
        InvalidWebhookUrl: the URL is not valid for http or https, has a user or password, or its address is
            internal.
    """
    try:
        parsed = httpx.URL(url)
        host = parsed.host
    except (httpx.InvalidURL, UnicodeError) as error:  # UnicodeError: `host` decodes IDNA
        raise InvalidWebhookUrl(f"the URL is invalid: {error}") from error
    if parsed.scheme not in ("http", "https") or not host:
        raise InvalidWebhookUrl(
            "the URL needs `http://` or `https://` and a host, such as https://example.org/hook"
        )
    if parsed.userinfo:
        raise InvalidWebhookUrl(
            "the URL may have no user or password: the signature tells who sends a delivery"
        )
    if parsed.port is not None and not 0 < parsed.port <= _MAX_PORT:
        raise InvalidWebhookUrl(f"port {parsed.port} is not between 1 and {_MAX_PORT}")
    if _is_internal(host) and not allow_private:
        raise InvalidWebhookUrl(f"{host} is an internal address: {_REMEDY}")
    return parsed


async def resolve(
    url: httpx.URL, *, allow_private: bool, threads: CapacityLimiter | None = None
) -> list[str]:
    """Return the addresses of a URL's host.

    Args:
        threads: the limit of the threads that resolve names, which may take long; None for the default one.

    Raises:
        InvalidWebhookUrl: an address is internal, and `allow_private` is False.
        OSError: the name cannot be resolved.
    """
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    look_up = partial(socket.getaddrinfo, url.host, port, type=socket.SOCK_STREAM)
    found = await to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=threads)
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    internal = [address for address in addresses if not is_public(address)]
    if internal and not allow_private:
        raise InvalidWebhookUrl(f"{url.host} has the internal address {internal[0]}: {_REMEDY}")
    return addresses


def is_public(address: str) -> bool:
    """Return whether an IP address is public, and so is any IPv4 address that it contains."""
    parsed = ip_address(address)
    if isinstance(parsed, IPv4Address):
        return parsed.is_global and not parsed.is_multicast
    last = IPv4Address(int(parsed) & 0xFFFFFFFF)
    if parsed.ipv4_mapped or parsed in _NAT64:
        return is_public(str(last))
    embedded = [parsed.sixtofour, *(parsed.teredo or ())]
    if int(parsed) >> 32 & 0xFFFFFFFF in _ISATAP:
        embedded.append(last)
    is_unicast = parsed in _GLOBAL_UNICAST and parsed.is_global
    return is_unicast and all(is_public(str(each)) for each in embedded if each)


def _is_internal(host: str) -> bool:
    try:
        return not is_public(host)
    except ValueError:  # the host is a name
        return host == "localhost" or host.endswith(".localhost")
