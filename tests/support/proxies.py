"""Reverse proxies on this host, with the files of `deploy/proxy`: only examples of names are replaced."""

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from signal import SIGQUIT, SIGTERM, Signals

import httpx

from tests.support.lacking import environment_lacks
from tests.support.paths import ROOT
from tests.support.waiting import wait_until
from trainshed.local import ports

FILES = ROOT / "deploy" / "proxy"
HOST = "localhost"

_NAME = "trainshed.example.org"
_REPLICAS = ("192.0.2.11:8000", "192.0.2.12:8000")
_CERTIFICATE, _KEY = "/etc/ssl/certs/trainshed.pem", "/etc/ssl/private/trainshed.key"
_NGINX = """
daemon off;
user root;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/trainshed.conf;
}}
"""
_CADDY_OPTIONS = "{\n\tadmin off\n\thttp_port %d\n"


@dataclass(frozen=True)
class Certificate:
    """A certificate of this host for the proxies, which is its own authority."""

    file: Path
    key: Path

    @cached_property
    def trusted(self) -> ssl.SSLContext:
        """What a client needs that trusts it."""
        return ssl.create_default_context(cafile=str(self.file))


def make_certificate(folder: Path) -> Certificate:
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    names = ("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}")
    files = ("-keyout", str(made.key), "-out", str(made.file))
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", *curve, *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    return made


@dataclass(frozen=True)
class ReverseProxy:
    """A proxy that runs.

    Attributes:
        plain_port: where it speaks HTTP.
    """

    port: int
    plain_port: int
    certificate: Certificate

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    def transport(self, address: str = "127.0.0.1") -> httpx.HTTPTransport:
        """Return what sends requests to the proxy, from an address of this host."""
        return httpx.HTTPTransport(verify=self.certificate.trusted, local_address=address)

    def client(
        self, key: str = "", *, address: str = "127.0.0.1", headers: Mapping[str, str] | None = None
    ) -> httpx.Client:
        """Return an HTTP client that sends an API key."""
        sent = {**({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
        return httpx.Client(base_url=self.url, transport=self.transport(address), headers=sent, timeout=10)

    def responds(self) -> bool:
        try:
            with self.client() as client:
                return client.get("/livez").is_success
        except httpx.TransportError:
            return False


@contextmanager
def running_nginx(folder: Path, certificate: Certificate, replicas: Sequence[int]) -> Iterator[ReverseProxy]:
    """Run nginx in front of APIs on these ports for the length of a `with` block."""
    proxy = _prepare(folder, certificate)
    names = {"listen 443 ": f"listen {proxy.port} ", "listen 80;": f"listen {proxy.plain_port};"}
    _write(folder, "nginx.conf", {**names, _NAME: HOST}, certificate, replicas)
    main = folder / "main.conf"
    main.write_text(_NGINX.format(folder=folder))
    with _running(folder, [_program("nginx"), "-c", str(main), "-e", "stderr"], proxy, SIGTERM):
        yield proxy


@contextmanager
def running_caddy(folder: Path, certificate: Certificate, replicas: Sequence[int]) -> Iterator[ReverseProxy]:
    """Run Caddy in front of APIs on these ports for the length of a `with` block."""
    proxy = _prepare(folder, certificate)
    names = {"\n{\n": f"\n{_CADDY_OPTIONS % proxy.plain_port}", f"{_NAME} {{": f"{HOST}:{proxy.port} {{"}
    _write(folder, "Caddyfile", names, certificate, replicas)
    file = str(folder / "trainshed.conf")
    command = [_program("caddy"), "run", "--adapter", "caddyfile", "--config", file]
    with _running(folder, command, proxy, SIGQUIT):  # without its grace period
        yield proxy


def _prepare(folder: Path, certificate: Certificate) -> ReverseProxy:
    folder.mkdir()
    return ReverseProxy(ports.find_free("127.0.0.1"), ports.find_free("127.0.0.1"), certificate)


def _write(
    folder: Path, name: str, names: Mapping[str, str], certificate: Certificate, replicas: Sequence[int]
) -> None:
    """Write one of the files, with the names of this host in place of its examples, each of which it has."""
    addresses = [f"127.0.0.1:{port}" for port in replicas]
    files = {_CERTIFICATE: str(certificate.file), _KEY: str(certificate.key)}
    text = (FILES / name).read_text()
    for example, own in {**names, **files, **dict(zip(_REPLICAS, addresses, strict=True))}.items():
        assert example in text, example
        text = text.replace(example, own)
    (folder / "trainshed.conf").write_text(text)


def _program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if path is None:
        environment_lacks(f"no {name}: apt-get install {name}")
    return path


@contextmanager
def _running(folder: Path, command: list[str], proxy: ReverseProxy, stop: Signals) -> Iterator[None]:
    log = folder / "log"
    environment = {
        **os.environ,
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:

        def responds() -> bool:
            assert process.poll() is None, log.read_text()
            return proxy.responds()

        wait_until(responds, f"{command[0]} passes requests to the API", timeout=20)
        yield
    finally:
        process.send_signal(stop)
        process.wait(timeout=10)
