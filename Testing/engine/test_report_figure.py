"""The page about a result: orientation, what it shows and what it must not show."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageColor

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.results import Provenance, Segmentation
from pancreasseg.measure import compare, measure
from pancreasseg.report import style
from pancreasseg.report.figure import write_report
from pancreasseg.report.planes import Scene, Upright, draw_plane

SHAPE = (24, 40, 48)  # superior, posterior, left
SPACING = (1.5, 2.0, 4.0)  # left, posterior, superior


@pytest.fixture
def ct():
    """A body in air with one bright spot at its upper front left."""
    array = np.full(SHAPE, -1000, np.int16)
    array[:, 5:-5, 5:-5] = np.random.default_rng(1).normal(60, 20, (24, 30, 38)).astype(np.int16)
    array[17:22, 7:12, 36:42] = 1000
    return Volume(array, Geometry((48, 40, 24), SPACING))


@pytest.fixture
def pancreas():
    mask = np.zeros(SHAPE, np.uint8)
    mask[8:14, 14:20, 12:32] = 1
    mask[4:12, 14:22, 10:17] = 1
    return mask


def segmentation_of(mask, box=None, findings=()):
    box = box or Box((5, 8, 2), (40, 30, 20))
    provenance = Provenance(
        "two-stage", ({"name": "m", "version": "1", "sha256": "0"},), "cpu", "f32", box.bounds(), "0"
    )
    empty = np.zeros(box.shape, np.float32)
    return Segmentation(mask, box, empty, empty + 1, tuple(findings), {}, provenance)


def page(path, volume, segmentation, **options):
    measurements = measure(segmentation.mask, volume)
    if options.get("reference") is not None:
        measurements += compare(segmentation.mask, options["reference"], volume.geometry)
    write_report(path, volume, segmentation, measurements, **options)
    return np.asarray(Image.open(path).convert("RGB"))


def pixels(image, color):
    return int(np.count_nonzero(np.abs(image - np.array(ImageColor.getrgb(color))).max(axis=-1) < 5))


# The stored axis for each of S, P, L and whether it is stored backwards.
STORED = [((0, 1, 2), (1, 1, 1)), ((0, 1, 2), (-1, -1, -1)), ((2, 0, 1), (1, -1, 1)), ((1, 2, 0), (-1, 1, -1))]


def stored(arrays, order, signs, box):
    """The same patient in an array with other axes: array axis n runs along ``order[n]`` of S, P, L."""
    steps = np.array(SPACING)[::-1]
    turned = [np.ascontiguousarray(np.transpose(a, order)[tuple(slice(None, None, s) for s in signs)]) for a in arrays]
    axes, origin = np.zeros((3, 3)), np.zeros(3)
    bounds = []
    for index, array_axis in enumerate((2, 1, 0)):  # i, j, k
        spl = order[array_axis]
        lps, sign, n = 2 - spl, signs[array_axis], SHAPE[spl]
        axes[lps, index] = sign
        origin[lps] = 0 if sign > 0 else (n - 1) * steps[spl]
        start, stop = box.start[2 - spl], box.stop[2 - spl]
        bounds += [start, stop] if sign > 0 else [n - stop, n - start]
    size = turned[0].shape[::-1]
    spacing = tuple(float(steps[order[a]]) for a in (2, 1, 0))
    geometry = Geometry(size, spacing, tuple(origin), tuple(axes.ravel()))
    return turned, geometry, Box.from_bounds(bounds)


@pytest.mark.parametrize(("order", "signs"), STORED)
def test_arrays_and_boxes_turn_to_superior_posterior_left(ct, pancreas, order, signs) -> None:
    box = Box((5, 8, 2), (40, 30, 20))
    (array, mask), geometry, turned = stored((ct.array, pancreas), order, signs, box)
    upright = Upright(geometry)
    np.testing.assert_array_equal(upright.array(array), ct.array)
    np.testing.assert_array_equal(upright.array(mask), pancreas)
    assert upright.spacing == SPACING[::-1]
    np.testing.assert_array_equal(upright.box(turned), [box.start[::-1], box.stop[::-1]])
    # The world place of the bright spot says that the stored volume is the same patient.
    k, j, i = np.argwhere(array == 1000).mean(axis=0)
    np.testing.assert_allclose(geometry.to_world((i, j, k)), (38.5 * 1.5, 9 * 2.0, 19 * 4.0))


def test_an_oblique_volume_is_shown_in_its_own_nearest_planes() -> None:
    c, s = np.cos(0.4), np.sin(0.4)
    upright = Upright(Geometry((3, 4, 5), (1.0, 2.0, 3.0), direction=(c, 0, s, 0, -1, 0, -s, 0, c)))
    array = np.arange(60).reshape(5, 4, 3)
    np.testing.assert_array_equal(upright.array(array), array[:, ::-1])


def shown(array, point, number, view=None):
    """The grey values of a plane (240, 240), black where something is written on it."""
    mask, box = np.zeros(array.shape, np.uint8), np.zeros((2, 3), int)
    scenes = [Scene(a, mask, None, SPACING[::-1], box, point) for a in (array, np.full_like(array, -1000))]
    image, letters = (np.asarray(draw_plane(scene, number, 240, view).image)[..., 0] for scene in scenes)
    return np.where(letters > 0, 0, image)


# Where the spot at the upper front left has to be: (row, column) halves of the picture, 0 is top or left.
@pytest.mark.parametrize(("number", "half"), [(0, (0, 1)), (1, (0, 1)), (2, (0, 0))])
def test_planes_have_the_sides_that_radiologists_expect(ct, number, half) -> None:
    bright = shown(np.where(ct.array == 1000, 1000, -1000), (19, 9, 38), number) > 128
    rows, columns = np.nonzero(bright)
    assert rows.size > 20
    assert (int(rows.mean() > 120), int(columns.mean() > 120)) == half


def test_planes_keep_the_proportions_of_the_body(ct) -> None:
    bright = shown(ct.array, (2, 30, 8), 1) > 64
    width, height = (np.ptp(np.nonzero(bright.any(axis=a))[0]) for a in (0, 1))
    assert height / width == pytest.approx(24 * 4.0 / (38 * 1.5), rel=0.05)


@pytest.mark.parametrize("number", range(3))
def test_the_outline_lies_where_the_voxels_are_shown(number) -> None:
    """Also in a view that begins within voxels: a bright block and its outline end together."""
    block = np.zeros(SHAPE, np.uint8)
    block[6:18, 10:30, 12:36] = 1
    array = np.where(block > 0, 1000, -1000)
    start = np.array([1.3, 4.6, -3.2])
    view = np.stack([start, start + 72.6 / np.array(SPACING[::-1])])
    scene = Scene(array, block, None, SPACING[::-1], np.zeros((2, 3), int), (10, 20, 20))
    image = np.asarray(draw_plane(scene, number, 240, view).image).astype(int)
    line = np.abs(image - ImageColor.getrgb(style.ORGAN)).max(axis=-1) < 5
    bright = shown(array, (10, 20, 20), number, view) > 128
    for axis in (0, 1):
        ends = [np.flatnonzero(part.any(axis=axis))[[0, -1]] for part in (bright, line)]
        assert np.abs(ends[0] - ends[1]).max() <= 2


def test_the_same_patient_makes_the_same_page_however_it_is_stored(ct, pancreas, tmp_path) -> None:
    box = Box((5, 8, 2), (40, 30, 20))
    plain = page(tmp_path / "a.png", ct, segmentation_of(pancreas))
    order, signs = STORED[2]
    (array, mask), geometry, turned = stored((ct.array, pancreas), order, signs, box)
    other = page(tmp_path / "b.png", Volume(array, geometry), segmentation_of(mask, turned))
    # The planes are equal; the heading states the stored grid, and the surface's mesh and a few numbers follow it.
    height, width, _ = plain.shape
    planes = np.s_[int(0.08 * height) : int(0.83 * height), : int(0.73 * width)]
    difference = np.abs(plain.astype(int) - other)
    assert difference[planes].max() < 3
    assert difference.mean() < 1.3


def test_nothing_from_the_source_or_file_name_reaches_the_page(ct, pancreas, tmp_path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "Doe_Jane_1970.png"
    page(first, ct, segmentation_of(pancreas))
    named = Volume(ct.array, ct.geometry, source={"format": "DICOM", "patient": "Doe^Jane", "path": "/Doe"})
    page(second, named, segmentation_of(pancreas))
    assert first.read_bytes() == second.read_bytes()
    assert b"Doe" not in second.read_bytes()


def test_mask_box_and_reference_are_drawn_in_their_colours(ct, pancreas, tmp_path) -> None:
    alone = page(tmp_path / "a.png", ct, segmentation_of(pancreas))
    assert pixels(alone, style.ORGAN) > 200
    assert pixels(alone, style.BOX) > 100
    assert pixels(alone, style.REFERENCE) == 0
    both = page(tmp_path / "b.png", ct, segmentation_of(pancreas), reference=np.roll(pancreas, 3, axis=2))
    assert pixels(both, style.REFERENCE) > 200


def test_an_empty_mask_makes_a_page_too(ct, pancreas, tmp_path) -> None:
    finding = Finding("no-pancreas", Severity.SERIOUS, "No pancreas was found.", 0.0)
    image = page(tmp_path / "a.png", ct, segmentation_of(pancreas * 0, findings=[finding]), reference=pancreas)
    assert pixels(image, style.SEVERITY[Severity.SERIOUS]) > 20
    assert pixels(image, style.BOX) > 100


def test_findings_carry_the_colour_of_their_severity(ct, pancreas, tmp_path) -> None:
    findings = [Finding(s.value, s, f"This is {s.value}. " + 6 * "More words follow here. ") for s in Severity]
    image = page(tmp_path / "a.png", ct, segmentation_of(pancreas), findings=findings)
    assert all(pixels(image, style.SEVERITY[s]) > 20 for s in Severity)
    assert pixels(page(tmp_path / "b.png", ct, segmentation_of(pancreas)), style.GOOD) > 20


def test_strange_titles_and_many_findings_fit_without_warnings(ct, pancreas, tmp_path) -> None:
    many = [Finding(str(n), Severity.WARNING, f"Finding {n} costs $5 and $x_{n}. " * 8, n) for n in range(12)]
    image = page(tmp_path / "a.png", ct, segmentation_of(pancreas), findings=many, title="胰腺 $\\alpha$ é")
    assert image.shape[0] > 500


def test_one_voxel_in_a_corner_is_no_obstacle(ct, pancreas, tmp_path) -> None:
    mask = pancreas * 0
    mask[-1, -1, -1] = 1
    page(tmp_path / "a.png", ct, segmentation_of(mask, Box((47, 39, 23), (48, 40, 24))))
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_a_page_is_written_also_where_the_usual_letters_are_not(ct, pancreas, tmp_path, monkeypatch) -> None:
    def only_what_pillow_holds(file, *arguments, **options):
        if isinstance(file, str):
            raise OSError("cannot open resource")
        return truetype(file, *arguments, **options)

    truetype = style.ImageFont.truetype
    style.font.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(style.ImageFont, "truetype", only_what_pillow_holds)
        image = page(tmp_path / "a.png", ct, segmentation_of(pancreas))
    style.font.cache_clear()
    assert pixels(image[:82], style.TEXT) > 50


def test_the_report_leaves_plotting_libraries_and_torch_alone() -> None:
    code = "import sys, pancreasseg.report.figure; print({'matplotlib', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
