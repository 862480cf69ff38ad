"""Deliveries reach no internal address, however it is written and whatever a name resolves to."""

import asyncio
import socket
from typing import Any

import pytest

from api.webhooks.destinations import check_url, is_public, resolve
from shared.errors import InvalidWebhookUrl

INTERNAL = [
    *("127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
    *("169.254.169.254", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
    *("::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd00:ec2::254", "ff02::1", "ff0e::1", "2001:db8::1"),
    # IPv4 within IPv6: mapped, NAT64, 6to4, Teredo
    *(
        "::ffff:224.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
    ),
    *("2002:7f00:1::", "2002:a00:1::", "2001:0:808:808:0:0:80ff:fffe"),
    # compatible, NAT64 for local use, SIIT, ISATAP, each also with a public one; site-local; never given out
    *("::127.0.0.1", "::8.8.8.8", "64:ff9b:1::7f00:1", "64:ff9b:1::808:808", "::ffff:0:7f00:1"),
    *("::ffff:0:808:808", "2606:4700::5efe:7f00:1", "2606:4700::200:5efe:a00:1", "fec0::1", "4000::1"),
]
PUBLIC = [
    "8.8.8.8",
    "2606:4700::5efe:808:808",
    "93.184.215.14",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]


def resolved(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have every name resolve to these addresses."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)


@pytest.mark.parametrize("address", INTERNAL)
def test_internal_addresses_are_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_public(address)
    resolved(monkeypatch, "8.8.8.8", address)
    url = check_url("https://example.org/hook", allow_private=False)
    with pytest.raises(InvalidWebhookUrl, match="TRAINSHED_WEBHOOKS_ALLOW_PRIVATE"):
        asyncio.run(resolve(url, allow_private=False))
    assert asyncio.run(resolve(url, allow_private=True)) == ["8.8.8.8", address]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_accepted(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_public(address)
    resolved(monkeypatch, address, address)
    url = check_url("http://example.org:8080", allow_private=False)
    assert asyncio.run(resolve(url, allow_private=False)) == [address]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "localhost", "a.localhost", "169.254.169.254", "[::ffff:10.0.0.1]"]
)
def test_an_internal_host_is_refused_before_it_is_stored(host: str) -> None:
    for scheme in ("http", "https"):
        with pytest.raises(InvalidWebhookUrl, match="internal address"):
            check_url(f"{scheme}://{host}:8080/hook", allow_private=False)
        assert check_url(f"{scheme}://{host}:8080/hook", allow_private=True).port == 8080


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "017700000001"])
def test_other_notations_of_an_internal_address_are_refused_when_they_are_resolved(host: str) -> None:
    url = check_url(f"http://{host}/", allow_private=False)
    with pytest.raises(InvalidWebhookUrl, match=r"internal address 127\.0\.0\.1"):
        asyncio.run(resolve(url, allow_private=False))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/", "needs `http://` or `https://`"),
        ("file:///etc/passwd", "needs `http://` or `https://`"),
        ("https://", "and a host"),
        ("https:///hook", "and a host"),
        ("https://user:secret@example.org/", "no user or password"),
        ("https://example.org:0/", "port 0"),
        ("https://example.org:70000/", "port"),
        ("https://example.org:many/", "the URL is invalid"),
        ("https://[1::2::3]/", "the URL is invalid"),
        ("http://xn--a/p", "the URL is invalid"),
    ],
)
def test_what_is_no_url_of_a_receiver_is_refused_with_the_reason(url: str, reason: str) -> None:
    for allow_private in (False, True):
        with pytest.raises(InvalidWebhookUrl, match=reason) as error:
            check_url(url, allow_private=allow_private)
        assert "secret" not in str(error.value)


def test_a_name_is_resolved_for_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def getaddrinfo(host: str, port: int, *_args: Any, **_options: Any) -> list[Any]:
        asked.append((host, port))
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for url in ("http://a.example", "https://b.example", "https://c.example:8443"):
        asyncio.run(resolve(check_url(url, allow_private=False), allow_private=False))
    assert asked == [("a.example", 80), ("b.example", 443), ("c.example", 8443)]
