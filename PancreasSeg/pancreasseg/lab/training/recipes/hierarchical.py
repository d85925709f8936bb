"""Roth 2017: two networks of valid convolutions, the second only around what the first has found."""

from __future__ import annotations

from pancreasseg.lab.cohorts import CaseGrid
from pancreasseg.lab.cohorts.organs import SEVEN
from pancreasseg.lab.evaluation.published import Published
from pancreasseg.lab.training.augmentation import Augmentation
from pancreasseg.lab.training.loop import Schedule
from pancreasseg.lab.training.recipes.recipe import Objective, Part, Recipe, Sampling

_TILE = (132, 132, 116)
_CHANNELS = {"channels": [32, 64, 128, 256]}
#: Published: momentum. Not published, ours: learning rate and steps.
_SCHEDULE = Schedule(steps=20_000, optimiser="sgd", momentum=0.99, learning_rate=1e-3, every=500)

#: Published: network, tile, half resolution, seven organs, class weights, SGD momentum, body mask, five dilations.
#: Where a cohort has labels of the pancreas alone, that is what is learned. The second network of the paper learns
#: inside what the first one finds; here inside the dilated truth, so that both train independently.
ROTH = Recipe(
    name="roth2017",
    title="Hierarchical 3D FCN (Roth 2017)",
    pipeline="hierarchical",
    parts=(
        Part(
            role="localizer",
            network="fcn3d",
            arguments=_CHANNELS,
            grid=CaseGrid(decimation=2, region="body"),
            sampling=Sampling("patch", size=_TILE, foreground=0.5),
            objective=Objective("weighted-ce"),
            augmentation=Augmentation(),
            schedule=_SCHEDULE,
            organs=SEVEN,
        ),
        Part(
            role="segmenter",
            network="fcn3d",
            arguments=_CHANNELS,
            grid=CaseGrid(decimation=2, region="body"),
            sampling=Sampling("patch", size=_TILE, foreground=1.0, candidate_voxels=10),
            objective=Objective("weighted-ce"),
            augmentation=Augmentation(),
            schedule=_SCHEDULE,
            organs=SEVEN,
        ),
    ),
    published=Published(
        source="Roth, Oda et al. 2017: Hierarchical 3D fully convolutional networks for multi-organ segmentation. "
        "Its figures are from 150 CTs of the authors' own.",
        figures={"cases": "150, own CTs", "DSC %": "82.2 ± 10.2", "min": "1.8", "max": "92.2"},
        folds=(("all, published", "150, own CTs", "68.5", "-", "-", "82.2 ± 10.2", "92.2", "1.8"),),
    ),
    notes=("Body mask; a network of valid convolutions at half resolution; a second one inside what the first found.",),
    options={"overlap": True},
)
