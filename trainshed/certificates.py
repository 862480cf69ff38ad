"""Certificate authorities that the client trusts: the public ones, or those of the environment."""

import ssl

import httpx

from trainshed.errors import UsageError


def trusted() -> ssl.SSLContext:
    """Return a context that trusts the authorities of SSL_CERT_FILE or SSL_CERT_DIR, or else the public ones.

    Raises:
        UsageError: the file does not exist or has no certificates.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # including ssl.SSLError
        reason = error.strerror or str(error)
        raise UsageError(f"SSL_CERT_FILE must name a file of certificates in PEM format: {reason}") from error


def untrusted(error: httpx.TransportError) -> str:
    """Return the fault of a server's certificate and its remedy; empty if the error has another cause."""
    _, failed, why = str(error).partition("certificate verify failed: ")
    if not failed:
        return ""
    why = why.partition(" (_ssl.c")[0]
    return f"its certificate is not trusted, {why}: name the file of its authority's in SSL_CERT_FILE"
