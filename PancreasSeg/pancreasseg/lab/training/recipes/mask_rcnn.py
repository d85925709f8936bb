"""Dogan 2021: Mask R-CNN finds the pancreas slice by slice, a 3D U-Net segments it in the box around what was found."""

from __future__ import annotations

from dataclasses import replace

from pancreasseg.lab.cohorts import CaseGrid
from pancreasseg.lab.evaluation.published import Published
from pancreasseg.lab.training.augmentation import Augmentation
from pancreasseg.lab.training.loop import STEADY, Schedule
from pancreasseg.lab.training.recipes.recipe import Objective, Part, Recipe, Sampling

#: Of the crop around the pancreas, in training and at test. Published: 20 pixels, about 16 mm on NIH scans.
MARGIN_MM = 16.0

#: Published: Mask R-CNN on axial slices, the margin, the 3D U-Net, the kinds of augmentation, connected components and
#: morphology. Everything else is ours: the shape of the networks, three neighbouring slices, anchors of 16 to 256
#: pixels of 1 mm, the score, the rule from slices to a box, learning rates and steps.
DOGAN = Recipe(
    name="dogan2021",
    title="Mask R-CNN + 3D U-Net (Dogan 2021)",
    pipeline="mask-rcnn",
    parts=(
        Part(
            role="localizer",
            network="mask-rcnn",
            arguments={
                "in_channels": 3,
                "channels": [256, 512, 1024, 2048],
                "blocks": [3, 4, 6, 3],
                "block": "bottleneck",
                "pyramid": 256,
                "anchors": [16, 32, 64, 128, 256],
                "ratios": [0.5, 1.0, 2.0],
            },
            grid=CaseGrid(spacing_mm=(1.0, 1.0, 2.5), region="body"),
            sampling=Sampling("slice", size=(384, 288, 3), foreground=0.75),
            objective=Objective("mask-rcnn"),
            augmentation=Augmentation(),
            schedule=replace(STEADY, steps=20_000, batch=4, learning_rate=3e-4, warm_up=500),
            mean=0.5,
            deviation=0.25,
        ),
        Part(
            role="segmenter",
            network="unet3d",
            arguments={"channels": [16, 32, 64, 128]},
            grid=CaseGrid(region="pancreas", margin_mm=30.0),
            sampling=Sampling("box", size=(320, 256, 160), margin_mm=MARGIN_MM),
            objective=Objective("dice"),
            augmentation=Augmentation(),
            schedule=Schedule(steps=12_000, every=600),
        ),
    ),
    published=Published(
        source="Dogan et al. 2021: a two-phase approach with Mask R-CNN and 3D U-Net. DSC 86.15 as usually quoted; the "
        "blog on it prints 85.1.",
        figures={"DSC %": "86.15 (blog: 85.1)", "HD mm": "9.8"},
    ),
    notes=(
        "Mask R-CNN on axial slices with their neighbours, from random weights; a 3D U-Net in the box around them.",
        "Connected components and morphology after.",
        "Not published and chosen here: networks, anchors, score, how slices make a box, learning rates, steps.",
    ),
    options={
        "score": 0.7,
        "faint_score": 0.3,
        "persistence": 3,
        "overlap": 0.2,
        "edge_percentile": 5.0,
        "margin_mm": MARGIN_MM,
        "smoothing_mm": 1.0,
    },
)
