"""Network addresses: which of them only this host's own programs can reach."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether only this host's own programs reach that address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
