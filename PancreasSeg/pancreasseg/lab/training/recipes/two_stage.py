"""Recipes with a localizer and a segmenter: Zhao 2019, and the combination of what is known to work best."""

from __future__ import annotations

from dataclasses import replace

from pancreasseg.lab.cohorts import CaseGrid
from pancreasseg.lab.evaluation.published import Published
from pancreasseg.lab.training.augmentation import Augmentation, BoxJitter
from pancreasseg.lab.training.loop import STEADY, Schedule
from pancreasseg.lab.training.recipes.recipe import Objective, Part, Recipe, Sampling

#: Published: R = 4, margins, loss and λ's 50 epochs. Not published, ours: λ itself, steps, learning rate, augmentation.
ZHAO = Recipe(
    name="zhao2019",
    title="Two-stage 3D CNN (Zhao 2019)",
    pipeline="two-stage",
    parts=(
        Part(
            role="localizer",
            network="unet3d",
            arguments={"channels": [16, 32, 64, 128, 256]},
            grid=CaseGrid(decimation=4, region="body"),
            sampling=Sampling("whole", size=(112, 96, 64)),
            objective=Objective("zhao"),
            augmentation=Augmentation(),
            schedule=Schedule(steps=12_000, every=600),
        ),
        Part(
            role="segmenter",
            network="unet3d",
            arguments={"channels": [16, 32, 64, 128]},
            grid=CaseGrid(region="pancreas", margin_mm=30.0),
            sampling=Sampling("box", size=(320, 256, 160), margin_voxels=10),
            objective=Objective("zhao"),
            augmentation=Augmentation(),
            schedule=Schedule(steps=12_000, every=600),
        ),
    ),
    published=Published(
        source="Zhao, Tong, Ruan, Sheng 2019: Fully Automated Pancreas Segmentation with Two-stage 3D CNNs. MICCAI.",
        figures={"cases": "82", "DSC %": "85.99 ± 4.51", "max": "91.20", "min": "57.20"},
        folds=(
            *(
                (f"{fold}, published", "-", "-", "-", "-", dsc, "-", "-")
                for fold, dsc in enumerate(("85.82", "84.85", "86.52", "86.79"), start=1)
            ),
            ("all, published", "82", "81.91 ± 6.84", "-", "39.98", "85.99 ± 4.51", "91.20", "57.20"),
        ),
        # The paper has a row a fold; these are the best and the worst of them.
        boxes=(("published", "-", "98.4", "97.7", "-", "99.6", "98.7", "-", "81.0", "76.3", "-", "69.5", "66.5"),),
    ),
    notes=(
        "Dice + center loss; boxes from the truth in training, two boxes and a majority vote at test.",
        "Boxes are 10 voxels wider than the organ in training and 10 mm at test: about the same on NIH's voxels.",
        "On coarser voxels set segmenter.sampling.margin_voxels to 10 mm: wider boxes in training cost recall at test.",
        "Not published and chosen here: weight of the center loss, learning rate, steps, augmentation.",
    ),
)

BEST = Recipe(
    name="pancreasseg-best",
    title="What is known to work, put together",
    pipeline="two-stage",
    parts=(
        Part(
            role="localizer",
            network="unet3d",
            arguments={"channels": [16, 32, 64, 128], "block": "residual", "deep_supervision": 1},
            grid=CaseGrid(spacing_mm=(4.0, 4.0, 4.0), region="body"),
            sampling=Sampling("whole", size=(96, 72, 80)),
            objective=Objective("dice+ce"),
            augmentation=Augmentation(),
            schedule=replace(STEADY, steps=8_000, every=400),
            mean=0.5,
            deviation=0.25,
        ),
        Part(
            role="segmenter",
            network="unet3d",
            arguments={"channels": [24, 48, 96, 192], "block": "residual", "deep_supervision": 2},
            grid=CaseGrid(spacing_mm=(1.25, 1.25, 1.25), region="pancreas", margin_mm=40.0),
            sampling=Sampling("box", size=(192, 144, 144), margin_mm=10.0, jitter=BoxJitter()),
            objective=Objective("dice+ce"),
            augmentation=Augmentation(),
            schedule=replace(STEADY, steps=16_000, every=400),
            mean=0.5,
            deviation=0.25,
        ),
    ),
    published=Published(source=""),
    notes=(
        "Residual encoders, deep supervision with weights 1, 0.5, 0.25, Dice + cross entropy, jittered boxes.",
        "Averaged weights (0.999), no left-right flip; after the vote one more pass in a box around the fine mask.",
    ),
    options={"recrops": 1},
)
