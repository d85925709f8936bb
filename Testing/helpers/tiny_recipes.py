"""Settings with which every recipe trains in seconds on `easy_cohort`."""

from pancreasseg.lab.training import recipes

QUICK = {
    "*.schedule.steps": 40,
    "*.schedule.every": 20,
    "*.schedule.learning_rate": 0.02,
    "*.schedule.batch": 1,
    "*.schedule.warm_up": 0,
    "*.arguments.channels": [4, 8],
}
SMALL = {"segmenter.sampling.size": [32, 32, 32], "segmenter.patch": [32, 32, 32]}
#: Settings that make each recipe small, and the mean DSC of held-out cases that it has to beat.
TINY = {
    "zhao2019": (
        # The bodies are too small for every fourth voxel. The bar is low because a network trained on perfect boxes is
        # tested on those that a weak localizer proposes: Zhao's own gap.
        {
            "localizer.grid.decimation": 2,
            "localizer.sampling.size": [24, 24, 12],
            "segmenter.sampling.margin_voxels": 5,  # the pipeline's 10 mm
            "segmenter.sampling.size": [40, 40, 18],
            "*.schedule.steps": 60,
        },
        0.7,
    ),
    "dogan2021": (
        {
            "localizer.grid.spacing_mm": [2, 2, 4],
            "localizer.sampling.size": [44, 40, 3],
            "localizer.arguments.channels": [8, 16],
            "localizer.arguments.blocks": [1, 1],
            "localizer.arguments.block": "basic",
            "localizer.arguments.stem": 8,
            "localizer.arguments.stem_stride": 2,
            "localizer.arguments.pyramid": 16,
            "localizer.arguments.head": 32,
            "localizer.arguments.mask_convs": 1,
            "localizer.arguments.anchors": [8, 16, 32],
            "localizer.arguments.candidates": 30,
            "localizer.arguments.proposals": 20,
            "localizer.arguments.sampled": 16,
            "localizer.schedule.steps": 100,
            "localizer.schedule.every": 50,
            "localizer.schedule.batch": 6,
            "localizer.schedule.averaging": 0.9,
            "localizer.schedule.learning_rate": 0.005,
            "segmenter.sampling.size": [40, 40, 18],
        },
        0.85,
    ),
    "oktay2018": ({**SMALL, "*.arguments.channels": [4, 8, 8]}, 0.8),
    "oktay2018-multihead": ({**SMALL, "*.arguments.channels": [4, 8, 8]}, 0.8),
    "roth2017": (
        # Its class weights make it overshoot what is small for long.
        {"*.sampling.size": [36, 36, 24], "*.schedule.optimiser": "adam", "*.schedule.steps": 100},
        0.55,
    ),
    "unet-single": (SMALL, 0.9),
    "pancreasseg-best": (
        {
            "*.schedule.averaging": 0.9,
            "localizer.sampling.size": [24, 24, 24],
            "segmenter.sampling.size": [32, 32, 32],
            "*.arguments.deep_supervision": 1,
        },
        0.85,
    ),
}


def tiny(name: str) -> recipes.Recipe:
    """The recipe, small."""
    return recipes.get(name).with_settings({**QUICK, **TINY[name][0]})
