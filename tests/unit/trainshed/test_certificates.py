"""The environment names the authorities that the client trusts; what it does not trust is said clearly."""

from pathlib import Path

import httpx
import pytest

from tests.support.proxies import make_certificate
from trainshed import certificates
from trainshed.errors import UsageError


def test_the_authorities_of_the_environment_are_trusted_and_no_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(make_certificate(tmp_path).file))
    [authority] = certificates.trusted().get_ca_certs()
    assert authority["subject"] == ((("commonName", "localhost"),),)


def test_public_authorities_are_trusted_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert len(certificates.trusted().get_ca_certs()) > 50


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_file_without_certificates_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(UsageError, match="SSL_CERT_FILE must name a file of certificates"):
        certificates.trusted()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:16)",
            "its certificate is not trusted, self-signed certificate: "
            "name the file of its authority's in SSL_CERT_FILE",
        ),
        ("[Errno 111] Connection refused", ""),
    ],
)
def test_a_certificate_that_is_not_trusted_is_said_to_be(text: str, told: str) -> None:
    assert certificates.untrusted(httpx.ConnectError(text)) == told
