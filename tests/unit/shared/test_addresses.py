"""Addresses of this host are known, and passwords in URLs are found wherever they are."""

import pytest

from shared.addresses import is_loopback, passwords


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://user:a%2Bb@host/db", {"a%2Bb", "a+b"}),
        ("redis://:secret@host:6379/0", {"secret"}),
        ("postgresql://user@host/db?password=p%20q+r&sslpassword=s", {"p%20q+r", "p q+r", "p q r", "s"}),
        ("postgresql://user@host/db?sslmode=require", set()),
        ("sqlite:///jobs.db", set()),
        ("", set()),
    ],
)
def test_passwords_of_a_url(url: str, expected: set[str]) -> None:
    assert set(passwords(url)) == expected


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_addresses_of_this_host(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", ""])
def test_addresses_that_other_hosts_reach(host: str) -> None:
    assert not is_loopback(host)
