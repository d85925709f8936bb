"""Fetching published files, only when a person has asked for it.

What has come stays in a partial file, and the next try goes on from there (HTTP Range). The connection lives in a
thread of its own, so that cancelling takes effect at once, whatever the server does or does not do.
"""

from __future__ import annotations

import http.client
import queue
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from pancreasseg.core.errors import ModelError
from pancreasseg.core.progress import Progress
from pancreasseg.core.text import printable
from pancreasseg.io.atomic import output_errors
from pancreasseg.io.locks import try_lock
from pancreasseg.models.catalogue import MIRROR_VARIABLE, PublicFile
from pancreasseg.models.package import sha256_of

BLOCK = 1 << 16
#: Partial files that nobody went on with for so long are removed.
_FORGOTTEN_SECONDS = 30 * 24 * 3600.0
_LOOK_SECONDS = 0.1
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
#: What a server says when it is worth asking again.
_BUSY = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Patience:
    """How much a server may try ours.

    Attributes:
        silence: seconds without a byte after which a connection is dead.
        rate: bytes a second that have to come, on average over ``window`` seconds.
        window: see ``rate``.
        pauses: seconds before the second try, the third, and so on; a try that brought ``gain`` begins them anew.
        gain: bytes.
    """

    silence: float = 30.0
    rate: float = 2000.0
    window: float = 30.0
    pauses: tuple[float, ...] = (1.0, 3.0, 10.0)
    gain: int = 1 << 16


PATIENCE = Patience()


class _Interrupted(Exception):
    """A try that ended before the file was whole, and is worth another."""


class _Refused(Exception):
    """Asking again would not help."""


class _Changed(Exception):
    """The file on the server is not the one of which a part lies here: begin again."""

    def __init__(self) -> None:
        super().__init__("the server does not go on where it stopped")


def download(file: PublicFile, folder: Path, progress: Progress, patience: Patience | None = None) -> Path:
    """Fetch a published file, or the rest of it, and check it against its size and SHA256.

    Args:
        file: from the catalogue. Its ``sha256`` may be empty and its ``size`` 0 where they are not known.
        folder: where the file goes; made if it is not there. Partial files stay in it for the next try.
        progress: advanced by the bytes received; cancel takes effect at once.
        patience: with a slow or failing server; `PATIENCE` by default.

    Returns:
        The whole file in ``folder``.

    Raises:
        ModelError: not reachable, too slow, cut off again and again, or not the published file.
        OutputError: the folder cannot be written.
        Cancelled: the person cancelled.
    """
    target = folder / file.name
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        with _alone(target, progress):
            if target.exists() and file.sha256 and sha256_of(target) == file.sha256:
                progress.advance(file.size)
                return target
            partial = _Partial(target)
            continued = partial.size > 0
            while True:
                _receive(file, partial, progress, patience or PATIENCE)
                if partial.is_whole(file):
                    return partial.finish()
                partial.discard()
                if not continued:
                    raise _wrong(file)
                continued = False  # perhaps the part that was here is what is wrong


class _Partial:
    """The part of a file that is here already, and what the server called its version."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._tag = target.with_name(f"{target.name}.tag")
        self._target = target

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def tag(self) -> str:
        return self._tag.read_text(encoding="latin-1") if self._tag.exists() else ""

    def begin(self, tag: str) -> None:
        """Throw away what is here."""
        self.path.write_bytes(b"")
        self._tag.write_text(tag, encoding="latin-1")

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)

    def is_whole(self, file: PublicFile) -> bool:
        """Whether this is the published file."""
        right_size = not file.size or self.size == file.size
        return right_size and (not file.sha256 or sha256_of(self.path) == file.sha256)

    def finish(self) -> Path:
        """Give the whole file its name."""
        self.path.replace(self._target)
        self._tag.unlink(missing_ok=True)
        return self._target


def _receive(file: PublicFile, partial: _Partial, progress: Progress, patience: Patience) -> None:
    if "://" in file.address:
        _check_address(file.address)
        _fetch(file, partial, progress, patience)
    else:
        _copy(file, partial, progress)


def _fetch(file: PublicFile, partial: _Partial, progress: Progress, patience: Patience) -> None:
    """Ask until the partial file is whole, or all patience is gone."""
    pauses = iter(patience.pauses)
    counted = partial.size
    progress.advance(counted)
    while not (file.size and partial.size == file.size):
        before = partial.size
        try:
            for received in _try(file, partial, progress, patience):
                progress.advance(max(0, received - counted))
                counted = max(counted, received)
            if not file.size:
                return
        except _Refused as error:
            raise _failed(file, str(error)) from error
        except (_Interrupted, _Changed) as error:
            if isinstance(error, _Changed):
                partial.discard()
            if partial.size - before >= patience.gain:
                pauses = iter(patience.pauses)
            pause = next(pauses, None)
            if pause is None:
                raise _failed(
                    file, str(error), "What came so far is kept; the next try goes on from there. "
                ) from error
            _wait(pause, progress)


def _try(file: PublicFile, partial: _Partial, progress: Progress, patience: Patience) -> Iterator[int]:
    """Ask once for what is missing and append what comes; yields how much is here after each block."""
    start = partial.size if (file.sha256 or partial.tag) else 0
    connection = _Connection(file.address, start, partial.tag, patience.silence)
    try:
        answer = connection.head(progress, patience)
        start = _agreed_start(file, answer, start)
        if not start:
            partial.begin(answer.tag)
        here = start
        with partial.path.open("ab") as stream:
            for block in connection.blocks(progress, patience):
                here += len(block)
                if file.size and here > file.size:
                    stream.truncate(0)
                    raise _wrong(file)
                stream.write(block)
                stream.flush()
                yield here
        expected = file.size or answer.total(start)
        if expected and here < expected:
            raise _Interrupted(f"the connection was cut after {here / 1e6:.1f} of {expected / 1e6:.1f} MB")
    finally:
        connection.close()


def _agreed_start(file: PublicFile, answer: _Answer, start: int) -> int:
    """From which byte the server sends."""
    partial = answer.status == http.client.PARTIAL_CONTENT
    if partial and not (answer.headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
        raise _Changed
    total = answer.total(start)
    if file.size and total and total != file.size:
        raise _wrong(file)
    return start if partial else 0


@dataclass(frozen=True)
class _Answer:
    """What a server says before it sends."""

    status: int
    headers: Message

    def total(self, start: int) -> int:
        """Size of the whole file, 0 when the server does not say."""
        if self.headers.get("Content-Encoding", "identity") != "identity":
            return 0
        length = re.fullmatch("[0-9]{1,15}", self.headers.get("Content-Length") or "")
        return (start if self.status == http.client.PARTIAL_CONTENT else 0) + int(length[0]) if length else 0

    @property
    def tag(self) -> str:
        """What the server calls this version of the file; empty when it has no name to rely on."""
        tag = self.headers.get("ETag") or ""
        return tag if re.fullmatch(r'"[!-~]{0,200}"', tag) else ""


class _Connection:
    """One request in a thread of its own; a thread that waits for a dead server is left behind."""

    def __init__(self, url: str, start: int, tag: str, silence: float) -> None:
        headers = {"User-Agent": "PancreasSeg", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if tag:
                headers["If-Range"] = tag
        self._request = urllib.request.Request(url, headers=headers)  # noqa: S310  (checked)
        self._silence = silence
        self._news: queue.Queue[_Answer | bytes | Exception | None] = queue.Queue(maxsize=8)
        self._closed = threading.Event()
        threading.Thread(target=self._run, name="download", daemon=True).start()

    def head(self, progress: Progress, patience: Patience) -> _Answer:
        """What the server says before it sends."""
        deadline = time.monotonic() + patience.window
        while True:
            news = self._next(progress)
            if isinstance(news, _Answer):
                return news
            if time.monotonic() > deadline:
                raise _Interrupted("the server does not answer")

    def blocks(self, progress: Progress, patience: Patience) -> Iterator[bytes]:
        """What the server sends, as it comes."""
        began, received = time.monotonic(), 0
        while (news := self._next(progress)) is not None:
            if isinstance(news, bytes) and news:
                received += len(news)
                yield news
            elapsed = time.monotonic() - began
            if elapsed > patience.window:
                if received < patience.rate * elapsed:
                    raise _Interrupted(f"the server sends less than {patience.rate / 1000:.0f} kB a second")
                began, received = time.monotonic(), 0

    def close(self) -> None:
        self._closed.set()

    def _next(self, progress: Progress) -> _Answer | bytes | None:
        """The next news; nothing (no bytes) when there are none for a moment, None at the end."""
        progress.check()
        try:
            news = self._news.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            return b""
        if isinstance(news, Exception):
            raise news
        return news

    def _run(self) -> None:
        try:
            with _opener.open(self._request, timeout=self._silence) as response:
                self._tell(_Answer(response.status, response.headers))
                while not self._closed.is_set() and (block := response.read1(BLOCK)):
                    self._tell(block)
            self._tell(None)
        except Exception as error:  # whatever it is, it is told to the one who waits
            self._tell(_meaning(self._request, error))

    def _tell(self, news: _Answer | bytes | Exception | None) -> None:
        while not self._closed.is_set():
            try:
                self._news.put(news, timeout=_LOOK_SECONDS)
            except queue.Full:
                continue
            return


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to addresses that may be asked, and to no others."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        try:
            _check_address(newurl)
        except ModelError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


_opener = urllib.request.build_opener(_Redirects)


def _meaning(request: urllib.request.Request, error: Exception) -> Exception:
    """What went wrong with a request: worth another try, or not."""
    if isinstance(error, ModelError):
        return error
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and request.has_header("Range"):
            return _Changed()
        said = f"the server answered {error.code} {printable(str(error.reason))}".rstrip()
        return _Interrupted(said) if error.code in _BUSY else _Refused(said)
    reason = getattr(error, "reason", error)
    if isinstance(reason, socket.gaierror):
        return _Refused("there is no network, or no such server")
    if isinstance(reason, ssl.SSLError) and not isinstance(reason, ssl.SSLEOFError):
        return _Refused(f"the connection is not secure ({printable(str(reason.reason or reason))})")
    if isinstance(reason, TimeoutError):
        return _Interrupted("the server does not answer")
    if isinstance(reason, (http.client.IncompleteRead, ConnectionError, http.client.RemoteDisconnected, ssl.SSLError)):
        return _Interrupted("the connection was cut")
    return _Interrupted(printable(str(reason)) or type(reason).__name__)


def _copy(file: PublicFile, partial: _Partial, progress: Progress) -> None:
    """From a mirror that is a folder."""
    source = Path(file.address)
    partial.begin("")
    try:
        stream = source.open("rb")
    except OSError as error:
        raise ModelError(
            "download-failed",
            f"{file.name} is not in {file.host}.",
            f"Put it there, or unset {MIRROR_VARIABLE} to fetch it from {file.url}",
        ) from error
    with stream, partial.path.open("wb") as target:
        while block := stream.read(1 << 20):
            target.write(block)
            progress.advance(len(block))


@contextmanager
def _alone(target: Path, progress: Progress) -> Iterator[None]:
    """Only one process at a time fetches a file; another waits, and finds what the first one got."""
    with target.with_name(f"{target.name}.lock").open("a+b") as stream:
        while not try_lock(stream):
            _wait(_LOOK_SECONDS, progress)
        yield


def _wait(seconds: float, progress: Progress) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        progress.check()
        time.sleep(min(left, _LOOK_SECONDS))
    progress.check()


def _sweep(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_file() and time.time() - path.stat().st_mtime > _FORGOTTEN_SECONDS:
            path.unlink(missing_ok=True)


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ModelError(
            "not-https",
            f"The address {printable(url)} is not https, so nothing was fetched from it.",
            "Fetch the file in another way, and install from it.",
        )


def _wrong(file: PublicFile) -> ModelError:
    return ModelError(
        "wrong-hash",
        f"What {file.host} sent for {file.name} is not the published file (SHA256 or size differs).",
        "Nothing was installed. A network that asks for a login answers like that; try again, or install from a file.",
    )


def _failed(file: PublicFile, reason: str, kept: str = "") -> ModelError:
    return ModelError(
        "download-failed",
        f"{file.name} could not be fetched from {file.host}: {reason}.",
        f"{kept}Without network, fetch {file.url} on another computer and install from that file.",
    )
