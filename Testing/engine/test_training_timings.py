"""The bench of training: it knows every recipe, and its estimate adds up."""

from Testing import training_timings
from Testing.training_timings import BENCH, CASES, EVALUATION_S, FOLDS, Timing

from pancreasseg.lab.training import recipes


def test_the_bench_has_settings_for_every_recipe():
    assert set(BENCH) == set(recipes.NAMES)
    for name, settings in BENCH.items():
        assert recipes.get(name).with_settings(settings).name == name


def test_the_estimate_is_steps_times_seconds_times_folds_and_the_evaluation(monkeypatch, tmp_path):
    monkeypatch.setattr(training_timings, "TYPICAL", {"localizer": [64, 64, 96], "segmenter": [128, 64, 96]})
    measured = [Timing("zhao2019", "localizer", "bf16", 2.0, 0.0), Timing("zhao2019", "segmenter", "bf16", 1.0, 0.0)]
    said = training_timings.estimate(measured, None, "cpu", tmp_path)  # the cohort is for GPUs
    # Blocks of twice and four times the bench's: 1 s and 4 s a step.
    steps = recipes.get("zhao2019").parts[0].schedule.steps
    hours = (FOLDS * steps * 5.0 + CASES * (EVALUATION_S + 3.0)) / 3600
    assert f"cpu, bf16: {hours:.0f} hours" in said
    assert f"segmenter {steps} steps of 4.00 s on 128x64x96 voxels" in said


def test_on_a_gpu_blocks_of_the_published_size_are_measured(monkeypatch, tmp_path):
    asked = []

    def measured(recipe, settings, cohort, hardware, folder):
        asked.append((recipe.with_settings(settings), hardware.device))
        return [Timing("zhao2019", role, "bf16", 10.0, 0.0) for role in ("localizer", "segmenter")]

    monkeypatch.setattr(training_timings, "measure_recipe", measured)
    said = training_timings.estimate([], None, "cuda", tmp_path)
    ((recipe, used),) = asked
    assert used == "cuda"
    assert {part.role: list(part.sampling.size) for part in recipe.parts} == training_timings.TYPICAL
    assert "measured on blocks of this size" in said
