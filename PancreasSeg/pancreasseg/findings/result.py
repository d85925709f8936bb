"""What is remarkable about a result: sentences for the radiologist, each with the number behind it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from pancreasseg.core import Box, Geometry, Volume
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.findings.blocks import Blocks
from pancreasseg.findings.faces import faces_touched, joined
from pancreasseg.findings.orientation import wrong_way_round
from pancreasseg.findings.phase import ARTERIAL, ENHANCED, UNENHANCED, Contrast, estimate_phase
from pancreasseg.grids.spacing import coarse_spacing

VOLUME_ML = (20.0, 180.0)
MEAN_HU = (-30.0, 180.0)  # a fatty pancreas on an unenhanced scan lies a little below 0; fat itself near -100
STAGES_AGREE_DSC = 0.7
#: An expected overlap (DSC) below the first is a warning, below the second serious.
EXPECTED_DSC = (0.7, 0.5)
LARGE_COMPONENT_ML = 1.0
LARGE_COMPONENT_SHARE = 0.05
NEAR_FACE_MM = 3.0
_CUT_OFF_MM = 30.0
_CUT_OFF_SHARE = 0.1
_NO_NEGATIVE_HU = -20.0
_PADDING_HU = -1100

# Phases that a model made for another phase should not be given.
_MISFITS = {
    "portal-venous": (UNENHANCED, ARTERIAL),
    "arterial": (UNENHANCED,),
    "unenhanced": (ARTERIAL, ENHANCED),
}


@dataclass(frozen=True)
class CtLook:
    """What is to be said of a CT whatever was segmented in it.

    Attributes:
        blocks: of the CT.
        findings: about it.
    """

    blocks: Blocks
    findings: tuple[Finding, ...]

    @classmethod
    def at(cls, volume: Volume) -> CtLook:
        """Look at a CT."""
        blocks = Blocks.of(volume)
        return cls(blocks, (*_of_volume(volume, blocks), *wrong_way_round(volume, blocks)))

    @cached_property
    def contrast(self) -> Contrast:
        """What the body shows of a contrast agent; only models that are made for one phase ask for it."""
        return Contrast.of(self.blocks)


def no_pancreas(score: float) -> Finding:
    """Nothing was found, with what spoke for a pancreas most (0 to 1)."""
    sentence = "No pancreas was found in this volume; drag the box over the pancreas and segment again."
    return Finding("no-pancreas", Severity.SERIOUS, sentence, score)


def review(
    mask: np.ndarray,
    volume: Volume,
    *,
    look: CtLook | None = None,
    box: Box | None = None,
    by_hand: bool = False,
    stage_dsc: float | None = None,
    expected: float | None = None,
    second_largest: float = 0.0,
    labels: np.ndarray | None = None,
    classes: Sequence[str] = (),
    phase: str = "any",
    known: Collection[Finding] = (),
) -> tuple[Finding, ...]:
    """Look at a result, and at the CT it was made on.

    Everything but the mask and the CT is optional, so a mask that a person edited is reviewed by the same call.

    Args:
        mask: (K, J, I) on the volume's grid, non-zero is the pancreas.
        volume: the CT.
        look: at the same CT, where there was one already.
        box: the region that was segmented, after any growth.
        by_hand: a person has placed the box. Then a mask that ends up to 3 mm short of a face is told too: networks
            often stop a voxel or two before the end of what they see. Proposed boxes have grown where need be.
        stage_dsc: DSC between the coarse mask and the result (`pancreasseg.measure.dice`), where there are two stages.
        expected: DSC that the model expects of this mask (`Segmentation.expected_overlap`).
        second_largest: voxels of the largest component that post-processing removed, as a part of the one it kept.
        labels: (K, J, I) label map of a multi-organ model.
        classes: its class names, background first.
        phase: what the model is made for: "portal-venous", "arterial", "unenhanced" or "any" (`Card.contrast_phase`).
        known: findings from reading, localizing and segmenting; their codes are not given again.

    Returns:
        New findings, the serious ones first. Codes: no-pancreas, touches-volume-end, touches-field-of-view,
        touches-roi-face, volume-unusual, several-components, mean-hu-implausible, stages-disagree, expected-overlap,
        looks-unenhanced, looks-arterial, looks-enhanced, not-ct, not-hu, spacing-above-5-mm, body-cut-off,
        patient-upside-down, patient-mirrored, patient-back-to-front.
    """
    look = look or CtLook.at(volume)
    found = list(look.findings)
    organ = Box.of_mask(mask)
    if organ is None:
        found.append(no_pancreas(0.0))
    else:
        inside = mask[organ.slices] != 0
        found += _of_place(inside, organ, volume, box, NEAR_FACE_MM if by_hand else 0.0)
        found += _of_organ(inside, volume.array[organ.slices], volume.geometry, second_largest)
        if stage_dsc is not None and stage_dsc < STAGES_AGREE_DSC:
            sentence = (
                f"The first look and the result overlap poorly (DSC {stage_dsc:.2f}, usually above "
                f"{STAGES_AGREE_DSC}). Look at every slice before using the mask."
            )
            found.append(Finding("stages-disagree", Severity.WARNING, sentence, stage_dsc))
        found += _of_expectation(expected)
    if not any(finding.code in ("not-ct", "not-hu") for finding in (*found, *known)):
        found += _of_phase(volume, look, mask, labels, classes, phase)
    codes = {finding.code for finding in known}
    order = list(Severity)
    new = [finding for finding in found if finding.code not in codes]
    return tuple(sorted(new, key=lambda finding: -order.index(finding.severity)))


def review_ct(volume: Volume, known: Collection[Finding] = ()) -> tuple[Finding, ...]:
    """Look at a CT alone; codes as for `review`, of which those among ``known`` are not given again."""
    codes = {finding.code for finding in known}
    return tuple(finding for finding in CtLook.at(volume).findings if finding.code not in codes)


def review_given(mask: np.ndarray, volume: Volume) -> tuple[Finding, ...]:
    """Whether a mask that came with the CT lies on what may be the pancreas; nothing is said of its shape.

    Codes: mask-empty, mean-hu-implausible.

    Args:
        mask: (K, J, I) on the volume's grid, non-zero is the pancreas.
        volume: the CT.
    """
    inside = volume.array[mask != 0]
    if not inside.size:
        sentence = "The mask is empty: no voxel of it lies in the CT. Check the file, and which label is meant."
        return (Finding("mask-empty", Severity.WARNING, sentence),)
    return tuple(_of_mean(inside, "check that it belongs to this CT"))


def _of_expectation(expected: float | None) -> Iterator[Finding]:
    """A mask that the model itself is in doubt about; of islands far from the organ it knows nothing."""
    if expected is not None and expected < EXPECTED_DSC[0]:
        severity = Severity.SERIOUS if expected < EXPECTED_DSC[1] else Severity.WARNING
        sentence = f"Expected overlap with a person's outline {expected:.2f}: check every slice."
        yield Finding("expected-overlap", severity, sentence, round(expected, 3))


def _of_volume(volume: Volume, blocks: Blocks) -> Iterator[Finding]:
    modality = volume.source.get("modality", "CT")
    if modality != "CT":
        sentence = f"The volume is {modality}, not CT; the result means nothing. Give the patient's CT."
        yield Finding("not-ct", Severity.SERIOUS, sentence)
    lowest = float(blocks.array.min())
    if lowest > _NO_NEGATIVE_HU:
        sentence = (
            f"No region is below {lowest:.0f}, but fat and air in a CT are: the values are not HU, or this is an MR. "
            "Give the original CT in HU."
        )
        yield Finding("not-hu", Severity.SERIOUS, sentence, lowest)
    coarse = coarse_spacing(volume.geometry)
    if coarse is not None:
        yield coarse
    share = blocks.cut_off(_CUT_OFF_MM)
    if share >= _CUT_OFF_SHARE:
        sentence = (
            f"The body is cut off at the edge of the image on {100 * share:.0f} % of the slices. Use a reconstruction "
            "with the whole body if there is one; else check that the box lies over the pancreas."
        )
        yield Finding("body-cut-off", Severity.INFO, sentence, share)


def _of_place(inside: np.ndarray, organ: Box, volume: Volume, box: Box | None, near_mm: float) -> Iterator[Finding]:
    geometry = volume.geometry
    at_border = faces_touched(inside, organ, Box.whole(geometry), geometry)
    ends = {name: area for name, area in at_border.items() if name in ("upper", "lower")}
    sides = {name: area for name, area in at_border.items() if name not in ends}
    if ends:
        area = sum(ends.values()) / 100
        sentence = (
            f"The mask reaches the {joined(ends)} end of the scan with {area:.1f} cm² in the last slice: part of the "
            "pancreas is probably missing. Use a series that covers more; read the volume as a lower bound."
        )
        yield Finding("touches-volume-end", Severity.SERIOUS, sentence, area)
    padding = 0.0 if sides else _padding_area(inside, organ, volume)
    if sides or padding:
        area = (sum(sides.values()) or padding) / 100
        where = f"{joined(sides)} border" if sides else "round edge"
        sentence = (
            f"The mask reaches the {where} of the field of view ({area:.1f} cm²): part of the pancreas may be outside "
            "the image. Use a reconstruction with a larger field of view."
        )
        yield Finding("touches-field-of-view", Severity.SERIOUS, sentence, area)
    if box is None:
        return
    touched, near = (
        {name: area for name, area in faces_touched(inside, organ, box, geometry, mm).items() if name not in at_border}
        for mm in (0.0, near_mm)
    )
    if near:
        area = sum(near.values()) / 100
        reaches = "touches" if touched.keys() == near.keys() else f"touches or ends within {near_mm:.0f} mm of"
        faces = f"{joined(near)} face{'s' if len(near) > 1 else ''} of the box"
        sentence = (
            f"The mask {reaches} the {faces} ({area:.1f} cm²) and may be cut off there. "
            f"Move {'that face' if len(near) == 1 else 'those faces'} outwards and segment again."
        )
        yield Finding("touches-roi-face", Severity.WARNING, sentence, area)


def _padding_area(inside: np.ndarray, organ: Box, volume: Volume) -> float:
    """Area in mm² where the mask meets what the scanner padded around a round field of view."""
    near = organ.pad((1, 1, 1), (1, 1, 1)).clip(volume.geometry)
    padded = volume.array[near.slices] < _PADDING_HU
    if not padded.any():
        return 0.0
    mask = np.zeros(near.shape, dtype=bool)
    mask[organ.relative_to(near).slices] = inside
    i, j, k = volume.geometry.spacing
    touching = np.count_nonzero(mask & ndimage.binary_dilation(padded))
    return float(touching * (i * j * k) ** (2 / 3))


def _of_organ(inside: np.ndarray, hu: np.ndarray, geometry: Geometry, second_largest: float) -> Iterator[Finding]:
    count = int(np.count_nonzero(inside))
    ml = count * geometry.voxel_ml
    low, high = VOLUME_ML
    if not low <= ml <= high:
        sentence = (
            f"The volume of {ml:.1f} ml lies {'below' if ml < low else 'above'} the usual {low:.0f}-{high:.0f} ml. "
            "Check the mask's outline on every slice."
        )
        yield Finding("volume-unusual", Severity.WARNING, sentence, ml)
    pieces, number = ndimage.label(inside, np.ones((3, 3, 3), dtype=bool))
    sizes = np.sort(np.bincount(pieces.ravel())[1:])[::-1]
    second = float(sizes[1]) if number > 1 else 0.0
    if _large(second, sizes[0], geometry):
        large = sum(_large(float(size), sizes[0], geometry) for size in sizes)
        sentence = (
            f"The mask has {large} large separate parts; the second has {second * geometry.voxel_ml:.1f} ml. "
            "Join them or erase what is not pancreas."
        )
        yield Finding("several-components", Severity.WARNING, sentence, float(large))
    elif _large(second_largest * float(sizes[0]), sizes[0], geometry):
        removed = second_largest * float(sizes[0]) * geometry.voxel_ml
        sentence = (
            f"A separate part of {removed:.1f} ml was left out as not connected to the pancreas. "
            "Check that head and tail are complete."
        )
        yield Finding("several-components", Severity.WARNING, sentence, 2.0)
    yield from _of_mean(hu[inside], "move the box and segment again")


def _of_mean(inside: np.ndarray, advice: str) -> Iterator[Finding]:
    mean = float(inside.mean(dtype=float))
    low, high = MEAN_HU
    if not low <= mean <= high:
        sentence = (
            f"The mean of {mean:.0f} HU inside the mask is not that of a pancreas ({low:.0f} to {high:.0f} HU). "
            f"The mask probably lies on something else; {advice}."
        )
        yield Finding("mean-hu-implausible", Severity.SERIOUS, sentence, mean)


def _large(voxels: float, largest: float, geometry: Geometry) -> bool:
    return voxels * geometry.voxel_ml >= LARGE_COMPONENT_ML and voxels >= LARGE_COMPONENT_SHARE * largest


def _of_phase(
    volume: Volume, look: CtLook, mask: np.ndarray, labels: np.ndarray | None, classes: Sequence[str], phase: str
) -> Iterator[Finding]:
    misfits = _MISFITS.get(phase, ())
    if not misfits:
        return
    looks = estimate_phase(volume.array, look.contrast, pancreas=mask, labels=labels, classes=classes)
    if looks is None or looks.name not in misfits:
        return
    sentence = (
        f"The scan looks {looks.name} ({looks.reason}), but the model was made for {phase} scans and may fail. "
        f"Use the {phase} series, or check every slice."
    )
    yield Finding(f"looks-{looks.name}", Severity.SERIOUS, sentence, looks.number)
