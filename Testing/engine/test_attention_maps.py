"""Where a network with attention gates looks: maps on the CT's own voxels, files and a picture of them."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk
import torch
from Testing.helpers.attentive_model import ARGUMENTS, NAMES, a_small_patient, write_attentive_model
from Testing.helpers.bright_model import a_patient, write_bright_model

from pancreasseg.cli.main import main
from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import Cancelled, InputError, ModelError, OutputError
from pancreasseg.core.progress import Progress
from pancreasseg.core.results import Provenance, Segmentation
from pancreasseg.core.setup import Setup
from pancreasseg.grids.resample import to_image
from pancreasseg.inference.hardware import Hardware
from pancreasseg.io.atomic import all_or_none
from pancreasseg.io.read import read_volume
from pancreasseg.io.write import write_results
from pancreasseg.models.store import Store
from pancreasseg.networks.attention_unet import AttentionUNet
from pancreasseg.pipelines import attention, create
from pancreasseg.pipelines.attention import attention_maps, gated, gated_stage, map_names
from pancreasseg.pipelines.base import Stage
from pancreasseg.report.attention import write_attention_sheet

BOX = Box((20, 15, 12), (60, 55, 30))
CPU = Hardware("cpu", "f32")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    write_attentive_model(folder)
    write_bright_model(folder)
    return folder


@pytest.fixture
def stage(home):
    package = Store(home).get("attentive")
    return Stage(package, package.card.networks[0], CPU)


def test_the_maps_lie_on_the_cts_own_voxels(stage):
    volume, _ = a_patient()
    found = attention_maps(stage, volume, BOX)
    assert found.box == BOX
    assert tuple(found.maps) == NAMES == map_names(stage.card)
    for array in found.maps.values():
        assert array.dtype == np.float32
        assert array.shape == BOX.shape
        assert 0 <= array.min() < array.max() <= 1
    for level in (1, 2):
        mean, *heads = (found.maps[f"level-{level}-{kind}"] for kind in ("mean", "head-1", "head-2"))
        np.testing.assert_allclose(mean, np.mean(heads, axis=0), atol=1e-6)


def test_a_map_is_what_the_gate_computes_at_its_place(stage):
    """On a CT that is the network's own grid nothing is resampled: the map is the gate's to the last digit."""
    volume, _ = a_patient((2.0, 2.0, 2.0))
    part = volume.array[:, 12:60, 10:58]
    cropped = Volume(part, Geometry((48, 48, 40), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0)))
    found = attention_maps(stage, cropped, Box((10, 10, 8), (38, 38, 32)))
    values = torch.from_numpy(np.clip(part, 0, 200).astype(np.float32) / 200)[None, None]
    with torch.inference_mode():
        alphas = stage.predictor.networks[0].attention(values)
    for number, level in enumerate(alphas, start=1):
        for head in range(2):
            expected = level[0, head, 8:32, 10:38, 10:38].numpy()
            np.testing.assert_allclose(found.maps[f"level-{number}-head-{head + 1}"], expected, atol=1e-5)


def test_a_turned_ct_has_the_same_maps_at_the_same_places(stage):
    volume, _ = a_patient()
    straight = attention_maps(stage, volume, BOX).maps["level-1-head-2"]
    geometry = volume.geometry
    flip = np.diag([-1.0, -1.0, 1.0])
    corner = geometry.to_world([geometry.size[0] - 1, geometry.size[1] - 1, 0])
    turned = Geometry(geometry.size, geometry.spacing, tuple(map(float, corner)), tuple(flip.ravel()))
    i0, i1, j0, j1, k0, k1 = BOX.bounds()
    other = Box((80 - i1, 70 - j1, k0), (80 - i0, 70 - j0, k1))
    found = attention_maps(stage, Volume(np.ascontiguousarray(volume.array[:, ::-1, ::-1]), turned), other)
    np.testing.assert_allclose(found.maps["level-1-head-2"][:, ::-1, ::-1], straight, atol=1e-4)


def test_the_network_sees_its_patch_around_a_small_box(stage, monkeypatch):
    volume, _ = a_patient()
    seen = []
    prepare = stage.prepare
    monkeypatch.setattr(stage, "prepare", lambda volume, box: seen.append(box) or prepare(volume, box))
    attention_maps(stage, volume, Box((35, 25, 17), (45, 35, 22)))
    assert seen == [Box((16, 6, 8), (64, 54, 31))]  # 48 voxels of 2 mm, or the next odd number of 4 mm
    assert stage.grid(volume.geometry, seen[0]).size == (48, 48, 46)
    attention_maps(stage, volume, Box((0, 0, 0), (5, 70, 5)))
    assert seen[1] == Box((0, 0, 0), (26, 70, 14))


def test_a_box_larger_than_the_patch_is_covered(stage):
    volume = a_small_patient((2.0, 2.0, 6.0))
    whole = Box.whole(volume.geometry)
    assert stage.grid(volume.geometry, whole).size == (48, 44, 60)
    seen = []
    progress = Progress(report=seen.append)
    found = attention_maps(stage, volume, whole, progress, names=["level-1-head-1"])
    assert list(found.maps) == ["level-1-head-1"]
    assert found.maps["level-1-head-1"].min() > 0
    assert {update.stage for update in seen} == {"attention"}
    assert seen[-1].total > 1
    assert "attention" in progress.timings


def test_cancel_takes_effect_while_looking(stage):
    volume, _ = a_patient()
    with pytest.raises(Cancelled):
        attention_maps(stage, volume, BOX, Progress(cancelled=lambda: True))


def test_what_cannot_be_shown_is_a_sentence(home, stage):
    volume, _ = a_patient()
    with pytest.raises(InputError, match="no such attention map"):
        attention_maps(stage, volume, BOX, names=["level-9-mean"])
    with pytest.raises(InputError, match="outside the volume"):
        attention_maps(stage, volume, Box((200, 0, 0), (210, 5, 5)))
    bright = create(Setup(model="bright", device="cpu"), Store(home))
    with pytest.raises(ModelError, match='"bright" has no attention gates'):
        gated_stage(bright)
    with pytest.raises(ModelError, match="no attention gates"):
        attention_maps(bright.stages[1], volume, BOX)


def test_the_gated_network_is_found_with_and_without_its_weights(home):
    store = Store(home)
    packages = [store.get("bright"), store.get("attentive")]
    assert gated(packages, ("segmenter",)) == packages[1].card.networks[0]
    assert gated(packages, ("localizer",)) is None
    assert gated(packages[:1], ("localizer", "segmenter")) is None
    pipeline = create(Setup(model="attentive", device="cpu"), store)
    assert gated_stage(pipeline).card == packages[1].card.networks[0]


def test_the_names_follow_the_network():
    defaults = {name: p.default for name, p in inspect.signature(AttentionUNet).parameters.items()}
    assert (defaults["channels"], defaults["heads"]) == (attention.CHANNELS, attention.HEADS)
    network = AttentionUNet(**ARGUMENTS).eval()
    with torch.inference_mode():
        levels = network.attention(torch.zeros(1, 1, 32, 32, 32))
    assert len(NAMES) == sum(1 + level.shape[1] for level in levels)


def test_what_a_model_can_show_is_known_without_torch_and_simpleitk(home):
    code = (
        "import sys; from pathlib import Path; from pancreasseg.models.store import Store;"
        "from pancreasseg.pipelines.attention import gated, map_names;"
        "card = gated([Store(Path(sys.argv[1])).get('attentive')], ('segmenter',)); print(*map_names(card));"
        "assert not {'torch', 'SimpleITK'} & set(sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=False)
    assert told.stdout.split() == list(NAMES), told.stderr


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def segment(home, tmp_path, monkeypatch, capsys):
    """Run ``pancreasseg segment`` on an oblique CT; returns exit code, output folder and what was said."""
    monkeypatch.setenv("PANCREASSEG_HOME", str(home))
    volume = a_small_patient()
    turn = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
    geometry = Geometry(volume.geometry.size, volume.geometry.spacing, volume.geometry.origin, tuple(turn.ravel()))
    sitk.WriteImage(to_image(volume.array, geometry), str(tmp_path / "ct.nii.gz"))

    def run(*words: str):
        command = ["segment", str(tmp_path / "ct.nii.gz"), "--output", str(tmp_path / "out"), "--device", "cpu"]
        code = main([*command, "--precision", "f32", *words])
        return code, tmp_path / "out", capsys.readouterr()

    return run


def test_the_command_writes_maps_that_others_read_in_their_place(stage, segment, tmp_path):
    code, folder, said = segment("--model", "attentive", "--attention", "--json")
    assert code == 0
    document = json.loads(said.out)
    assert {path.name for path in (folder / "attention").iterdir()} == {*(f"{n}.nii.gz" for n in NAMES), "maps.png"}
    assert set(document["files"]) >= {f"attention/{name}.nii.gz" for name in NAMES} | {"attention/maps.png"}
    assert "attention" in document["timings"]
    box = Box.from_bounds(document["box"])
    volume = read_volume(tmp_path / "ct.nii.gz")
    expected = attention_maps(stage, volume, box)
    grid = volume.geometry.crop(box)
    for name in NAMES:
        image = nibabel.load(folder / "attention" / f"{name}.nii.gz")
        np.testing.assert_allclose(image.get_fdata().T, expected.maps[name], atol=0.5 / 255 + 1e-6)
        for corner in ((0, 0, 0), tuple(n - 1 for n in grid.size)):
            place = (image.affine @ [*corner, 1])[:3] * (-1, -1, 1)
            np.testing.assert_allclose(place, grid.to_world(corner), atol=1e-3)
    read = sitk.ReadImage(str(folder / "attention" / "level-2-mean.nii.gz"))
    assert read.GetSize() == box.size
    np.testing.assert_allclose(sitk.GetArrayFromImage(read), expected.maps["level-2-mean"], atol=0.5 / 255 + 1e-6)
    with PIL.Image.open(folder / "attention" / "maps.png") as picture:
        width, height = picture.size
        assert width > height > 200
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 500


def a_result(stage) -> tuple:
    """A CT, an empty result on it, and attention maps."""
    volume, _ = a_patient()
    provenance = Provenance("single-stage", (), "cpu", "f32", BOX.bounds(), "0")
    blank = np.zeros(BOX.shape, np.float32)
    empty = Segmentation(np.zeros(volume.array.shape, np.uint8), BOX, blank, blank, (), {}, provenance)
    return volume, empty, attention_maps(stage, volume, BOX)


def files_under(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_maps_of_an_earlier_result_go_when_the_next_has_none(stage, tmp_path):
    volume, empty, attention = a_result(stage)
    write_results(tmp_path, volume, empty, (), (), attention=attention)
    with_maps = files_under(tmp_path)
    assert set(with_maps) >= {f"attention/{name}.nii.gz" for name in NAMES}
    (tmp_path / "attention" / "note.txt").write_text("mine")
    write_results(tmp_path, volume, empty, (), ())
    assert "attention/note.txt" in files_under(tmp_path)
    assert not list(tmp_path.glob("attention/*.nii.gz"))
    (tmp_path / "attention" / "note.txt").unlink()
    write_results(tmp_path, volume, empty, (), (), attention=attention)
    assert files_under(tmp_path) == with_maps
    write_results(tmp_path, volume, empty, (), ())
    assert not (tmp_path / "attention").exists()


def test_when_the_picture_fails_the_earlier_result_stays(stage, tmp_path):
    volume, empty, attention = a_result(stage)
    write_results(tmp_path, volume, empty, (), ())
    before = files_under(tmp_path)

    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="disk is full"):
        write_results(tmp_path, volume, empty, (), (), attention=attention, sheet=full)
    assert files_under(tmp_path) == before


def test_a_model_without_gates_is_one_sentence_and_no_file(segment):
    code, folder, said = segment("--model", "bright", "--attention")
    assert code == ModelError("", "").exit_code
    assert 'The model "bright" has no attention gates' in said.err
    assert "Traceback" not in said.err
    assert list(folder.iterdir()) == []


def test_when_moving_fails_half_way_no_map_stays_and_none_is_lost(tmp_path, monkeypatch):
    def write(names, outdated=()):
        with all_or_none(tmp_path, names, outdated) as stage:
            for name in names:
                (stage / name).write_text(name)

    write(["a.txt", "maps/one.txt"])
    move = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: fails() if self.name == "one.txt" else move(self, to))
    with pytest.raises(OutputError, match="Permission denied"):
        write(["a.txt", "more/two.txt"], ["maps/one.txt"])
    monkeypatch.undo()
    assert files_under(tmp_path) == ["a.txt", "maps", "maps/one.txt"]
    write(["a.txt", "more/two.txt"], ["maps/one.txt"])
    assert files_under(tmp_path) == ["a.txt", "more", "more/two.txt"]


def fails() -> None:
    raise PermissionError(13, "Permission denied")


def test_an_empty_result_can_be_drawn(stage, tmp_path):
    write_attention_sheet(tmp_path / "maps.png", *a_result(stage))
    assert (tmp_path / "maps.png").stat().st_size > 10_000
