"""Reports the number of a worker's running jobs to Kubernetes, which then removes idle Pods first."""

import ssl
from pathlib import Path

import httpx

from shared import log

_log = log.get_logger(__name__)

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_API = "https://kubernetes.default.svc"
_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
_TIMEOUT_S = 2.0


class PodDeletionCost:
    """The annotation of a Pod by which a ReplicaSet chooses the Pods to remove: the least cost first.

    Writing it needs a service account that may patch the Pod.
    """

    def __init__(
        self, pod: str, *, account: Path = _ACCOUNT, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Prepare; `pod` is `namespace/name`, or empty outside of Kubernetes, where nothing is done."""
        namespace, _, name = pod.partition("/")
        self._url = f"{_API}/api/v1/namespaces/{namespace}/pods/{name}" if pod else ""
        self._account = account
        self._transport = transport
        self._written: int | None = None
        self._refused = False

    def report(self, jobs: int) -> None:
        """Write the number of running jobs, if it has changed; a refusal is logged once."""
        if not self._url or jobs == self._written:
            return
        try:
            self._write(str(jobs))
        except (httpx.HTTPError, OSError) as error:
            if not self._refused:
                _log.warning("the Pod's deletion cost cannot be written", error=str(error))
            self._refused = True
        else:
            self._written, self._refused = jobs, False

    def _write(self, cost: str) -> None:
        # Kubernetes replaces both files from time to time
        headers = {
            "Authorization": f"Bearer {(self._account / 'token').read_text().strip()}",
            "Content-Type": "application/merge-patch+json",
        }
        verify = ssl.create_default_context(cafile=self._account / "ca.crt") if not self._transport else True
        patch = {"metadata": {"annotations": {_ANNOTATION: cost}}}
        with httpx.Client(verify=verify, transport=self._transport, timeout=_TIMEOUT_S) as client:
            client.patch(self._url, json=patch, headers=headers).raise_for_status()
