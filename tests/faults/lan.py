"""Hosts in a network: Linux network namespaces on one bridge, between which packets can be dropped silently.

Needs root, and the programs `ip` and `iptables`.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_OF_THIS_THREAD = Path("/proc/thread-self/ns/net")

SERVERS = "servers"
"""The namespace with the bridge, in which the servers listen."""
SERVERS_ADDRESS = "192.0.2.1"  # of a network that is reserved for documentation

needs_lan = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not all(map(shutil.which, ("ip", "iptables"))),
    reason="network namespaces need root, and the programs ip (iproute2) and iptables",
)


class Lan:
    """Hosts that reach the servers, and each other, over a bridge; all of it is deleted at the end."""

    def __init__(self, hosts: Sequence[str]) -> None:
        """Prepare a network of `SERVERS` and of these hosts."""
        self._addresses = {host: f"192.0.2.{number}" for number, host in enumerate(hosts, start=2)}

    def __enter__(self) -> Self:
        for name in (SERVERS, *self._addresses):
            _run("ip", "netns", "add", _namespace(name))
            self._ip(name, "link", "set", "lo", "up")
        self._ip(SERVERS, "link", "add", "lan", "type", "bridge")
        self._ip(SERVERS, "address", "add", f"{SERVERS_ADDRESS}/24", "dev", "lan")
        self._ip(SERVERS, "link", "set", "lan", "up")
        for host, address in self._addresses.items():
            plug = f"to-{host}"
            self._ip(
                host,
                "link",
                "add",
                "eth0",
                "type",
                "veth",
                "peer",
                "name",
                plug,
                "netns",
                _namespace(SERVERS),
            )
            self._ip(host, "address", "add", f"{address}/24", "dev", "eth0")
            self._ip(host, "link", "set", "eth0", "up")
            self._ip(SERVERS, "link", "set", plug, "master", "lan", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in (*self._addresses, SERVERS):
            _run("ip", "netns", "delete", _namespace(name))

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Put this thread into a host, with what it starts and with the connections that it opens."""
        with _OF_THIS_THREAD.open() as before, Path("/run/netns", _namespace(name)).open() as namespace:
            _enter(namespace.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def cut(self, host: str, *ports: int) -> None:
        """Drop all packets between a host and these ports of the servers: neither end is told."""
        self._filter("-A", host, ports)

    def mend(self, host: str, *ports: int) -> None:
        """Let the packets pass again."""
        self._filter("-D", host, ports)

    def _filter(self, change: str, host: str, ports: Sequence[int]) -> None:
        # where they arrive: an end that may not send would be told so
        for port in map(str, ports):
            replies = ("-s", SERVERS_ADDRESS, "-p", "tcp", "--sport", port)
            requests = ("-s", self._addresses[host], "-p", "tcp", "--dport", port)
            for name, packets in ((SERVERS, requests), (host, replies)):
                command = ("iptables", "-w", change, "INPUT", *packets, "-j", "DROP")
                _run("ip", "netns", "exec", _namespace(name), *command)

    def _ip(self, name: str, *arguments: str) -> None:
        _run("ip", "-n", _namespace(name), *arguments)


def _namespace(name: str) -> str:
    return f"trainshed-{os.getpid()}-{name}"


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "the thread cannot enter the network namespace")
