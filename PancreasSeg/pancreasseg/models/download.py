"""Fetching published files, only when a person has asked for it."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from email.message import Message
from typing import IO
from urllib.parse import urlsplit

from pancreasseg.core.errors import ModelError
from pancreasseg.core.progress import Progress
from pancreasseg.models.catalogue import PublicFile

TIMEOUT_SECONDS = 30.0
BLOCK = 1 << 16


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https addresses and to no others."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        _check_https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


_opener = urllib.request.build_opener(_HttpsOnly)


def download(file: PublicFile, progress: Progress) -> bytes:
    """The contents of a published file, checked against its size and SHA256.

    Args:
        file: from the catalogue.
        progress: advanced by the bytes received; cancel takes effect between blocks.

    Raises:
        ModelError: not reachable, or not the published file.
        Cancelled: the person cancelled.
    """
    _check_https(file.url)
    request = urllib.request.Request(file.url, headers={"User-Agent": "PancreasSeg"})  # noqa: S310  (https only)
    data = bytearray()
    try:
        with _opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            while block := response.read(BLOCK):
                data += block
                if len(data) > file.size:
                    break
                progress.advance(len(block))
    except (OSError, http.client.HTTPException) as error:  # URLError, HTTPError and timeouts are OSErrors
        raise ModelError(
            "download-failed",
            f"{file.name} could not be fetched from {file.host}: {_reason(error)}.",
            f"Without network, fetch {file.url} on another computer and install from that file.",
        ) from error
    if len(data) != file.size or hashlib.sha256(data).hexdigest() != file.sha256:
        raise ModelError(
            "wrong-hash",
            f"What {file.host} sent for {file.name} is not the published file (SHA256 differs).",
            "Nothing was installed; try again, or install from a file.",
        )
    return bytes(data)


def _check_https(url: str) -> None:
    if urlsplit(url).scheme != "https":
        raise ModelError("not-https", f"The address {url} is not https, so nothing was fetched from it.")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    return str(getattr(error, "reason", None) or error or type(error).__name__)
