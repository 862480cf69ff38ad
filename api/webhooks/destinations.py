"""Where deliveries may be sent: not to internal addresses, which the API reaches and its callers should not.

A name is resolved for each delivery, which is then sent to the address that was checked: what the name
resolves to a moment later does not matter.
"""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpx

from shared.errors import InvalidWebhookUrl

_MAX_PORT = 65_535
_NAT64 = IPv6Network("64:ff9b::/96")
_REMEDY = "use a public address, or let webhooks reach internal ones by TRAINSHED_WEBHOOKS_ALLOW_PRIVATE=true"


def check_url(url: str, *, allow_private: bool) -> httpx.URL:
    """Return the URL of a webhook. Names are not resolved; what they stand for is checked for each delivery.

    Args:
        allow_private: whether it may be of an internal address.

    Raises:
        InvalidWebhookUrl: it is no URL of http or https, has a user or password, or its address is internal.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidWebhookUrl(f"the URL is invalid: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidWebhookUrl(
            "the URL needs `http://` or `https://` and a host, such as https://example.org/hook"
        )
    if parsed.userinfo:
        raise InvalidWebhookUrl(
            "the URL may have no user or password: the signature tells who sends a delivery"
        )
    if parsed.port is not None and not 0 < parsed.port <= _MAX_PORT:
        raise InvalidWebhookUrl(f"port {parsed.port} is not between 1 and {_MAX_PORT}")
    if _is_internal(parsed.host) and not allow_private:
        raise InvalidWebhookUrl(f"{parsed.host} is an internal address: {_REMEDY}")
    return parsed


async def resolve(url: httpx.URL, *, allow_private: bool) -> list[str]:
    """Return the addresses of a URL's host.

    Raises:
        InvalidWebhookUrl: one of them is internal, and may not be.
        OSError: the name cannot be resolved.
    """
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    internal = [address for address in addresses if not is_public(address)]
    if internal and not allow_private:
        raise InvalidWebhookUrl(f"{url.host} has the internal address {internal[0]}: {_REMEDY}")
    return addresses


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the internet, and so is an IPv4 address that it contains."""
    return all(each.is_global and not each.is_multicast for each in _with_embedded(ip_address(address)))


def _with_embedded(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    embedded = [address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        embedded.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [address, *(each for each in embedded if each)]


def _is_internal(host: str) -> bool:
    try:
        return not is_public(host)
    except ValueError:  # a name
        return host == "localhost" or host.endswith(".localhost")
