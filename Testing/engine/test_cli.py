"""The command line as its user meets it: files, exit codes, one sentence for everything that is wrong."""

from __future__ import annotations

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from Testing.helpers.bright_model import a_patient

from pancreasseg.cli.main import main
from pancreasseg.grids.resample import to_image
from pancreasseg.io.write import write_nifti

FILES = {"pancreas.seg.nrrd", "pancreas.nii.gz", "statistics.csv", "result.json", "report.png"}
LONG_AND_NOT_ASCII = "Größe ⌘ 膵臓 with spaces " + "x" * 60


class Told:
    """What one run of the command line said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed


Tell = Callable[..., Told]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A CT and its true mask in a folder with a long name that is not ASCII."""
    folder = tmp_path_factory.mktemp(LONG_AND_NOT_ASCII)
    volume, organ = a_patient()
    paths = {"ct": folder / "CT für Müller.nii.gz", "truth": folder / "truth.nii.gz"}
    sitk.WriteImage(to_image(volume.array, volume.geometry), str(paths["ct"]))
    write_nifti(paths["truth"], organ, volume.geometry)
    return paths


@pytest.fixture(autouse=True)
def store(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANCREASSEG_HOME", str(home))


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Run the command line in this process, where torch is loaded once."""

    def run(*words: object) -> Told:
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return Told(code, said.out, said.err)

    return run


def process(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line as a stranger would."""
    command = [sys.executable, "-m", "pancreasseg", *(str(word) for word in words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


def nothing_in(folder: Path) -> bool:
    """Neither a result nor a half-written or hidden file."""
    return not folder.exists() or not list(folder.rglob("*"))


def test_segment_writes_its_five_files_and_measures_against_the_reference(
    tell: Tell, files: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / LONG_AND_NOT_ASCII / "results"
    told = tell("segment", files["ct"], "--output", folder, "--model", "bright", "--reference", files["truth"])
    assert told.code == 0, told.err
    assert {path.name for path in folder.iterdir()} == FILES
    mask, ct = nibabel.load(folder / "pancreas.nii.gz"), nibabel.load(files["ct"])
    assert mask.get_data_dtype() == np.uint8
    assert mask.shape == ct.shape
    np.testing.assert_allclose(mask.affine, ct.affine, atol=1e-4)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert result["dsc"] > 0.9
    assert {"measurements", "findings", "timings", "provenance"} <= result.keys()
    assert result["provenance"]["models"][0]["name"] == "bright"
    assert {"read", "models", "coarse", "fine", "review", "measure"} <= result["timings"].keys()
    rows = list(csv.DictReader((folder / "statistics.csv").read_text(encoding="utf-8").splitlines()))
    assert {"volume", "hu_mean", "dsc", "hd95"} <= {row["name"] for row in rows}
    assert "Volume" in told.out
    assert "pancreas.seg.nrrd" in told.out


def test_json_is_the_only_thing_on_standard_output_and_equals_the_file(
    tell: Tell, files: dict[str, Path], tmp_path: Path
) -> None:
    told = tell("segment", files["ct"], "--output", tmp_path / "out", "--reference", files["truth"], "--json")
    assert told.code == 0, told.err
    assert told.json == json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert told.err == ""


def test_a_box_is_obeyed(tell: Tell, files: dict[str, Path], tmp_path: Path) -> None:
    box = [30, 50, 22, 40, 15, 18]
    told = tell("segment", files["ct"], "--output", tmp_path, "--box", *box, "--json")
    assert told.json["box"] == told.json["provenance"]["box"] == box
    mask = np.asarray(nibabel.load(tmp_path / "pancreas.nii.gz").dataobj)
    assert mask.any()
    assert not mask[:, :, 18:].any()
    assert not mask[:30].any()


def test_localize_prints_the_box_that_segment_takes(tell: Tell, files: dict[str, Path]) -> None:
    _, organ = a_patient()
    found = tell("localize", files["ct"], "--json").json
    i0, i1, j0, j1, k0, k1 = found["box"]
    assert organ[k0:k1, j0:j1, i0:i1].sum() == organ.sum()
    assert organ.size > 4 * (i1 - i0) * (j1 - j0) * (k1 - k0)
    told = tell("localize", files["ct"])
    assert "Box:   " + " ".join(str(b) for b in found["box"]) in told.out
    assert "Finding the pancreas" in told.err


def test_measure_compares_two_masks(tell: Tell, files: dict[str, Path]) -> None:
    told = tell("measure", files["truth"], "--volume", files["ct"], "--reference", files["truth"], "--json")
    assert told.json["dsc"] == 1.0
    volume, organ = a_patient()
    values = {entry["name"]: entry["value"] for entry in told.json["measurements"]}
    assert values["volume"] == pytest.approx(organ.sum() * volume.geometry.voxel_ml)
    assert "Volume" in tell("measure", files["truth"], "--volume", files["ct"]).out


def test_models_can_be_installed_listed_verified_and_removed(
    tell: Tell, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PANCREASSEG_HOME", str(tmp_path / "other store"))
    source = home / "models" / "bright"
    assert tell("models", "install", source, "--json").json == {"installed": [{"name": "bright", "version": "1.0.0"}]}
    assert "bright" in {model["name"] for model in tell("models", "list", "--json").json["installed"]}
    listing = tell("models", "list").out
    assert "bright" in listing
    assert "obelisk-hybrid" in listing
    assert tell("models", "verify", "bright").code == 0
    assert tell("models", "info", "bright", "--json").json["contrast_phase"] == "any"
    assert "patients" in tell("models", "info", "bright").out
    assert tell("models", "remove", "bright").code == 0
    assert tell("models", "verify", "bright").code == 4


def _evil_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "evil.zip", "w") as archive:
        archive.writestr("../outside/model.json", "{}")
    return folder / "evil.zip"


def _not_a_checkpoint(folder: Path) -> Path:
    (folder / "weights.pth").write_bytes(b"no checkpoint at all")
    return folder / "weights.pth"


SOURCES: dict[str, Callable[[Path], Path | str]] = {
    "a name that is not in the catalogue": lambda folder: "nobody-knows-it",
    "a path that is not there": lambda folder: folder / "not there.zip",
    "an empty folder": lambda folder: folder,
    "a zip that reaches outside": _evil_zip,
    "a file that is no checkpoint": _not_a_checkpoint,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_model_that_cannot_be_installed_is_one_sentence_and_the_store_stays_as_it_was(
    tell: Tell, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    store = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("PANCREASSEG_HOME", str(store))
    told = tell("models", "install", SOURCES[kind](tmp_path_factory.mktemp("source")))
    assert told.code == 4
    assert_one_sentence(told.err)
    assert not [path for path in store.rglob("*") if path.is_file() and path.stat().st_size > 0]


def _write(path: Path, array: np.ndarray) -> Path:
    volume, _ = a_patient()
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((*volume.geometry.spacing, 1.0)[: image.GetDimension()])
    sitk.WriteImage(image, str(path))
    return path


def _truncated(folder: Path, ct: Path) -> Path:
    (folder / "cut.nii.gz").write_bytes(ct.read_bytes()[:20_000])
    return folder / "cut.nii.gz"


def _empty_file(folder: Path, ct: Path) -> Path:
    (folder / "empty.nii.gz").touch()
    return folder / "empty.nii.gz"


def _empty_folder(folder: Path, ct: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def _text(folder: Path, ct: Path) -> Path:
    (folder / "notes.txt").write_text("no CT")
    return folder / "notes.txt"


BAD_CTS: dict[str, Callable[[Path, Path], Path]] = {
    "missing": lambda folder, ct: folder / "not there.nii.gz",
    "empty": _empty_file,
    "truncated": _truncated,
    "empty-folder": _empty_folder,
    "text": _text,
    "mr": lambda folder, ct: _write(folder / "mr.nrrd", np.abs(a_patient()[0].array)),
    "4d": lambda folder, ct: _write(folder / "4d.nii.gz", np.zeros((3, 20, 20, 20), np.int16)),
    "nan": lambda folder, ct: _write(folder / "nan.nrrd", np.where(a_patient()[1], np.nan, a_patient()[0].array)),
    "three-slices": lambda folder, ct: _write(folder / "three.nrrd", a_patient()[0].array[:3]),
    "air": lambda folder, ct: _write(folder / "air.nrrd", np.full((20, 40, 40), -1000, np.int16)),
    "narrow": lambda folder, ct: _write(folder / "narrow.nrrd", a_patient()[0].array[:, :, :8]),
}


@pytest.mark.parametrize("kind", BAD_CTS)
def test_a_ct_that_cannot_be_used_is_one_sentence_and_no_file(
    tell: Tell, files: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    ct = BAD_CTS[kind](tmp_path, files["ct"])
    folder = tmp_path / "out"
    told = tell("segment", ct, "--output", folder)
    assert told.code == 3
    assert_one_sentence(told.err)
    assert told.out == ""
    assert nothing_in(folder)
    again = tell("segment", ct, "--output", folder, "--json")
    assert again.code == 3
    assert again.json["error"]["code"]
    assert again.json["error"]["message"] in again.err


def assert_one_sentence(err: str) -> None:
    """The error is one sentence and, on the next line, what to do; no traceback."""
    lines = [line for line in err.splitlines() if not line.endswith("...")]
    assert lines[0].startswith("Error: ")
    assert lines[0].endswith((".", "!"))
    assert len(lines) <= 2
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--box", "900", "950", "0", "50", "0", "20"], 3, "outside the volume"),
        (["--box", "50", "20", "0", "50", "0", "20"], 3, "not above its start"),
        (["--box", "-50", "-20", "0", "50", "0", "20"], 3, "outside the volume"),
        (["--model", "nobody-knows-it"], 4, "nobody-knows-it"),
        (["--model", "../bright"], 4, "bright"),
        (["--pipeline", "magic"], 4, "magic"),
        (["--pipeline", "whole-volume", "--model", "bright"], 4, "whole-volume"),
        (["--reference", "nowhere.nii.gz"], 3, "nowhere.nii.gz"),
        (["--precision", "fp16", "--device", "cpu"], 6, "fp16"),
        (["--box", "1", "2", "3"], 2, "--box"),
        (["--device", "toaster"], 2, "toaster"),
        (["--colour", "red"], 2, "--colour"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_sentence_and_no_file(
    tell: Tell, files: dict[str, Path], tmp_path: Path, words: list[str], code: int, says: str
) -> None:
    told = tell("segment", files["ct"], "--output", tmp_path / "out", *words)
    assert told.code == code
    assert_one_sentence(told.err)
    assert says in told.err
    assert nothing_in(tmp_path / "out")


def test_a_package_with_a_wrong_hash_is_refused(
    tell: Tell, files: dict[str, Path], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(home, tmp_path / "home")
    weights = tmp_path / "home" / "models" / "bright" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    monkeypatch.setenv("PANCREASSEG_HOME", str(tmp_path / "home"))
    told = tell("segment", files["ct"], "--output", tmp_path / "out", "--model", "bright")
    assert told.code == 4
    assert_one_sentence(told.err)
    assert "SHA256" in told.err
    assert nothing_in(tmp_path / "out")


def test_an_output_that_is_a_file_is_refused_before_anything_is_computed(
    tell: Tell, files: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("mine")
    told = tell("segment", files["ct"], "--output", tmp_path / "out")
    assert told.code == 5
    assert_one_sentence(told.err)
    assert "Reading" not in told.err
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_read_only_output_folder_is_refused_before_anything_is_computed(
    tell: Tell, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):  # root may write anywhere: let the system refuse as it would for others
        monkeypatch.setattr(Path, "mkdir", _refuse_mkdir)
    told = tell("segment", files["ct"], "--output", folder / "results")
    assert told.code == 5
    assert_one_sentence(told.err)
    assert "Reading" not in told.err
    assert nothing_in(folder)


def _refuse_mkdir(path: Path, *_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied", str(path))


def test_a_full_disk_leaves_the_results_of_the_run_before_untouched(
    tell: Tell, files: dict[str, Path], tmp_path: Path
) -> None:
    assert tell("segment", files["ct"], "--output", tmp_path, "--json").code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limits[1]))
    try:
        told = tell("segment", files["ct"], "--output", tmp_path, "--box", 30, 50, 22, 40, 15, 18)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert told.code == 5
    assert_one_sentence(told.err)
    assert "full" in told.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_unforeseen_error_is_one_sentence_and_the_way_to_more(
    tell: Tell, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("Doe^Jane")

    monkeypatch.setattr("pancreasseg.runs.run.segment", broken)
    words = ["segment", files["ct"], "--output", tmp_path / "out"]
    told = tell(*words)
    assert told.code == 70
    assert "--debug" in told.err
    assert "Doe" not in told.err
    assert nothing_in(tmp_path / "out")
    with pytest.raises(KeyError):
        tell(*words, "--debug")


def test_help_and_the_model_list_load_neither_torch_nor_simpleitk() -> None:
    code = (
        "import sys; from pancreasseg.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'SimpleITK', 'scipy', 'skimage', 'matplotlib', 'pydicom') if m in sys.modules])"
    )
    for words in (["--help"], ["segment", "--help"], ["models", "list"], ["models", "list", "--json"]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        assert done.stdout.rstrip().endswith("[]"), (words, done.stdout)


def test_ctrl_c_ends_with_130_and_leaves_nothing(files: dict[str, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pancreasseg", "segment", str(files["ct"]), "--output", str(tmp_path / "out")]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A shell starts what runs in its background with Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if line.startswith("Loading the model"):
                break
        run.send_signal(signal.SIGINT)
        err = run.stderr.read()
        assert run.wait(60) == 130
    assert "cancelled" in err
    assert "Traceback" not in err
    assert nothing_in(tmp_path / "out")


def test_the_installed_command_segments_a_ct(files: dict[str, Path], tmp_path: Path) -> None:
    done = process("segment", files["ct"], "--output", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert json.loads(done.stdout)["provenance"]["pipeline"] == "two-stage"
