import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from Testing.helpers.http_server import Site, cut, serving, trickle
from Testing.helpers.kill_points import killed_everywhere
from Testing.helpers.model_samples import tensors, write_tiny

from pancreasseg.core.errors import Cancelled, ModelError, OutputError
from pancreasseg.core.progress import Progress
from pancreasseg.models import catalogue, convert
from pancreasseg.models.download import Patience
from pancreasseg.models.package import ModelPackage, while_replaced
from pancreasseg.models.store import Store, default_home


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "home", bundled=tmp_path / "bundled")


@pytest.fixture
def source(tmp_path) -> ModelPackage:
    return write_tiny(tmp_path / "from" / "tiny-model")


def zip_of(package: ModelPackage, path: Path, inside: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("model.json", "weights.safetensors"):
            archive.write(package.folder / name, inside + name)
    return path


def contents(folder: Path, *, hidden: bool = True) -> list[str]:
    found = [p.relative_to(folder) for p in folder.rglob("*") if p.name != ".lock"] if folder.exists() else []
    return sorted(str(p) for p in found if hidden or not p.parts[0].startswith("."))


WHOLE = ["tiny-model", "tiny-model/model.json", "tiny-model/weights.safetensors"]


# Finding and ranking


def test_the_environment_variable_moves_the_store(monkeypatch, tmp_path):
    monkeypatch.setenv("PANCREASSEG_HOME", str(tmp_path / "elsewhere"))
    assert Store().folder == tmp_path / "elsewhere" / "models"
    monkeypatch.delenv("PANCREASSEG_HOME")
    assert default_home().name == "PancreasSeg"


def test_looking_into_a_store_creates_nothing(store):
    assert store.packages() == []
    with pytest.raises(ModelError):
        store.get("tiny-model")
    assert not store.home.exists()


def test_an_unknown_model_is_named_with_what_is_there(store, source):
    store.install(source.folder)
    with pytest.raises(ModelError, match=r'"other" is not installed.*Installed: tiny-model'):
        store.get("other")
    with pytest.raises(ModelError, match="pancreasseg models install obelisk-hybrid"):
        store.get("obelisk-hybrid")


def test_names_cannot_lead_out_of_the_store(store, source):
    for name in ("../from/tiny-model", str(source.folder), "..", ".", ""):
        with pytest.raises(ModelError):
            store.get(name)
        with pytest.raises(ModelError):
            store.remove(name)
    source.verify()


def test_the_catalogue_says_which_public_models_come_before_the_bundled_one(store, tmp_path, monkeypatch):
    """Published figures of different test sets are not compared with each other."""
    perfect = [{"metric": "DSC", "value": 0.99, "sd": None, "data": "their own", "cases": 5}]
    known = catalogue.entry("obelisk-hybrid")
    entries = {
        "weak-public": catalogue.Entry({**known.card, "name": "weak-public"}, known.files),
        "strong-public": catalogue.Entry({**known.card, "name": "strong-public"}, known.files, "strong"),
    }
    monkeypatch.setattr(catalogue, "entries", lambda: entries)
    write_tiny(tmp_path / "bundled" / "ours", name="ours")
    write_tiny(store.folder / "weak-public", name="weak-public", figures=perfect)
    write_tiny(store.folder / "own-model", name="own-model")
    write_tiny(store.folder / "strong-public", name="strong-public")
    assert [package.card.name for package in store.packages()] == ["strong-public", "own-model", "ours", "weak-public"]


def test_the_best_model_is_an_installed_one_then_the_more_accurate_then_the_larger_ensemble(store, tmp_path):
    with pytest.raises(ModelError, match="models install"):
        store.best()
    good = [{"metric": "DSC", "value": 0.9, "data": "x"}]
    fair = [{"metric": "DSC", "value": 0.7, "data": "x"}]
    write_tiny(tmp_path / "bundled" / "phantom", name="phantom", figures=good)
    assert store.best().card.name == "phantom"
    assert store.best().bundled
    for name, figures in (("b-fair", fair), ("a-good", good), ("c-good", good)):
        store.install(write_tiny(tmp_path / "from" / name, name=name, figures=figures).folder)
    assert [p.card.name for p in store.packages()] == ["a-good", "c-good", "b-fair", "phantom"]
    assert store.best(("segmenter",)).card.name == "a-good"
    with pytest.raises(ModelError, match="localizer"):
        store.best(("localizer", "segmenter"))


def test_a_model_that_saw_no_person_is_never_the_best_while_another_did(store, tmp_path):
    for name, dsc, synthetic in (("made-up", 0.99, True), ("real", 0.5, False)):
        figures = [{"metric": "DSC", "value": dsc, "data": "x"}]
        store.install(write_tiny(tmp_path / "from" / name, name=name, figures=figures, synthetic=synthetic).folder)
    assert store.best().card.name == "real"


def test_bundled_packages_are_neither_replaced_nor_removed(store, source, tmp_path):
    write_tiny(tmp_path / "bundled" / "tiny-model")
    for change in (lambda: store.install(source.folder), lambda: store.remove("tiny-model")):
        with pytest.raises(ModelError, match="comes with the software"):
            change()
    assert store.info("tiny-model")["bundled"] is True


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither")
@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_pipe_or_a_device_in_a_package_is_not_waited_for(store, source, name, put):
    (installed,) = store.install(source.folder)
    broken = store.folder / "broken"
    shutil.copytree(installed.folder, broken)
    card = json.loads((broken / "model.json").read_text())
    card["name"] = "broken"
    (broken / "model.json").write_text(json.dumps(card))
    (broken / name).unlink()
    put(broken / name)
    with pytest.raises(ModelError):
        store.verify("broken")
    assert "tiny-model" in [p.card.name for p in store.packages()]
    assert (name == "model.json") == ("broken" in store.damaged())


def test_a_damaged_folder_does_not_hide_the_others(store, source):
    store.install(source.folder)
    (store.folder / "broken").mkdir()
    (store.folder / "broken" / "model.json").write_text("{")
    assert [p.card.name for p in store.packages()] == ["tiny-model"]
    assert list(store.damaged()) == ["broken"]
    store.remove("broken")
    assert store.damaged() == {}


# Installing from this computer


@pytest.mark.parametrize("way", ["folder", "card", "zip", "zip with a folder"])
def test_a_package_installs_from_a_folder_or_a_zip(store, source, tmp_path, way):
    given = {
        "folder": lambda: source.folder,
        "card": lambda: source.folder / "model.json",
        "zip": lambda: zip_of(source, tmp_path / "p.zip"),
        "zip with a folder": lambda: zip_of(source, tmp_path / "p.ZIP", "tiny-model/"),
    }[way]()
    (installed,) = store.install(str(given))
    assert installed.folder == store.path("tiny-model")
    store.verify("tiny-model")
    assert contents(store.folder) == WHOLE
    store.remove("tiny-model")
    assert contents(store.folder) == []


def test_long_and_foreign_paths_with_spaces_are_no_obstacle(source, tmp_path):
    home = tmp_path / ("Bauchspeicheldrüse 膵臓 " + "x" * 100) / ("y" * 100)
    store = Store(home, bundled=tmp_path / "none")
    archive = zip_of(source, tmp_path / "mein Modell ü.zip")
    store.install(archive)
    store.verify("tiny-model")


def test_a_package_with_a_wrong_hash_is_not_installed(store, source):
    data = source.weights.read_bytes()
    source.weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ModelError) as caught:
        store.install(source.folder)
    assert caught.value.code == "wrong-hash"
    assert contents(store.folder) == []


def test_a_truncated_package_is_not_installed_even_with_a_matching_hash(store, source):
    data = source.weights.read_bytes()[:500]
    source.weights.write_bytes(data)
    card = json.loads((source.folder / "model.json").read_text())
    card["weights"].update(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    (source.folder / "model.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        store.install(source.folder)
    assert contents(store.folder) == []


def test_a_package_without_tensors_for_a_member_is_not_installed(store, tmp_path):
    from Testing.helpers.model_samples import card

    from pancreasseg.models.package import write_package

    with pytest.raises(ModelError, match="member two"):
        write_package(tmp_path / "half", card(), {k: v for k, v in tensors().items() if k.startswith("one.")})
    assert not (tmp_path / "half").exists()


def test_a_failed_installation_keeps_the_old_package(store, source, tmp_path):
    store.install(source.folder)
    worse = write_tiny(tmp_path / "from2" / "tiny-model", version="2.0.0")
    worse.weights.write_bytes(b"rubbish")
    with pytest.raises(ModelError):
        store.install(worse.folder)
    assert store.verify("tiny-model").card.version == "1.0.0"
    assert contents(store.folder) == WHOLE


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("nowhere.zip", "no-source"),
        ("obelisk-hybird", "unknown-model"),
        ("empty", "no-package"),
        ("text.txt", "no-package"),
        ("other.pth", "unknown-checkpoint"),
        ("obeliskhybrid_tcia_fold1.pth", "wrong-hash"),
        ("cut.zip", "bad-zip"),
        (["other.pth", "nowhere.pth"], "no-source"),
        (["other.pth", "text.txt"], "not-together"),
        (["other.pth", "obeliskhybrid_tcia_fold1.pth"], "unknown-checkpoint"),
    ],
)
def test_what_cannot_be_installed_is_said_in_one_sentence(store, tmp_path, monkeypatch, given, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("text.txt", "other.pth", "obeliskhybrid_tcia_fold1.pth", "cut.zip"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 not what it says")
    with pytest.raises(ModelError) as caught:
        store.install(given)
    assert caught.value.code == code
    assert caught.value.hint
    assert contents(store.folder) == []


# Zip files that may come from anywhere


def unsafe(path: Path, source: ModelPackage, kind: str) -> Path:
    zip_of(source, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        if kind == "link":
            entry = zipfile.ZipInfo("link")
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, "/etc/passwd")
        elif kind == "bomb":
            archive.writestr("zeros", b"\0" * 30_000_000)
        elif kind == "many":
            for number in range(1001):
                archive.writestr(f"{number}", b"")
        else:
            archive.writestr(kind, b"evil")
    return path


@pytest.mark.parametrize(
    "kind",
    ["../evil", "a/../../evil", "/evil", "..\\evil", "C:/evil", "\\\\host\\evil", "link", "bomb", "many"],
)
def test_a_zip_with_unsafe_entries_is_refused_whole(store, source, tmp_path, kind):
    before = contents(tmp_path)
    archive = unsafe(tmp_path / "p.zip", source, kind)
    with pytest.raises(ModelError) as caught:
        store.install(archive)
    assert caught.value.code == "unsafe-zip"
    assert [p for p in contents(tmp_path) if not p.startswith("home")] == sorted([*before, "p.zip"])
    assert contents(store.folder) == []


def test_a_zip_must_hold_one_package_with_its_weights(store, source, tmp_path):
    empty, two, lone = (tmp_path / f"{n}.zip" for n in ("empty", "two", "lone"))
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with zipfile.ZipFile(two, "w") as archive:
        for folder in ("a", "b"):
            archive.write(source.folder / "model.json", f"{folder}/model.json")
    with zipfile.ZipFile(lone, "w") as archive:
        archive.write(source.folder / "model.json", "model.json")
    for path, code in ((empty, "no-package"), (two, "no-package"), (lone, "weights-missing")):
        with pytest.raises(ModelError) as caught:
            store.install(path)
        assert caught.value.code == code
    assert contents(store.folder) == []


def test_a_zip_cut_short_or_changed_inside_is_refused(store, source, tmp_path):
    data = zip_of(source, tmp_path / "p.zip").read_bytes()
    middle = len(data) // 2
    for broken in (data[:-30], data[:middle] + bytes(64) + data[middle + 64 :]):
        (tmp_path / "p.zip").write_bytes(broken)
        with pytest.raises(ModelError):
            store.install(tmp_path / "p.zip")
    assert contents(store.folder) == []


# Killed, full, read-only, at the same time


def test_a_process_killed_at_any_step_of_an_installation_leaves_the_old_or_the_new_package(
    store, source, tmp_path, monkeypatch
):
    monkeypatch.setattr("os.fsync", lambda _descriptor: None)
    newer = write_tiny(tmp_path / "from2" / "tiny-model", version="2.0.0")
    store.install(source.folder)
    seen = []
    for _ in killed_everywhere(lambda: store.install(newer.folder)):
        (package,) = store.packages()  # whoever looks next puts right what was left, and finds one whole package
        assert store.verify("tiny-model").card.version == package.card.version
        assert contents(store.folder, hidden=False) == WHOLE
        seen.append(package.card.version)
        store.install(source.folder)
    assert sorted(set(seen)) == ["1.0.0", "2.0.0"]
    assert seen == sorted(seen), "first the old one, from some step on the new one"


def test_a_process_killed_while_removing_leaves_the_package_or_none(store, source, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _descriptor: None)
    store.install(source.folder)
    for _ in killed_everywhere(lambda: store.remove("tiny-model")):
        for package in store.packages():
            package.verify()
        store.install(source.folder)
    assert store.packages() == []


def test_leftovers_of_a_killed_installation_are_swept_away_in_time(store, source):
    store.install(source.folder)
    fresh, stale = (store.folder / f".pancreasseg-partial-{age}" for age in ("fresh", "stale"))
    fresh.mkdir()
    stale.mkdir()
    long_ago = stale.stat().st_mtime - 2 * 3600
    os.utime(stale, (long_ago, long_ago))
    store.install(source.folder)
    assert fresh.exists()
    assert not stale.exists()
    assert [p.card.name for p in store.packages()] == ["tiny-model"]


@pytest.mark.parametrize("kind", ["file", "link to a folder", "link to a file", "broken link", "empty folder"])
def test_whatever_is_in_a_packages_place_is_replaced_again_and_again(store, source, tmp_path, kind):
    elsewhere = write_tiny(tmp_path / "elsewhere" / "tiny-model", version="0.5.0").folder
    store.folder.mkdir(parents=True)
    place = store.folder / "tiny-model"

    def put() -> None:
        if kind == "file":
            place.write_text("in the way")
        elif kind == "empty folder":
            place.mkdir()
        else:
            place.symlink_to({"link to a folder": elsewhere, "link to a file": elsewhere / "model.json"}.get(kind, "x"))

    for _ in range(3):
        put()
        store.install(source.folder)
        assert store.verify("tiny-model").card.version == "1.0.0"
        assert contents(store.folder) == WHOLE
        store.remove("tiny-model")
    assert ModelPackage(elsewhere).card.version == "0.5.0", "what a link leads to is not ours"


def test_a_link_in_the_store_is_removed_and_not_what_it_leads_to(store, source):
    store.folder.mkdir(parents=True)
    (store.folder / "tiny-model").symlink_to(source.folder)
    assert store.verify("tiny-model").card.version == "1.0.0"
    store.remove("tiny-model")
    assert contents(store.folder) == []
    source.verify()


def test_who_reads_a_package_while_it_is_replaced_is_told_so_and_gets_the_new_one_next(store, source, tmp_path):
    store.install(source.folder)
    before = store.get("tiny-model")
    store.install(write_tiny(tmp_path / "from2" / "tiny-model", seed=2, version="2.0.0").folder)
    for use in (before.verify, before.read_weights):
        with pytest.raises(ModelError, match="replaced or removed while") as caught:
            use()
        assert caught.value.code == "model-replaced"
    attempts = iter([before, store.get("tiny-model")])
    assert hashlib.sha256(while_replaced(lambda: next(attempts).read_weights())).hexdigest() == (
        store.get("tiny-model").card.weights.sha256
    )


READING = """
import sys
from pathlib import Path
from pancreasseg.models.store import Store
from pancreasseg.models.package import while_replaced
store = Store(sys.argv[1], bundled=Path(sys.argv[2]))
print("reading", flush=True)
for turn in range(100):
    assert [package.card.name for package in store.packages()] == ["tiny-model"], turn
    assert store.best().card.name == "tiny-model"
    while_replaced(lambda: store.get("tiny-model").read_weights())
    store.verify("tiny-model")
"""


def test_readers_never_miss_a_package_that_is_being_replaced(store, tmp_path):
    sources = [write_tiny(tmp_path / f"from{n}" / "tiny-model", seed=n, version=f"{n}.0.0").folder for n in (1, 2)]
    store.install(sources[0])
    command = [sys.executable, "-c", READING, str(store.home), str(tmp_path / "none")]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert reader.stdout.readline() == "reading\n"
    replaced = 0
    while reader.poll() is None:
        store.install(sources[replaced % 2])
        replaced += 1
    errors = reader.communicate()[1]
    assert reader.returncode == 0, errors
    assert replaced > 1


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pancreasseg.core.errors import PancreasSegError
from pancreasseg.models.store import Store
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    Store(sys.argv[1]).install(sys.argv[2])
except PancreasSegError as error:
    print(error.code, error.exit_code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot limit file sizes")
def test_a_full_disk_leaves_nothing_half_installed(store, source, tmp_path):
    store.install(source.folder)
    newer = write_tiny(tmp_path / "from2" / "tiny-model", version="2.0.0")
    command = [sys.executable, "-c", FULL_DISK, str(store.home), str(newer.folder)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.stdout.split() == ["disk-full", "5"], run.stderr
    assert store.verify("tiny-model").card.version == "1.0.0"
    assert contents(store.folder) == WHOLE


def test_a_store_that_cannot_be_written_says_so(source, tmp_path):
    (tmp_path / "home").write_text("a file where the folder should be")
    with pytest.raises(OutputError) as caught:
        Store(tmp_path / "home", bundled=tmp_path / "none").install(source.folder)
    assert caught.value.message


SAME_TIME = """
import sys
from pancreasseg.models.store import Store
store = Store(sys.argv[1])
for turn in range(8):
    store.install(sys.argv[2])
    store.verify("tiny-model")
"""


def test_two_processes_may_install_the_same_model_at_once(store, tmp_path):
    sources = [write_tiny(tmp_path / f"from{n}" / "tiny-model", seed=n, version=f"{n}.0.0") for n in (1, 2)]
    commands = [[sys.executable, "-c", SAME_TIME, str(store.home), str(s.folder)] for s in sources]
    running = [subprocess.Popen(c, stderr=subprocess.PIPE, text=True) for c in commands]
    errors = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    assert store.verify("tiny-model").card.version in ("1.0.0", "2.0.0")
    assert contents(store.folder) == WHOLE


# The catalogue and downloads


def test_every_entry_of_the_catalogue_has_a_valid_card():
    from pancreasseg.models.card import Card

    weights = {"file": "weights.safetensors", "sha256": "0" * 64, "size": 1}
    for name, entry in catalogue.entries().items():
        card = Card.from_dict({"format": 1, **entry.card, "weights": weights})
        assert card.name == name
        assert card.networks[0].members == tuple(entry.files)
        assert card.networks[0].classes[card.networks[0].pancreas] == "pancreas"
        for file in entry.files.values():
            assert file.url.startswith("https://")
            assert file.url.endswith("/" + file.name)
    assert {len(e.files) for e in catalogue.entries().values()} == {1, 4}
    assert len(catalogue.entries()) == 10


def test_a_cancelled_download_leaves_no_package_and_goes_on_next_time(store, monkeypatch):
    (file,) = catalogue.entry("obelisk-hybrid-fold1").files.values()
    with serving(Site({f"/{file.name}": bytes(file.size)}, [trickle])) as site:
        monkeypatch.setenv("PANCREASSEG_MIRROR", site.address)
        stop = threading.Event()
        progress = Progress(report=lambda update: update.done and stop.set(), cancelled=stop.is_set)
        with pytest.raises(Cancelled):
            store.install("obelisk-hybrid-fold1", progress)
    assert contents(store.folder) == []
    assert contents(store.home / "downloads") == [f"{file.name}.{part}" for part in ("lock", "part", "tag")]


def test_listing_and_installing_packages_needs_no_torch(source, tmp_path):
    code = (
        "import sys\nfrom pancreasseg.models import catalogue\nfrom pancreasseg.models.store import Store\n"
        "store = Store(sys.argv[1])\nstore.install(sys.argv[2])\nstore.verify('tiny-model')\n"
        "store.packages(); catalogue.entries()\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "home"), str(source.folder)], check=True, timeout=60)


# The published checkpoints


@pytest.mark.real_data
def test_a_folder_of_published_checkpoints_installs_every_model_in_it(store, real_data):
    installed = store.install(real_data / "models" / "obelisk")
    assert {p.card.name for p in installed} == set(catalogue.entries())
    assert store.best().card.name == "obelisk-hybrid"
    for package in installed:
        store.verify(package.card.name)


def zip_of_files(path: Path, *files: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


@pytest.mark.real_data
def test_several_checkpoints_or_a_zip_of_them_install_like_a_folder(store, real_data, tmp_path):
    files = sorted((real_data / "models" / "obelisk").glob("allconvunet_*.pth"))
    expected = {"obelisk-unet", *(f"obelisk-unet-fold{n}" for n in range(1, 5))}
    assert {p.card.name for p in store.install(files)} == expected
    for name in expected:
        store.remove(name)
    readme = ("OBELISK-master/README.md", b"read me")
    inside = [(f"OBELISK-master/models/{file.name}", file.read_bytes()) for file in files]
    zipped = zip_of_files(tmp_path / "OBELISK-master.zip", readme, *inside)
    assert {p.card.name for p in store.install(zipped)} == expected
    assert not [name for name in contents(store.folder) if name.endswith(".pth")], "nothing of the zip is left"


def test_a_zip_of_strange_checkpoints_is_refused(store, tmp_path):
    with pytest.raises(ModelError) as caught:
        store.install(zip_of_files(tmp_path / "a.zip", ("x.pth", b"pickle")))
    assert caught.value.code == "unknown-checkpoint"
    with pytest.raises(ModelError) as caught:
        store.install(zip_of_files(tmp_path / "b.zip", ("1/x.pth", b"pickle"), ("2/x.pth", b"rick")))
    assert caught.value.code == "several-checkpoints"
    with pytest.raises(ModelError) as caught:
        store.install(zip_of_files(tmp_path / "c.zip", ("../x.pth", b"pickle")))
    assert caught.value.code == "unsafe-zip"
    assert contents(store.folder) == []


@pytest.mark.real_data
def test_a_catalogue_name_installs_by_download(store, real_data, monkeypatch):
    files = {f"/{path.name}": path.read_bytes() for path in (real_data / "models" / "obelisk").glob("*.pth")}
    with serving(Site(files, [cut(1000), None])) as site:
        monkeypatch.setenv("PANCREASSEG_MIRROR", site.address)
        monkeypatch.setattr("pancreasseg.models.download.PATIENCE", Patience(pauses=(0.0,)))
        (package,) = store.install("obelisk-hybrid")
    assert len(site.asked) == 5
    assert package.card.networks[0].members == ("fold1", "fold2", "fold3", "fold4")
    assert [name for name in contents(store.home / "downloads") if not name.endswith(".lock")] == []


@pytest.mark.real_data
def test_single_checkpoints_install_under_any_file_name(store, real_data, tmp_path):
    renamed = tmp_path / "Gewichte (1).pth"
    shutil.copyfile(real_data / "models" / "obelisk" / "obeliskhybrid_tcia_fold2.pth", renamed)
    assert [p.card.name for p in store.install(renamed)] == ["obelisk-hybrid-fold2"]
    data = renamed.read_bytes()
    renamed.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ModelError):
        convert.recognise([renamed])
