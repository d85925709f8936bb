"""The single-stage baseline: one plain U-Net that slides over the body."""

from __future__ import annotations

from pancreasseg.lab.cohorts import CaseGrid
from pancreasseg.lab.evaluation.published import Published
from pancreasseg.lab.training.augmentation import Augmentation
from pancreasseg.lab.training.loop import Schedule
from pancreasseg.lab.training.recipes.recipe import Objective, Part, Recipe, Sampling

#: Nothing of it is published but its figures: all settings are ours.
UNET_SINGLE = Recipe(
    name="unet-single",
    title="Single-stage 3D U-Net (baseline)",
    pipeline="single-stage",
    parts=(
        Part(
            role="segmenter",
            network="unet3d",
            arguments={"channels": [16, 32, 64, 128]},
            grid=CaseGrid(spacing_mm=(2.0, 2.0, 2.0), region="body"),
            sampling=Sampling("patch", size=(96, 96, 80)),
            objective=Objective("dice+ce"),
            augmentation=Augmentation(),
            schedule=Schedule(
                steps=12_000, batch=2, learning_rate=1e-3, decay="cosine", warm_up=200, clip=5.0, every=300
            ),
            mean=0.5,
            deviation=0.25,
            patch=(96, 96, 80),
        ),
    ),
    published=Published(
        source='"Deep Learning for Medical Image Segmentation" (blog on Dogan 2021): Single-stage U-Net.',
        figures={"DSC %": "78.3", "HD mm": "14.2"},
    ),
    notes=("One U-Net slides over the body; no localizer.",),
)
