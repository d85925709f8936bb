"""Downloads from a real server on this computer, one that behaves and one that does not."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from Testing.helpers.http_server import (
    Handler,
    Site,
    cut,
    redirect,
    serving,
    silent,
    slow_headers,
    status,
    trickle,
)

from pancreasseg.core.errors import Cancelled, ModelError, OutputError
from pancreasseg.core.progress import Progress
from pancreasseg.models.catalogue import PublicFile
from pancreasseg.models.download import Patience, download

DATA = np.random.default_rng(0).bytes(300_000)
PATH = "/models/a.pth"
#: So little that a test need not wait; the gain is out of reach, so that every test comes to its end.
PATIENCE = Patience(silence=0.5, rate=10_000.0, window=0.4, pauses=(0.0, 0.01, 0.02), gain=10**9)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site({PATH: DATA})) as running:
        yield running


def published(site: Site, **changes: object) -> PublicFile:
    facts = {"url": site.url(PATH), "sha256": hashlib.sha256(DATA).hexdigest(), "size": len(DATA), **changes}
    return PublicFile("a.pth", **facts)  # type: ignore[arg-type]


def fetch(site: Site, folder: Path, progress: Progress | None = None, **changes: object) -> Path:
    return download(published(site, **changes), folder, progress or Progress(), PATIENCE)


def refusal(site: Site, folder: Path, **changes: object) -> ModelError:
    with pytest.raises(ModelError) as caught:
        fetch(site, folder, **changes)
    assert caught.value.hint
    assert str(caught.value).isprintable()
    return caught.value


def ranges(site: Site) -> list[str | None]:
    return [wanted for _, wanted in site.asked]


def part(folder: Path) -> int:
    return (folder / "a.pth.part").stat().st_size


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_file_is_fetched_counted_and_checked(site: Site, tmp_path: Path) -> None:
    seen = []
    progress = Progress(report=seen.append)
    with progress.stage("Downloading", len(DATA)):
        path = fetch(site, tmp_path / "new folder", progress)
    assert path.read_bytes() == DATA
    assert seen[-1].done == len(DATA)
    assert left(path.parent) == ["a.pth"]
    assert ranges(site) == [None]


def test_a_file_that_is_there_already_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    fetch(site, tmp_path)
    fetch(site, tmp_path)
    assert len(site.asked) == 1
    (tmp_path / "a.pth").write_bytes(b"damaged")
    assert fetch(site, tmp_path).read_bytes() == DATA


def test_a_cut_connection_is_taken_up_where_it_was_cut(site: Site, tmp_path: Path) -> None:
    site.behaviours = [cut(100_000), cut(50_000), None]
    seen = []
    progress = Progress(report=seen.append)
    with progress.stage("Downloading", len(DATA)):
        assert fetch(site, tmp_path, progress).read_bytes() == DATA
    assert ranges(site) == [None, "bytes=100000-", "bytes=150000-"]
    assert [update.done for update in seen] == sorted(update.done for update in seen)
    assert seen[-1].done == len(DATA)


def test_a_connection_that_is_always_cut_is_called_so_and_the_next_try_goes_on(site: Site, tmp_path: Path) -> None:
    site.behaviours = [cut(10_000)]
    error = refusal(site, tmp_path)
    assert error.code == "download-failed"
    assert "the connection was cut after 0.0 of 0.3 MB" in error.message
    assert "goes on from there" in error.hint
    assert len(site.asked) == 4
    assert part(tmp_path) == 40_000
    site.behaviours = []
    assert fetch(site, tmp_path).read_bytes() == DATA
    assert ranges(site)[-1] == "bytes=40000-"
    assert left(tmp_path) == ["a.pth"]


def test_a_server_that_knows_no_ranges_begins_again(site: Site, tmp_path: Path) -> None:
    site.behaviours, site.ranges = [cut(100_000), None], False
    assert fetch(site, tmp_path).read_bytes() == DATA


def test_a_file_that_changed_meanwhile_begins_again(site: Site, tmp_path: Path) -> None:
    site.behaviours = [cut(100_000)]
    site.files[PATH] = bytes(len(DATA))
    refusal(site, tmp_path)
    site.behaviours, site.tag, site.files[PATH] = [], '"2"', DATA
    assert fetch(site, tmp_path).read_bytes() == DATA


@pytest.mark.parametrize("garbage", [b"not the beginning", bytes(len(DATA)), bytes(len(DATA) + 5)], ids=len)
def test_a_part_that_does_not_belong_to_the_file_is_thrown_away(site: Site, tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / "a.pth.part").write_bytes(garbage)
    assert fetch(site, tmp_path).read_bytes() == DATA


def other_range(handler: Handler) -> None:
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes 5-{len(DATA) - 1}/{len(DATA)}")
    handler.send_header("Content-Length", str(len(DATA) - 5))
    handler.end_headers()
    handler.wfile.write(DATA[5:])


def test_a_server_that_sends_another_range_than_it_was_asked_for_is_not_believed(site: Site, tmp_path: Path) -> None:
    site.behaviours = [cut(1000), other_range, None]
    assert fetch(site, tmp_path).read_bytes() == DATA
    site.behaviours, (tmp_path / "a.pth").unlink()  # type: ignore[func-returns-value]
    site.behaviours = [other_range]
    assert refusal(site, tmp_path).code == "download-failed"


@pytest.mark.parametrize("content", [b"short", DATA[:-1] + b"?", DATA + b"more", b"<html>log in here</html>"], ids=len)
def test_another_file_than_the_published_one_is_refused_and_not_kept(
    site: Site, tmp_path: Path, content: bytes
) -> None:
    site.files[PATH] = content
    assert refusal(site, tmp_path).code == "wrong-hash"
    assert [name for name in left(tmp_path) if (tmp_path / name).stat().st_size] == []
    assert len(site.asked) == 1


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while not handler.site.closing.is_set():
        handler.wfile.write(bytes(1 << 16))


def test_an_endless_file_is_stopped(site: Site, tmp_path: Path) -> None:
    site.behaviours = [endless]
    assert refusal(site, tmp_path).code == "wrong-hash"


@pytest.mark.parametrize(
    ("behave", "words", "tries"),
    [
        (status(404), "answered 404 Not Found", 1),
        (status(403), "answered 403 Forbidden", 1),
        (status(500), "answered 500", 4),
        (status(503), "answered 503", 4),
        (trickle, "less than 10 kB a second", 4),
        (silent, "does not answer", 4),
        (slow_headers, "does not answer", 4),
        (lambda handler: handler.wfile.write(b"no HTTP at all\r\n\r\n"), "no HTTP at all", 4),
        (lambda handler: handler.connection.close(), "the connection was cut", 4),
    ],
    ids=["404", "403", "500", "503", "trickle", "silent", "slow headers", "no HTTP", "closed"],
)
def test_a_server_that_fails_is_asked_again_where_that_may_help(
    site: Site, tmp_path: Path, behave: object, words: str, tries: int
) -> None:
    site.behaviours = [behave]  # type: ignore[list-item]
    error = refusal(site, tmp_path)
    assert error.code == "download-failed"
    assert words in error.message
    assert len(site.asked) == tries


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.behaviours = [status(503), status(429), None]
    assert fetch(site, tmp_path).read_bytes() == DATA


def test_nobody_listening_is_a_sentence(site: Site, tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/a.pth"
    assert refusal(site, tmp_path, url=url).code == "download-failed"


def test_what_a_server_says_cannot_steer_the_terminal(site: Site, tmp_path: Path) -> None:
    site.behaviours = [status(404, "gone \x1b[2J\x1b]0;title\x07\u202e" + "x" * 5000)]
    error = refusal(site, tmp_path)
    assert "\x1b" not in str(error)
    assert "\x07" not in str(error)
    assert len(str(error)) < 700


def test_redirects_are_followed_on_this_computer_and_by_https_and_nowhere_else(site: Site, tmp_path: Path) -> None:
    site.behaviours = [redirect(lambda site: site.url(PATH)), None]
    assert fetch(site, tmp_path).read_bytes() == DATA
    (tmp_path / "a.pth").unlink()
    for target in ("http://example.org/a.pth", "file:///etc/passwd", "ftp://127.0.0.1/a"):
        site.behaviours = [redirect(target)]
        assert refusal(site, tmp_path).code in ("not-https", "download-failed")


def test_redirects_in_a_circle_end(site: Site, tmp_path: Path) -> None:
    site.behaviours = [redirect(lambda site: site.url(PATH))]
    assert refusal(site, tmp_path).code == "download-failed"


def test_nothing_is_fetched_but_by_https(site: Site, tmp_path: Path) -> None:
    for url in ("http://example.org/a.pth", "http://127.0.0.1.example.org/a.pth", "ftp://example.org/a.pth"):
        assert refusal(site, tmp_path, url=url).code == "not-https"


@pytest.mark.parametrize(
    "behave", [trickle, silent, slow_headers, status(503)], ids=["trickle", "silent", "slow", "503"]
)
def test_cancelling_takes_effect_whatever_the_server_does(site: Site, tmp_path: Path, behave: object) -> None:
    site.behaviours = [behave]  # type: ignore[list-item]
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    patience = Patience(silence=60.0, rate=0.0, window=600.0, pauses=(600.0,))
    with pytest.raises(Cancelled):
        download(published(site), tmp_path, Progress(cancelled=stop.is_set), patience)


def test_after_a_cancel_the_next_try_goes_on(site: Site, tmp_path: Path) -> None:
    site.behaviours = [trickle, None]
    stop = threading.Event()
    progress = Progress(report=lambda update: update.done > 3 and stop.set(), cancelled=stop.is_set)
    with pytest.raises(Cancelled), progress.stage("Downloading", len(DATA)):
        fetch(site, tmp_path, progress)
    kept = part(tmp_path)
    assert kept > 3
    assert fetch(site, tmp_path).read_bytes() == DATA
    assert ranges(site)[-1] == f"bytes={kept}-"


def test_a_file_whose_hash_nobody_knows_is_taken_up_only_by_its_tag(site: Site, tmp_path: Path) -> None:
    site.behaviours = [cut(10_000)]
    refusal(site, tmp_path, sha256="", size=0)
    site.behaviours, site.tag = [], '"2"'
    assert fetch(site, tmp_path, sha256="", size=0).read_bytes() == DATA
    assert ranges(site)[-1] is not None
    (tmp_path / "a.pth").unlink()
    site.behaviours, site.tag = [cut(10_000)], 'W/"weak"'
    refusal(site, tmp_path, sha256="", size=0)
    site.behaviours = []
    assert fetch(site, tmp_path, sha256="", size=0).read_bytes() == DATA
    assert ranges(site)[-1] is None, "without a tag to rely on it begins again"


def test_two_at_once_fetch_a_file_once(site: Site, tmp_path: Path) -> None:
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(fetch(site, tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert paths == [tmp_path / "a.pth"] * 3
    assert len(site.asked) == 1


def test_a_folder_that_cannot_be_written_is_a_sentence(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        fetch(site, tmp_path / "file")


# Mirrors


def test_a_mirror_is_asked_instead_and_nobody_else(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANCREASSEG_MIRROR", site.url("/models/"))
    file = published(site, url="https://example.org/far/away/a.pth")
    assert file.host == "127.0.0.1"
    assert download(file, tmp_path, Progress(), PATIENCE).read_bytes() == DATA
    assert site.asked == [(PATH, None)]
    monkeypatch.setenv("PANCREASSEG_MIRROR", "http://example.org")
    assert refusal(site, tmp_path / "other").code == "not-https"


def test_a_mirror_may_be_a_folder(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = tmp_path / "Spiegel ü"
    mirror.mkdir()
    monkeypatch.setenv("PANCREASSEG_MIRROR", str(mirror))
    error = refusal(site, tmp_path / "to")
    assert str(mirror) in error.message
    (mirror / "a.pth").write_bytes(DATA[:-1])
    assert refusal(site, tmp_path / "to").code == "wrong-hash"
    (mirror / "a.pth").write_bytes(DATA)
    assert fetch(site, tmp_path / "to").read_bytes() == DATA
    assert site.asked == []
