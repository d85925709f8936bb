"""One CT of many: from its files to a folder of results that says what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pancreasseg import __version__
from pancreasseg.batch.record import forget, glance, identify, stands, write_record
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.progress import Progress
from pancreasseg.core.setup import AUTOMATIC, Setup

if TYPE_CHECKING:
    from pancreasseg.pipelines.base import Pipeline


@dataclass(frozen=True)
class Settings:
    """All that changes a result, as the person asked for it.

    Attributes:
        setup: pipeline, model, and where they compute.
        series: which series of a folder that holds several.
        allow: codes of refusals to go on after.
    """

    setup: Setup = AUTOMATIC
    series: int | str | None = None
    allow: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        """The same with what the defaults stand for now: names and hashes of the models. Loads no torch.

        Raises:
            ModelError: unknown pipeline or model.
        """
        from pancreasseg import pipelines

        packages = pipelines.choose(self.setup)
        return {
            "version": __version__,
            **self.setup.as_dict(),
            "pipeline": self.setup.pipeline or packages[0].card.pipeline,
            "model": [[p.card.name, p.card.version, p.card.weights.sha256] for p in packages],
            "series": self.series,
            "allow": sorted(set(self.allow)),
        }


@dataclass(frozen=True)
class Case:
    """One CT.

    Attributes:
        name: of its row and folder.
        path: of the CT.
        folder: where its results go.
        output: the folder of all results.
    """

    name: str
    path: Path
    folder: Path
    output: Path


def kept(case: Case, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """What result.json of an earlier run says, when it is whole and of the same CT and settings; else None.

    Args:
        case: the CT.
        settings: from `Settings.identity`.
    """
    from pancreasseg.io.write import read_result

    document = read_result(case.folder)  # first, as it puts right what a killed process left
    return document if stands(case.folder, case.path, settings, case.output) else None


def run_case(case: Case, settings: Settings, pipeline: Pipeline, progress: Progress) -> dict[str, Any]:
    """Segment one CT and write its results with their record.

    Args:
        case: the CT.
        settings: what the pipeline was made with.
        pipeline: warm.
        progress: of this CT.

    Returns:
        What result.json holds.

    Raises:
        PancreasSegError: the CT cannot be used, the computation failed, or the results cannot be written.
    """
    from pancreasseg.io.read import read_volume
    from pancreasseg.runs.run import complete, segment, write

    progress.plan([("read", 1.0), ("measure", 1.0), ("write", 1.0)])
    with progress.stage("read"):
        before = glance(case.path, case.output)
        volume = read_volume(case.path, series=settings.series, allow=settings.allow)
        identity = identify(case.path, case.output)
        if identity.stamp != before:
            raise InputError(
                "ct-changed", "The files of the CT changed while they were read.", "Run again when they are complete."
            )
    segmentation = segment(volume, pipeline, None, progress)
    with progress.stage("measure"):
        outcome = complete(volume, segmentation)
    with progress.stage("write"):
        for name in forget(case.folder):
            sentence = f"The mask in this folder had been changed by hand; it lies in {name} now."
            progress.notice(Finding("edited-mask-kept", Severity.INFO, sentence))
        document = write(case.folder, outcome, progress.timings)
        write_record(case.folder, identity, settings.identity(), document["files"])
    return document
