"""Whose certificates the client trusts: public authorities, or those that the environment names."""

import ssl

import httpx

from trainshed.errors import UsageError


def trusted() -> ssl.SSLContext:
    """Return what trusts the authorities of SSL_CERT_FILE or SSL_CERT_DIR, or else the public ones.

    Raises:
        UsageError: there is no such file, or it has no certificates.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # of the ssl module too
        reason = error.strerror or str(error)
        raise UsageError(f"SSL_CERT_FILE must name a file of certificates in PEM format: {reason}") from error


def untrusted(error: httpx.TransportError) -> str:
    """Return what is wrong with a server's certificate, and what to do; empty if the error is another one."""
    _, failed, why = str(error).partition("certificate verify failed: ")
    if not failed:
        return ""
    why = why.partition(" (_ssl.c")[0]
    return f"its certificate is not trusted, {why}: name the file of its authority's in SSL_CERT_FILE"
