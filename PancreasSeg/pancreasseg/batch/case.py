"""One CT of many: from its files to a folder of results that says what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pancreasseg import __version__
from pancreasseg.batch.exports import export_all, export_missing
from pancreasseg.batch.record import Exports, forget, glance, identify, stands, write_record
from pancreasseg.core.errors import InputError, explain
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.progress import Progress
from pancreasseg.core.setup import AUTOMATIC, Setup

if TYPE_CHECKING:
    import numpy as np

    from pancreasseg.core import Volume
    from pancreasseg.pipelines.base import Pipeline


@dataclass(frozen=True)
class Settings:
    """All that changes a result, as the person asked for it.

    Attributes:
        setup: pipeline, model, and where they compute.
        series: which series of a folder that holds several, where a case does not say so itself.
        allow: codes of refusals to go on after.
        formats: export formats that each case is written in on the way; they change no result.
    """

    setup: Setup = AUTOMATIC
    series: int | str | None = None
    allow: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        """The same with what the defaults stand for now: names and hashes of the models. Loads no torch.

        Raises:
            ModelError: unknown pipeline or model.
        """
        from pancreasseg import pipelines

        cast = pipelines.cast(self.setup)
        return {
            "version": __version__,
            **self.setup.as_dict(),
            "pipeline": cast.declaration.name,
            "model": [[p.card.name, p.card.version, p.card.weights.sha256] for p in cast.packages],
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
        series: which series of a folder that holds several; None leaves it to the settings.
        reference: a mask to compare with, or None.
        label: which label of the reference is the pancreas, see `pancreasseg.io.read.read_mask`.
    """

    name: str
    path: Path
    folder: Path
    output: Path
    series: int | str | None = None
    reference: Path | None = None
    label: int | str | None = None

    def identity(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """All that this case's result is made from beside its CT: the settings, and what is its own.

        Args:
            settings: from `Settings.identity`.
        """
        own: dict[str, Any] = {} if self.series is None else {"series": self.series}
        if self.reference is not None:
            own["reference"] = [_content(self.reference), self.label]
        return {**settings, **own}


def kept(case: Case, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """What result.json of an earlier run says, when it is whole and of the same CT and settings; else None.

    Args:
        case: the CT.
        settings: from `Settings.identity`.
    """
    from pancreasseg.io.write import read_result

    document = read_result(case.folder)  # first, as it puts right what a killed process left
    return document if stands(case.folder, case.path, case.identity(settings), case.output) else None


def complete_exports(case: Case, settings: Settings) -> Exports:
    """Write those exports of a kept result that are not there yet."""
    return export_missing(case.folder, case.path, settings.formats, _series(case, settings), settings.allow)


def run_case(case: Case, settings: Settings, pipeline: Pipeline, progress: Progress) -> dict[str, Any]:
    """Segment one CT and write its results with their record.

    Args:
        case: the CT.
        settings: what the pipeline was made with.
        pipeline: warm.
        progress: of this CT.

    Returns:
        What result.json holds, and under "exports" what became of the exports.

    Raises:
        PancreasSegError: the CT cannot be used, the computation failed, or the results cannot be written.
    """
    from pancreasseg.io.read import read_volume
    from pancreasseg.runs.run import complete, segment, write

    series = _series(case, settings)
    progress.plan([("read", 1.0), ("measure", 1.0), ("write", 1.0)])
    with progress.stage("read"):
        before = glance(case.path, case.output)
        volume = read_volume(case.path, series=series, allow=settings.allow)
        identity = identify(case.path, case.output)
        if identity.stamp != before:
            raise InputError(
                "ct-changed", "The files of the CT changed while they were read.", "Run again when they are complete."
            )
        sources = case.identity(settings.identity())  # now, with the reference as it is when it is read
        reference, remarks = _read_reference(case, volume)
    segmentation = segment(volume, pipeline, None, progress)
    segmentation = replace(segmentation, findings=(*segmentation.findings, *remarks))
    with progress.stage("measure"):
        outcome = complete(volume, segmentation, reference)
    with progress.stage("write"):
        for name in forget(case.folder):
            sentence = f"A file in this folder had been changed by hand; it lies in {name} now."
            progress.notice(Finding("edited-mask-kept", Severity.INFO, sentence))
        document = write(case.folder, outcome, progress.timings)
        exports = export_all(case.folder, case.path, settings.formats, series, volume, segmentation.mask, document)
        write_record(case.folder, identity, sources, document["files"], exports.files)
    return {**document, "exports": exports.as_dict()}


def _series(case: Case, settings: Settings) -> int | str | None:
    return settings.series if case.series is None else case.series


def _read_reference(case: Case, volume: Volume) -> tuple[np.ndarray | None, tuple[Finding, ...]]:
    """The mask to compare with on the CT's grid, and remarks; one that cannot be read costs the comparison alone."""
    from pancreasseg.io.read import place_mask

    if case.reference is None:
        return None, ()
    try:
        placed = place_mask(case.reference, volume.geometry, case.label)
    except Exception as error:  # whatever is wrong with it, the CT is segmented
        told = explain(error)
        sentence = f"The result was not compared with its reference. {told}"
        return None, (Finding("reference-unusable", Severity.WARNING, sentence),)
    return placed.array, placed.findings


def _content(reference: Path) -> str:
    """What tells one reference from another; empty where it cannot be read, which the comparison will say."""
    try:
        return identify(reference).content
    except InputError:
        return ""
