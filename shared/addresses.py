"""Addresses of hosts and URLs: loopback addresses, and the secret parts of URLs."""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import quote, unquote, unquote_plus, urlsplit


def is_loopback(host: str) -> bool:
    """Return whether a host name or IP address can be reached from its own host only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def public(url: str) -> str:
    """Return a URL without its user, password, query and fragment, which may be secret, for messages."""
    return re.sub(r"(?<=://)[^/?#]*@|[?#].*", "", url)


def passwords(url: str) -> Iterator[str]:
    """Yield the passwords in a URL, before its host and in its query, in every form of their quoting."""
    parts = urlsplit(url)
    yield from _forms(parts.password or "")
    for item in parts.query.split("&"):
        name, _, value = item.partition("=")
        if "password" in name.lower():
            yield from _forms(value)


def with_password(url: str, password: str) -> str:
    """Return a server's URL with this password for its user, in place of any password that it has."""
    parts = urlsplit(url)
    if not parts.netloc:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}:{quote(password, safe='')}@{host}").geturl()


def _forms(secret: str) -> tuple[str, ...]:
    return (secret, unquote(secret), unquote_plus(secret)) if secret else ()
