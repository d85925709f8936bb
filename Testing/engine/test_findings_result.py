"""Each finding: when it is given, when not, and that it is a sentence to act on."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.results import Localization, Provenance, Segmentation
from pancreasseg.findings.blocks import Blocks
from pancreasseg.findings.faces import face_names, joined
from pancreasseg.findings.phase import Contrast, estimate_phase
from pancreasseg.findings.result import CtLook, review
from pancreasseg.io.read import read_mask, read_volume
from pancreasseg.models.card import ExpectedOverlap
from pancreasseg.phantom import make_phantom
from pancreasseg.runs.run import complete, segment

SPACING = (4.0, 4.0, 4.0)


def patient(shape=(40, 60, 70), spacing=SPACING, **changes):
    """A body of fat and enhanced tissue in air; 40 x 60 x 70 voxels of 4 mm."""
    array = np.full(shape, -1000, np.int16)
    k, j, i = shape
    array[:, j // 10 : -j // 10, i // 10 : -i // 10] = -100
    array[:, j // 5 : -j // 5, i // 5 : -i // 5] = 110
    return Volume(array, Geometry((i, j, k), spacing, **changes))


def organ(volume, start=(20, 25, 15), size=(20, 8, 6)):
    """A cuboid; 61 ml in 4 mm voxels."""
    mask = np.zeros(volume.geometry.shape, np.uint8)
    mask[Box(start, tuple(a + n for a, n in zip(start, size, strict=True))).slices] = 1
    return mask


def codes(findings):
    return [finding.code for finding in findings]


def only(findings, code):
    (finding,) = [f for f in findings if f.code == code]
    return finding


def test_an_ordinary_result_has_no_findings() -> None:
    volume = patient()
    box = Box((15, 20, 10), (45, 40, 25))
    assert review(organ(volume), volume, box=box, stage_dsc=0.85, phase="portal-venous") == ()


def test_an_empty_mask_is_no_pancreas_and_nothing_else() -> None:
    volume = patient()
    findings = review(np.zeros(volume.geometry.shape, np.uint8), volume, box=Box((0, 0, 0), (9, 9, 9)), stage_dsc=0.0)
    assert codes(findings) == ["no-pancreas"]
    assert findings[0].severity is Severity.SERIOUS


@pytest.mark.parametrize(("start", "word"), [((20, 25, 0), "lower"), ((20, 25, 34), "upper")])
def test_a_mask_in_the_last_slice_is_cut_off(start, word) -> None:
    volume = patient()
    finding = only(review(organ(volume, start), volume), "touches-volume-end")
    assert f"the {word} end of the scan" in finding.sentence
    assert finding.number == pytest.approx(20 * 8 * 16 / 100)


def test_one_slice_from_the_end_is_not_the_end() -> None:
    volume = patient()
    assert "touches-volume-end" not in codes(review(organ(volume, (20, 25, 1)), volume))


def test_ends_and_sides_are_the_patients_not_the_arrays() -> None:
    # i points to superior: its last plane is the upper end of the scan, the last slice along k the right side.
    volume = patient(direction=(0, 0, -1, 0, 1, 0, 1, 0, 0))
    findings = review(organ(volume, (50, 25, 15)), volume)
    assert "the upper end" in only(findings, "touches-volume-end").sentence
    findings = review(organ(volume, (20, 25, 34)), volume)
    assert "the right border" in only(findings, "touches-field-of-view").sentence
    assert "touches-volume-end" not in codes(findings)


def test_a_mask_at_the_image_border_leaves_the_field_of_view() -> None:
    volume = patient()
    finding = only(review(organ(volume, (50, 25, 15)), volume), "touches-field-of-view")
    assert "the left border" in finding.sentence


def test_a_mask_at_the_padding_of_a_round_field_of_view_leaves_it() -> None:
    volume = patient()
    volume.array[:, :, 40:] = -2048
    assert "round edge" in only(review(organ(volume), volume), "touches-field-of-view").sentence
    volume.array[:, :, 40:] = -1000  # bowel gas is no padding
    assert "touches-field-of-view" not in codes(review(organ(volume), volume))


def test_a_mask_at_a_face_of_the_box_may_be_cut_there() -> None:
    volume = patient()
    finding = only(review(organ(volume), volume, box=Box((15, 20, 15), (40, 40, 25))), "touches-roi-face")
    assert "the left and lower faces of the box" in finding.sentence
    assert finding.number == pytest.approx((8 * 6 + 20 * 8) * 16 / 100)


def test_a_face_of_the_box_on_the_volumes_border_is_not_told_twice() -> None:
    volume = patient()
    findings = review(organ(volume, (20, 25, 0)), volume, box=Box((15, 20, 0), (45, 40, 25)))
    assert codes(findings) == ["touches-volume-end"]


# The organ of `organ` fills 20 to 40 along i, 25 to 33 along j, 15 to 21 along k.
ROOMY = ((15, 20, 10), (45, 38, 26))


def with_gap(face, voxels):
    """A box with room on all sides but one, where ``voxels`` lie between the mask and its face."""
    start, stop = (list(end) for end in ROOMY)
    if face == "left":
        stop[0] = 40 + voxels
    elif face == "front":
        start[1] = 25 - voxels
    else:
        stop[2] = 21 + voxels
    return Box(tuple(start), tuple(stop))


@pytest.mark.parametrize("face", ["left", "front", "upper"])
@pytest.mark.parametrize(
    ("spacing", "voxels", "told"),
    [(1.0, 0, True), (1.0, 3, True), (1.0, 4, False), (3.0, 1, True), (3.0, 2, False), (4.0, 0, True), (4.0, 1, False)],
)
def test_a_mask_that_ends_up_to_3_mm_short_of_a_face_placed_by_hand_may_be_cut_there(
    face, spacing, voxels, told
) -> None:
    volume = patient(spacing=(spacing,) * 3)
    findings = review(organ(volume), volume, box=with_gap(face, voxels), by_hand=True)
    assert ("touches-roi-face" in codes(findings)) == told
    if told:
        sentence = only(findings, "touches-roi-face").sentence
        assert f"the {face} face of the box" in sentence
        assert ("or ends within 3 mm of" in sentence) == (voxels > 0)


def test_thick_slices_count_along_their_own_axis() -> None:
    volume = patient(spacing=(1.0, 1.0, 5.0))
    assert "touches-roi-face" in codes(review(organ(volume), volume, box=with_gap("left", 2), by_hand=True))
    assert "touches-roi-face" not in codes(review(organ(volume), volume, box=with_gap("upper", 1), by_hand=True))


def test_the_area_is_that_of_what_comes_near_and_every_face_is_named() -> None:
    volume = patient(spacing=(1.0, 1.0, 1.0))
    box = Box((20, 20, 10), (42, 38, 26))
    finding = only(review(organ(volume), volume, box=box, by_hand=True), "touches-roi-face")
    assert "touches or ends within 3 mm of the right and left faces" in finding.sentence
    assert finding.number == pytest.approx(2 * 8 * 6 / 100)


def test_a_proposed_box_is_told_of_only_when_the_mask_touches_it() -> None:
    volume = patient(spacing=(1.0, 1.0, 1.0))
    assert "touches-roi-face" not in codes(review(organ(volume), volume, box=with_gap("left", 1)))
    assert "touches-roi-face" in codes(review(organ(volume), volume, box=with_gap("left", 0)))


def test_a_box_at_the_margin_that_locate_leaves_is_no_false_alarm_when_a_person_keeps_it() -> None:
    volume = patient(spacing=(1.0, 1.0, 1.0))
    mask = organ(volume)
    box = Box.of_mask(mask).grow(10.0, volume.geometry)
    assert "touches-roi-face" not in codes(review(mask, volume, box=box, by_hand=True))


class MaskInABox:
    """A pipeline that finds the organ of `organ` wherever it is told to look."""

    localizing = segmenting = (("fine", 1.0),)
    models, stages = (), ()

    def segment(self, volume, region, progress):
        box = region if isinstance(region, Box) else region.box
        like = np.ones(box.shape, np.float32)
        how = Provenance("fixed", (), "cpu", "f32", box.bounds(), "0")
        return Segmentation(organ(volume), box, like, like, (), {}, how)


def test_a_run_knows_who_placed_the_box() -> None:
    volume = patient(spacing=(1.0, 1.0, 1.0))
    box = with_gap("left", 2)
    assert "touches-roi-face" in codes(segment(volume, MaskInABox(), box).findings)
    assert "touches-roi-face" not in codes(segment(volume, MaskInABox(), Localization(box, 1.0, (box,))).findings)


def test_a_mask_beyond_the_box_crosses_its_face() -> None:
    volume = patient()
    assert "touches-roi-face" in codes(review(organ(volume), volume, box=Box((15, 20, 10), (30, 40, 25))))


@pytest.mark.parametrize(
    ("size", "word"), [((20, 8, 6), None), ((6, 8, 6), "18.4 ml lies below"), ((25, 12, 10), "192.0 ml lies above")]
)
def test_volumes_outside_20_to_180_ml_are_unusual(size, word) -> None:
    volume = patient()
    findings = review(organ(volume, size=size), volume)
    if word is None:
        assert "volume-unusual" not in codes(findings)
    else:
        assert word in only(findings, "volume-unusual").sentence


def test_two_large_parts_are_told_and_crumbs_are_not() -> None:
    volume = patient()
    mask = organ(volume)
    mask[30, 30, 30] = 1  # 0.06 ml
    assert "several-components" not in codes(review(mask, volume))
    mask[30:34, 30:34, 30:34] = 1  # 4.1 ml
    finding = only(review(mask, volume), "several-components")
    assert finding.number == 2
    assert "4.1 ml" in finding.sentence


def test_a_large_part_that_was_removed_is_told() -> None:
    volume = patient()
    assert "several-components" not in codes(review(organ(volume), volume, second_largest=0.01))
    assert (
        "6.1 ml was left out" in only(review(organ(volume), volume, second_largest=0.1), "several-components").sentence
    )


@pytest.mark.parametrize(("hu", "fires"), [(-40, True), (-8, False), (110, False), (250, True)])
def test_a_mean_that_no_pancreas_has_is_implausible(hu, fires) -> None:
    volume = patient()
    mask = organ(volume)
    volume.array[mask > 0] = hu
    found = review(mask, volume)
    assert ("mean-hu-implausible" in codes(found)) == fires
    if fires:
        assert only(found, "mean-hu-implausible").number == hu


@pytest.mark.parametrize(("dsc", "fires"), [(None, False), (0.69, True), (0.7, False)])
def test_stages_disagree_below_a_dsc_of_point_seven(dsc, fires) -> None:
    volume = patient()
    assert ("stages-disagree" in codes(review(organ(volume), volume, stage_dsc=dsc))) == fires


@pytest.mark.parametrize(
    ("expected", "severity"), [(None, None), (0.7, None), (0.69, Severity.WARNING), (0.49, Severity.SERIOUS)]
)
def test_a_mask_that_the_model_itself_doubts_is_to_be_checked(expected, severity) -> None:
    volume = patient()
    findings = review(organ(volume), volume, expected=expected)
    assert [f.severity for f in findings if f.code == "expected-overlap"] == ([] if severity is None else [severity])
    if severity is not None:
        assert f"{expected:.2f}: check every slice" in only(findings, "expected-overlap").sentence


def test_a_mask_that_the_model_itself_doubts_is_said_by_a_run_and_in_the_statistics() -> None:
    class Unsure(MaskInABox):
        """Its card says: expect half of the confidence."""

        @property
        def models(self):
            line = ExpectedOverlap(offset=0.0, slope=0.5, error=0.1, cases=12)
            return (SimpleNamespace(card=SimpleNamespace(expected_overlap=line, contrast_phase="any", pipeline="own")),)

    class Own(Unsure):
        name = "own"

    class Vote(Unsure):
        name = "vote"

    class Together(Own):
        stages = (SimpleNamespace(packages=("one", "other")),)

    volume = patient(spacing=(1.0, 1.0, 1.0))
    result = segment(volume, Own(), with_gap("left", 8))
    assert segment(volume, Vote(), with_gap("left", 8)).expected_overlap is None, "drawn for the card's own pipeline"
    assert segment(volume, Together(), with_gap("left", 8)).expected_overlap is None, "and for its own network"
    assert 0 < result.expected_overlap <= 0.5
    assert "expected-overlap" in codes(result.findings)
    row = next(entry for entry in complete(volume, result).measurements if entry.name == "expected_overlap")
    assert row.value == result.expected_overlap


def test_a_moved_box_is_reviewed_with_the_look_at_the_ct_that_was_taken_before(monkeypatch) -> None:
    looked = []
    at = CtLook.at
    monkeypatch.setattr(CtLook, "at", lambda volume: looked.append(volume) or at(volume))
    volume, box = patient(spacing=(4.0, 4.0, 2.0)), with_gap("left", 8)
    volume = replace(volume, source={"modality": "MR"})
    for _ in range(2):
        assert "not-ct" in codes(segment(volume, MaskInABox(), box).findings)
    assert len(looked) == 1
    assert "not-ct" not in codes(segment(replace(volume, source={}), MaskInABox(), box).findings)
    assert len(looked) == 2, "another CT is looked at anew"


def test_another_modality_is_no_ct() -> None:
    volume = patient()
    findings = review(organ(volume), replace(volume, source={"modality": "MR"}))
    assert "The volume is MR" in only(findings, "not-ct").sentence
    assert "not-ct" not in codes(review(organ(volume), replace(volume, source={"modality": "CT"})))


def test_values_without_air_and_fat_are_not_hu_and_have_no_phase() -> None:
    volume = patient()
    shifted = Volume((volume.array + 1024).astype(np.int16), volume.geometry)
    findings = review(organ(volume), shifted, phase="unenhanced")
    assert "not-hu" in codes(findings)
    assert not any(code.startswith("looks-") for code in codes(findings))


def test_thick_slices_are_told_above_5_mm() -> None:
    for thickness, fires in ((5.0, False), (5.5, True)):
        volume = patient(spacing=(4.0, 4.0, thickness))
        assert ("spacing-above-5-mm" in codes(review(organ(volume), volume))) == fires


def test_a_body_that_leaves_the_image_is_told_in_whatever_orientation() -> None:
    assert "body-cut-off" not in codes(review(organ(patient()), patient()))
    # i points to superior: the body, which fills k from end to end, now leaves the image at both sides.
    turned = patient(direction=(0, 0, -1, 0, 1, 0, 1, 0, 0))
    assert only(review(organ(turned), turned), "body-cut-off").number == 1
    volume = patient()
    volume.array[:20, :, -8:] = volume.array[:20, :, -16:-8]
    finding = only(review(organ(volume), volume), "body-cut-off")
    assert finding.number == pytest.approx(0.5, abs=0.03)
    assert finding.severity is Severity.INFO


def test_a_body_cut_by_the_padding_of_a_round_field_of_view_is_told() -> None:
    volume = patient()
    volume.array[:, :, 55:] = -2000
    assert only(review(organ(volume), volume), "body-cut-off").number == 1


def test_what_is_known_already_is_not_said_again() -> None:
    volume = patient(spacing=(4.0, 4.0, 6.0))
    known = [Finding("spacing-above-5-mm", Severity.WARNING, "The slices are thick.", 6.0)]
    assert "spacing-above-5-mm" in codes(review(organ(volume), volume))
    assert "spacing-above-5-mm" not in codes(review(organ(volume), volume, known=known))


def test_serious_findings_come_first() -> None:
    volume = patient()
    findings = review(organ(volume, (20, 25, 0), (3, 3, 3)), volume)
    assert codes(findings) == ["touches-volume-end", "volume-unusual"]


def test_every_finding_is_whole_sentences_with_what_to_do() -> None:
    volume = patient(spacing=(4.0, 4.0, 6.0))
    mask = organ(volume, (50, 25, 0), (20, 8, 34))
    mask[36:, 5:15, 5:15] = 1
    volume.array[mask > 0] = 300
    volume.array[volume.array < 0] = -2000
    findings = review(mask, volume, box=Box((10, 10, 0), (69, 40, 39)), stage_dsc=0.1)
    assert len(findings) >= 7
    for finding in findings:
        assert finding.sentence[0].isupper()
        assert finding.sentence.endswith(".")
        assert finding.number is not None
        assert finding.as_dict()["code"] == finding.code


def labelled(spleen, liver):
    volume = patient()
    labels = np.zeros(volume.geometry.shape, np.uint8)
    labels[10:25, 20:30, 15:25] = 1
    labels[10:25, 20:30, 40:50] = 2
    volume.array[labels == 1] = spleen
    volume.array[labels == 2] = liver
    return volume, {"labels": labels, "classes": ("background", "spleen", "liver")}


@pytest.mark.parametrize(
    ("spleen", "liver", "phase", "code"),
    [
        (48, 55, "portal-venous", "looks-unenhanced"),
        (130, 60, "portal-venous", "looks-arterial"),
        (115, 105, "portal-venous", None),
        (110, 75, "portal-venous", None),  # fatty liver
        (48, 55, "any", None),
        (48, 55, "unenhanced", None),
        (115, 105, "unenhanced", "looks-enhanced"),
        (130, 60, "arterial", None),
        (48, 55, "arterial", "looks-unenhanced"),
    ],
)
def test_spleen_and_liver_tell_the_phase_where_they_are_known(spleen, liver, phase, code) -> None:
    volume, known = labelled(spleen, liver)
    found = [c for c in codes(review(organ(volume), volume, phase=phase, **known)) if c.startswith("looks-")]
    assert found == ([code] if code else [])


def test_a_spleen_of_a_few_voxels_tells_nothing() -> None:
    volume, known = labelled(48, 55)
    known["labels"][known["labels"] == 1] = 0
    known["labels"][10, 20, 15:25] = 1
    assert review(organ(volume), volume, phase="portal-venous", **known) == ()


# HU of each organ where it differs from the portal-venous phantom
UNENHANCED = {
    "aorta": 40, "arteries": 40, "heart": 40, "inferior vena cava": 40, "portal and splenic vein": 40, "liver": 55,
    "spleen": 45, "pancreas": 35, "left kidney": 32, "right kidney": 32, "adrenal glands": 30,
}  # fmt: skip
ARTERIAL = {"aorta": 320, "arteries": 300, "liver": 62, "portal and splenic vein": 70, "inferior vena cava": 50}


def in_phase(phantom, organs):
    array = phantom.volume.array.copy()
    for label, name in phantom.names.items():
        inside = phantom.labels == label
        if name in organs and inside.any():
            array[inside] += np.int16(organs[name] - np.median(array[inside]))
    return Volume(array, phantom.volume.geometry)


@pytest.fixture(scope="module", params=[1, 4])
def phantom(request):
    return make_phantom(request.param, spacing=(3.0, 3.0, 5.0), step=3.0)


@pytest.mark.parametrize(("organs", "name"), [({}, "enhanced"), (UNENHANCED, "unenhanced"), (ARTERIAL, "arterial")])
def test_the_body_tells_the_phase_of_a_phantom_without_labels(phantom, organs, name) -> None:
    volume = in_phase(phantom, organs)
    looks = estimate_phase(volume.array, Contrast.of(Blocks.of(volume)))
    assert looks is not None
    assert looks.name == name


@pytest.mark.parametrize("seed", [700, 704])  # in 704 the duodenum is a straight tube 44 mm off the middle
def test_oral_contrast_is_not_taken_for_an_aorta(seed) -> None:
    phantom = make_phantom(seed, spacing=(3.0, 3.0, 4.0), step=3.0)
    volume = in_phase(phantom, dict.fromkeys(("stomach", "duodenum", "small bowel", "colon"), 320))
    looks = estimate_phase(volume.array, Contrast.of(Blocks.of(volume)))
    assert looks is not None
    assert looks.name == "enhanced"


def test_a_phantoms_own_pancreas_has_nothing_serious(phantom) -> None:
    findings = review(phantom.pancreas, phantom.volume, phase="portal-venous")
    assert not [f for f in findings if f.severity is Severity.SERIOUS]


def test_air_alone_has_no_phase() -> None:
    volume = Volume(np.full((20, 30, 30), -1000, np.int16), Geometry((30, 30, 20), SPACING))
    assert estimate_phase(volume.array, Contrast.of(Blocks.of(volume))) is None


@pytest.mark.real_data
def test_a_real_portal_venous_scan_suits_a_portal_venous_model(real_data) -> None:
    folder = real_data / "data" / "ircadb17"
    volume = read_volume(folder / "ct.nii.gz")
    mask = read_mask(folder / "obelisk_reference.nii.gz", volume.geometry, label=2)
    assert not [c for c in codes(review(mask, volume, phase="portal-venous")) if c != "body-cut-off"]


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["example_ct.nii.gz", "example_ct_sm.nii.gz"])
def test_a_real_unenhanced_scan_does_not(real_data, name) -> None:
    volume = read_volume(real_data / "data" / "totalseg-example" / name)
    empty = np.zeros(volume.geometry.shape, np.uint8)
    finding = only(review(empty, volume, phase="portal-venous"), "looks-unenhanced")
    assert "brighter than 85 HU" in finding.sentence
    assert "looks-unenhanced" not in codes(review(empty, volume, phase="any"))


def test_faces_have_the_patients_names() -> None:
    assert face_names(Geometry((9, 9, 9)))[0, 1] == "left"
    flipped = face_names(Geometry((9, 9, 9), direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1)))
    assert (flipped[0, 1], flipped[1, 0], flipped[2, 0]) == ("right", "back", "lower")
    assert joined(["left"]) == "left"
    assert joined(["left", "front", "upper"]) == "left, front and upper"
