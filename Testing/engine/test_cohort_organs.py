"""Several organs: labels found by name or as told, kept beside the pancreas, learned; without, the pancreas alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from Testing.helpers.easy_cohort import GEOMETRY, easy_case

from pancreasseg import pipelines
from pancreasseg.cli.main import main
from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.errors import InputError
from pancreasseg.core.progress import Progress
from pancreasseg.core.setup import Setup
from pancreasseg.grids.resample import network_grid, to_image
from pancreasseg.inference.hardware import Hardware
from pancreasseg.lab.cohorts import CaseGrid, Cohort, phantoms
from pancreasseg.lab.cohorts.grid import largest_share
from pancreasseg.lab.cohorts.organs import SEVEN, canonical, of_names, parse
from pancreasseg.lab.cohorts.prepare import Preparation, prepare
from pancreasseg.lab.training import recipes
from pancreasseg.lab.training.part import PartLoop
from pancreasseg.lab.training.run import train
from pancreasseg.measure.compare import dice
from pancreasseg.models.store import Store
from pancreasseg.phantom import make_phantom

CPU = Hardware("cpu", "f32")
ORGANS = ("artery", "liver", "pancreas")
LABELS = {"liver": 6, "aorta": 8, "pancreas": 11}
TINY = {
    "*.schedule.steps": 120,
    "*.schedule.every": 120,
    "*.schedule.optimiser": "adam",
    "*.schedule.learning_rate": 0.02,
    "*.arguments.channels": [4, 8],
    "*.sampling.size": [36, 36, 24],
}


def easy_organs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """HU and labels (K, J, I) of an easy case with a liver darker than the body and an artery brighter than all."""
    hu, mask = easy_case(seed)
    k, j, i = np.ogrid[:18, :40, :44]
    liver = ((i - 9) / 5) ** 2 + ((j - 20) / 9) ** 2 + ((k - 9) / 7) ** 2 < 1
    artery = (i - 22) ** 2 + (j - 33) ** 2 + 0 * k < 6
    labels = np.where(mask, LABELS["pancreas"], 0)
    labels[liver & (labels == 0)], labels[artery] = LABELS["liver"], LABELS["aorta"]
    hu = hu + np.where(labels == LABELS["liver"], 50, 0) + np.where(artery, 240, 0)
    return hu.astype(np.int16), labels.astype(np.uint8)


def write(path: Path, array: np.ndarray, geometry: Geometry = GEOMETRY, segments: dict[str, int] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = to_image(array, geometry)
    for n, (name, value) in enumerate((segments or {}).items()):
        for key, text in (("ID", f"s{n}"), ("Name", name), ("LabelValue", str(value)), ("Layer", "0")):
            image.SetMetaData(f"Segment{n}_{key}", text)
    sitk.WriteImage(image, str(path))


def write_source(folder: Path, count: int = 3, ending: str = ".nii.gz", segments: dict[str, int] | None = None) -> Path:
    for n in range(count):
        hu, labels = easy_organs(n)
        write(folder / "images" / f"p{n}.nii.gz", hu)
        write(folder / "labels" / f"p{n}{ending}", labels, segments=segments)
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    folder = tmp_path_factory.mktemp("organs")
    write_source(folder / "source", 6)
    (folder / "source" / "labels.json").write_text(json.dumps(LABELS))
    return prepare("folder", folder / "source", folder / "cohort", Preparation(folds=2))


def told(tmp_path: Path, source: Path) -> Cohort:
    """Prepared by the command line with the labels named there."""
    named = ",".join(f"{name}={value}" for name, value in LABELS.items())
    out = tmp_path / "out"
    assert main(["data", "prepare", "folder", str(source), "--output", str(out), "--organs", named, "--json"]) == 0
    return Cohort.open(out)


@pytest.mark.parametrize("way", ["labels.json", "--organs", ".seg.nrrd"])
def test_organs_are_found_in_files_of_several_labels(way, tmp_path):
    segments = {"Liver": 6, "Aorta": 8, "Pancreas": 11, "left kidney": 3} if way == ".seg.nrrd" else None
    source = write_source(tmp_path / "source", 3, way if segments else ".nii.gz", segments)
    if way == "labels.json":
        (source / way).write_text(json.dumps({str(value): name for name, value in LABELS.items()} | {"3": "spine"}))
    cohort = told(tmp_path, source) if way == "--organs" else prepare("folder", source, tmp_path / "out")
    assert cohort.organs == ORGANS
    assert "All cases have labels of artery, liver, pancreas." in cohort.remarks
    for n, case in enumerate(cohort.cases):
        labels = easy_organs(n)[1]
        np.testing.assert_array_equal(cohort.mask(case), labels == LABELS["pancreas"])
        assert case.organs is not None
        for place, name in enumerate(case.organs.names, start=1):
            value = LABELS["aorta" if name == "artery" else name]
            np.testing.assert_array_equal(cohort.organ_labels(case) == place, labels == value)
            assert case.organs.millilitres[place - 1] == pytest.approx((labels == value).sum() * 0.016)
    assert Cohort.open(cohort.folder).cases == cohort.cases


def test_names_of_labels_are_understood():
    assert [canonical(name) for name in ("Gall_Bladder", " portal vein", "LIVER", "duodenum")] == [
        "gallbladder", "vein", "liver", None,
    ]  # fmt: skip
    named = of_names(
        {"background": 0, "pancreas": 1, "pancreatic tumour": 2, "aorta": 3, "inferior_vena_cava": 4, "portal vein": 5}
    )
    assert named == {"pancreas": (1, 2), "artery": (3,), "vein": (4, 5)}
    assert of_names({"1": "liver", "2": "cancer"}) == {"liver": (1,)}
    assert parse("liver=6, aorta=8,arteries=9,bowel=Small bowel") == {
        "liver": (6,), "artery": (8, 9), "bowel": ("Small bowel",),
    }  # fmt: skip
    for wrong in ("liver", "liver=", "=3", "liver=0"):
        with pytest.raises(InputError, match="does not say which label"):
            parse(wrong)


def test_a_damaged_list_of_labels_is_named(tmp_path):
    source = write_source(tmp_path / "source", 1)
    for content in ("[", "[1]", '{"liver": "two"}'):
        (source / "labels.json").write_text(content)
        with pytest.raises(InputError, match="does not name label values"):
            prepare("folder", source, tmp_path / "out")


def test_an_index_of_the_decathlon_tells_organs_from_the_pancreas(tmp_path):
    source = write_source(tmp_path / "source", 2)
    rows = [{"image": f"images/p{n}.nii.gz", "label": f"labels/p{n}.nii.gz"} for n in range(2)]
    index = source / "dataset.json"
    index.write_text(json.dumps({"training": rows, "labels": {"background": 0, **LABELS}}))
    cohort = prepare("msd", source, tmp_path / "out")
    assert cohort.organs == ORGANS
    np.testing.assert_array_equal(cohort.mask(cohort.cases[0]), easy_organs(0)[1] == 11)
    index.write_text(json.dumps({"training": rows, "labels": {"1": "liver", "2": "cancer"}}))
    with pytest.raises(InputError, match="none is a pancreas"):
        prepare("msd", source, tmp_path / "out")


def test_one_case_without_labels_of_organs_is_told_and_the_pancreas_is_left(tmp_path):
    source = write_source(tmp_path / "source", 3)
    (source / "labels.json").write_text(json.dumps(LABELS))
    labels = easy_organs(1)[1]
    write(source / "labels" / "p1.nii.gz", np.where(labels == 11, labels, 0))
    cohort = prepare("folder", source, tmp_path / "out")
    assert cohort.organs == ()
    assert any(remark.startswith("2 of 3 cases have labels of organs") for remark in cohort.remarks)
    with pytest.raises(InputError, match="p1 has labels of the pancreas alone"):
        cohort.organ_labels(cohort.case("p1"))


def write_apart(tmp_path: Path) -> Path:
    """A source with the pancreas alone, and organs in files of their own."""
    source = tmp_path / "source"
    for n in range(2):
        hu, labels = easy_organs(n)
        write(source / "images" / f"p{n}.nii.gz", hu)
        write(source / "labels" / f"p{n}.nii.gz", (labels == 11).astype(np.uint8))
        write(source / "organ_labels" / f"p{n}.nii.gz", labels)
    (source / "organ_labels" / "labels.json").write_text(json.dumps(LABELS))
    return source


def test_organs_may_lie_in_files_of_their_own(tmp_path):
    cohort = prepare("folder", write_apart(tmp_path), tmp_path / "out")
    assert cohort.organs == ORGANS
    np.testing.assert_array_equal(cohort.organ_labels(cohort.cases[0]) == 1, easy_organs(0)[1] == LABELS["liver"])


@pytest.mark.parametrize(
    ("geometry", "turned", "code"),
    [
        (Geometry(GEOMETRY.size, GEOMETRY.spacing, (12.0, -30.0, 430.0)), False, "label-frame"),
        (Geometry((44, 40, 16), GEOMETRY.spacing, GEOMETRY.origin), False, "label-size"),
        (GEOMETRY, True, "organs-misplaced"),
    ],
)
def test_labels_of_organs_that_belong_elsewhere_are_named(geometry, turned, code, tmp_path):
    source = write_apart(tmp_path)
    labels = easy_organs(1)[1][: geometry.size[2]]
    if turned:
        labels = np.zeros_like(labels)
        labels[:, :4, :4] = LABELS["liver"]
    write(source / "organ_labels" / "p1.nii.gz", labels, geometry)
    with pytest.raises(InputError, match=r"1 of 2 cases cannot be used\. p1: Labels of organs: "):
        prepare("folder", source, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["left_out"][0]["code"] == code


def test_organs_change_nothing_for_a_cohort_of_the_pancreas_alone(tmp_path):
    """What was kept of a cohort stays valid when labels of organs come to it."""
    source = write_apart(tmp_path)
    (source / "organ_labels").rename(tmp_path / "aside")
    grid = CaseGrid((4.0, 4.0, 4.0))
    plain = prepare("folder", source, tmp_path / "out", Preparation(grids=(grid,)))
    assert "organs" not in plain.cases[0].as_dict()
    kept = {path: path.stat().st_mtime_ns for path in (plain.folder / "grids").rglob("*.npy")}
    assert prepare("folder", source, tmp_path / "out").cases == plain.cases
    (tmp_path / "aside").rename(source / "organ_labels")
    cohort = prepare("folder", source, tmp_path / "out")
    assert [case.fingerprint for case in cohort.cases] == [case.fingerprint for case in plain.cases]
    assert cohort.sample(cohort.cases[0], grid).organs is None
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert cohort.sample(cohort.cases[0], grid, organs=True).organs is not None
    assert cohort.fill([grid], organs=True) == 1


def test_labels_of_organs_that_changed_since_are_refused(tmp_path):
    source = write_apart(tmp_path)
    cohort = prepare("folder", source, tmp_path / "out")
    write(source / "organ_labels" / "p0.nii.gz", np.roll(easy_organs(0)[1], 2, axis=1))
    with pytest.raises(InputError, match="have changed since"):
        cohort.sample(cohort.cases[0], CaseGrid((4.0, 4.0, 4.0)), organs=True)


def test_a_coarse_voxel_gets_the_label_that_most_of_it_is():
    geometry = Geometry((9, 9, 9), (1.0, 1.0, 1.0))
    labels = np.zeros((9, 9, 9), dtype=np.uint8)
    labels[:, :, :4], labels[:, :, 7:] = 4, 9
    coarse = largest_share(labels, geometry, network_grid(geometry, Box.whole(geometry), spacing=(3, 3, 3)))
    assert coarse[1, 1].tolist() == [4, 0, 9]


def test_a_network_learns_all_organs_and_its_truth_sums_to_one(cohort, tmp_path):
    recipe = recipes.get("roth2017").with_settings(TINY).for_organs(cohort.organs)
    part = recipe.part("localizer")
    assert part.classes == ("background", *ORGANS)
    assert part.card()["classes"] == ["background", *ORGANS]
    assert part.card()["pancreas"] == part.pancreas == 3
    assert part.card()["arguments"]["classes"] == 4
    loop = PartLoop(part, cohort, cohort.cases, tmp_path, CPU)
    x, truth = loop.example(loop.cases[0], part.augmentation, np.random.default_rng(2))
    assert truth.shape == (1, 4, *x.shape[2:])
    torch.testing.assert_close(truth.sum(1), torch.ones_like(truth[:, 0]))
    near = PartLoop(recipe.part("segmenter"), cohort, cohort.cases, tmp_path, CPU)
    _, inside = near.example(near.cases[0], near.part.augmentation, np.random.default_rng(2))
    counted = inside.sum(1)
    assert bool((counted[inside[:, 1:].sum(1) > 0.5] > 0.99).all())
    # The classes lie where their HU are: the artery is the brightest of all.
    values = x[0, 0]
    means = [float((values * truth[0, c]).sum() / truth[0, c].sum()) for c in range(4)]
    assert max(range(4), key=means.__getitem__) == part.classes.index("artery")


def test_a_recipe_says_for_what_it_was_trained():
    roth = recipes.get("roth2017")
    assert roth.parts[0].organs == SEVEN
    assert roth.for_organs(SEVEN).notes[-1] == f"Trained for {', '.join(SEVEN)}."
    alone = roth.for_organs(())
    assert alone.parts[0].classes == ("background", "pancreas")
    assert alone.notes[-1].startswith(
        "Trained for the pancreas alone. Not all cases of the cohort have labels of artery,"
    )
    zhao = recipes.get("zhao2019")
    assert zhao.for_organs(SEVEN) is zhao
    with pytest.raises(InputError, match="must have the pancreas"):
        roth.with_settings({"*.organs": ["liver"]})
    assert roth.with_settings({"*.organs": []}).for_organs(SEVEN).parts[0].classes == ("background", "pancreas")


@pytest.mark.slow
def test_roths_networks_learn_several_organs_and_the_package_segments_them(cohort, tmp_path):
    told: list[str] = []
    progress = Progress(notify=lambda finding: told.append(finding.sentence))
    recipe = recipes.get("roth2017").with_settings(TINY)
    package = train(recipe, cohort, 1, tmp_path / "run", hardware=CPU, command="", progress=progress)
    assert any(sentence.startswith("Trained for artery, liver, pancreas.") for sentence in told)
    assert "Trained for artery, liver, pancreas." in package.card.description
    store = Store(tmp_path / "home")
    store.install(package.folder)
    pipeline = pipelines.create(Setup(model=package.card.name, device="cpu", precision="f32"), store)
    hu, truth = easy_organs(77)
    volume = Volume(hu, GEOMETRY)
    region = pipeline.localize(volume)
    assert region.foreground is not None
    assert region.coarse is not None
    assert region.foreground.sum() > 1.5 * region.coarse.sum()
    result = pipeline.segment(volume, region)
    assert dice(result.mask, (truth == LABELS["pancreas"]).astype(np.uint8)) > 0.4
    assert result.labels is not None
    # How well so short a training knows an organ depends on the processor; that it takes none for another does not.
    organs = {"pancreas": LABELS["pancreas"], "liver": LABELS["liver"], "artery": LABELS["aorta"]}
    for name in organs:
        found = (result.labels == package.card.networks[1].classes.index(name)).astype(np.uint8)
        likeness = {other: dice(found, (truth == value).astype(np.uint8)) for other, value in organs.items()}
        assert max(likeness, key=likeness.__getitem__) == name, likeness
        assert likeness[name] > 2 * sum(likeness.values()) / 3, likeness


def test_phantoms_bring_labels_of_seven_organs_and_keep_nihs_layout(tmp_path):
    phantoms.write_phantoms(tmp_path / "plain", (1,), spacing=(6, 6, 7), step=4.0)
    phantoms.write_phantoms(tmp_path / "organs", (1,), spacing=(6, 6, 7), step=4.0, organs=True)
    listed = [
        {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "plain", tmp_path / "organs")
    ]
    assert listed[1] - listed[0] == {"organ_labels/label0001.nii.gz", "organ_labels/labels.json"}
    assert listed[0] <= listed[1]
    cohort = prepare("nih", tmp_path / "organs", tmp_path / "out")
    assert cohort.organs == SEVEN
    phantom = make_phantom(phantoms.FIRST_SEED + 1, spacing=(6, 6, 7), step=4.0)
    names = {name: number for number, name in phantom.names.items()}
    labels = cohort.organ_labels(cohort.cases[0])
    np.testing.assert_array_equal(labels == SEVEN.index("liver") + 1, phantom.labels == names["liver"])
    np.testing.assert_array_equal(labels == 1, np.isin(phantom.labels, [names["aorta"], names["arteries"]]))
    assert prepare("nih", tmp_path / "plain", tmp_path / "out2").organs == ()
