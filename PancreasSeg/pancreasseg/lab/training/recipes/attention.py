"""The Attention U-Net of Oktay 2018, and the same with more heads."""

from __future__ import annotations

from dataclasses import replace

from pancreasseg.lab.cohorts import CaseGrid
from pancreasseg.lab.evaluation.published import Published
from pancreasseg.lab.training.augmentation import Augmentation
from pancreasseg.lab.training.loop import Schedule
from pancreasseg.lab.training.recipes.recipe import Objective, Part, Recipe, Sampling

#: Published: network, soft Dice over the classes, 2 mm, patch, Adam 1e-4, L2 1e-6, batch 2, flip, rotation and scale.
#: Not published, ours: steps, and where patches lie. The paper normalises every image by its own mean and deviation; a
#: fixed window with the mean and deviation of abdominal soft tissue takes its place.
_PART = Part(
    role="segmenter",
    network="attention-unet",
    arguments={"channels": [16, 32, 64, 128, 256], "heads": 2},
    grid=CaseGrid(spacing_mm=(2.0, 2.0, 2.0), region="body"),
    sampling=Sampling("patch", size=(160, 160, 96)),
    objective=Objective("dice-all"),
    augmentation=Augmentation(rotation_degrees=(15.0, 15.0, 15.0), scale=0.3, flip=(0.5, 0.0, 0.0)),
    schedule=Schedule(steps=12_000, batch=2, learning_rate=1e-4, weight_decay=1e-6, every=300),
    mean=0.5,
    deviation=0.25,
    patch=(160, 160, 96),
)

OKTAY = Recipe(
    name="oktay2018",
    title="Attention U-Net (Oktay 2018)",
    pipeline="single-stage",
    parts=(_PART,),
    published=Published(
        source="Oktay, Schlemper et al. 2018: Attention U-Net: Learning Where to Look for the Pancreas. MIDL 2018.",
        figures={
            "DSC %": "83.10 ± 3.80",
            "precision %": "81.5 ± 9.3",
            "recall %": "83.5 ± 5.7",
            "S2S mm": "2.33 ± 0.86",
        },
    ),
    notes=("Grid attention gates, two a level, logits of all scales fused; sliding over the body at 2 mm.",),
)

#: The multi-head gate that the CS300 report proposes: the published gate with more heads; four is ours.
OKTAY_MULTIHEAD = replace(
    OKTAY,
    name="oktay2018-multihead",
    title="Attention U-Net with multi-head gates",
    parts=(replace(_PART, arguments={**_PART.arguments, "heads": 4}),),
    published=Published(source="Das 2025: CS300 report, IIIT Guwahati (proposal); gate of Oktay et al. 2018."),
    notes=("The Attention U-Net with four gates a level, each with weights of its own, concatenated and fused.",),
)
