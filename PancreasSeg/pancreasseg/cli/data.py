"""``pancreasseg data``: cohorts of CTs with labels, for training and evaluation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pancreasseg.cli import console
from pancreasseg.cli.arguments import Commands, add_command
from pancreasseg.core.errors import InputError
from pancreasseg.core.text import number_or_name

if TYPE_CHECKING:
    from pancreasseg.lab.cohorts import CaseGrid, Cohort

_DESCRIPTION = """\
Cohorts of CTs with pancreas labels: check them, prepare them for training, make up some to try everything with.
"""
_PREPARE = """\
Check every CT and label of a data set and prepare it for training and evaluation.

  nih      NIH Pancreas-CT as The Cancer Imaging Archive serves it: DICOM folders PANCREAS_0001 and labels
           label0001.nii.gz below SOURCE. Standard folds; the duplicates 25 and 70 stay in the fold of case 2.
  msd      a task of the Medical Segmentation Decathlon (Task07_Pancreas): dataset.json, imagesTr, labelsTr; pancreas
           and tumour together are the pancreas.
  folder   pairs of files: subfolders 'images' and 'labels' with equal names, or case.nii.gz beside case_label.nii.gz
  corrections   what was kept with 'Keep for training' in the panel in Slicer

Labels of further organs (for roth2017) are used where there are any: several labels in one file with --organs or with a
labels.json ({"liver": 6, "pancreas": 11}) in SOURCE, segments with such names in a .seg.nrrd, labels that dataset.json
names, or a subfolder 'organ_labels' with a file a case and a labels.json of its own.

FOLDER gets report.md and report.json, which name every case and what is wrong with it, and the cohort. SOURCE is not
changed. Run the same command again after it was stopped, or after cases were added: unchanged cases are not read anew.
"""
_PHANTOMS = """\
Write a cohort of computed patients in the layout of NIH Pancreas-CT (DICOM folders, labels with flipped axes), to try
preparation, training and evaluation without any data. 82 cases include the duplicates 25 and 70.
"""
_SHEET = """\
Draw augmented samples of cases, as training sees them, with the label outlined, to see whether the augmentation is
plausible.
"""


def add_to(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the command and its sub-commands to the command line."""
    whole = add_command(commands, "data", [], "prepare cohorts for training", _DESCRIPTION)
    actions = whole.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_prepare(actions, common)
    phantoms = add_command(actions, "phantoms", [common], "write a cohort of made-up patients", _PHANTOMS)
    phantoms.add_argument("--cases", metavar="N", type=int, required=True, help="how many (1 to 80, or 82)")
    phantoms.add_argument("--output", metavar="FOLDER", type=Path, required=True, help="where the cohort goes")
    phantoms.add_argument(
        "--spacing",
        metavar="MM",
        type=float,
        nargs=3,
        default=(0.8, 0.8, 2.5),
        help="between columns, rows and slices (default: 0.8 0.8 2.5); coarser is faster and smaller",
    )
    phantoms.add_argument(
        "--organs", action="store_true", help="also write labels of seven organs, which NIH's data do not have"
    )
    phantoms.add_argument("--seed", metavar="N", type=int, help="case n is the made-up patient N + n")
    phantoms.set_defaults(run=write_phantoms)
    sheet = add_command(actions, "sheet", [common], "draw augmented samples", _SHEET)
    sheet.add_argument("cohort", metavar="COHORT", type=Path, help="a prepared cohort")
    sheet.add_argument("--output", metavar="FILE", type=Path, required=True, help="the picture, .png")
    sheet.add_argument("--case", metavar="ID", help="which case (default: the first four)")
    sheet.add_argument("--spacing", metavar="MM", type=float, default=1.5, help="of the samples (default: 1.5)")
    sheet.add_argument("--seed", metavar="N", type=int, default=1, help="of everything random (default: 1)")
    sheet.set_defaults(run=draw_sheet)


def _add_prepare(actions: Commands, common: argparse.ArgumentParser) -> None:
    command = add_command(actions, "prepare", [common], "check a data set and prepare it", _PREPARE)
    command.add_argument(
        "kind",
        metavar="nih|msd|folder|corrections",
        choices=("nih", "msd", "folder", "corrections"),
        help="how SOURCE is laid out",
    )
    command.add_argument("source", metavar="SOURCE", type=Path, help="folder of the data set")
    command.add_argument("--output", metavar="FOLDER", type=Path, required=True, help="where the cohort goes")
    command.add_argument(
        "--on-error",
        choices=("refuse", "skip"),
        default="refuse",
        help="when cases cannot be used: refuse the whole cohort (default), or leave them out",
    )
    command.add_argument(
        "--spacing",
        metavar="MM[,MM,MM]",
        action="append",
        default=[],
        help="resample to this voxel size at once (may be repeated); other sizes are made when training needs them",
    )
    command.add_argument("--folds", metavar="N", type=int, help="how many (default: the standard ones of NIH, else 4)")
    command.add_argument("--label", metavar="N|NAME", help="which label is the pancreas (number or segment name)")
    command.add_argument(
        "--organs",
        metavar="NAME=LABEL,...",
        help="which labels are further organs (numbers or segment names), e.g. liver=6,artery=8,pancreas=11",
    )
    command.add_argument(
        "--label-axes",
        metavar="AXES",
        help="how labels lie on their CTs: 'header', 'auto' (what the HU say), or e.g. 'flip-j' "
        "(default: auto for nih, else header)",
    )
    command.set_defaults(run=prepare_cohort)


def prepare_cohort(options: argparse.Namespace) -> None:
    """``data prepare``."""
    from pancreasseg.lab.cohorts.organs import parse
    from pancreasseg.lab.cohorts.prepare import Preparation, prepare
    from pancreasseg.lab.cohorts.summary import MARKDOWN, summary

    label = None if options.label is None else number_or_name(options.label)
    grids = tuple(_grid(text) for text in options.spacing)
    organs = () if options.organs is None else tuple(parse(options.organs).items())
    settings = Preparation(options.on_error, label, options.label_axes, options.folds, grids, organs)
    with console.progress_shown(quiet=options.json) as progress:
        cohort = prepare(options.kind, options.source, options.output, settings, progress)
    if options.json:
        console.show_json({"folder": str(cohort.folder), "report": summary(cohort)})
        return
    _show(cohort)
    console.show(f"Report: {cohort.folder / MARKDOWN}")


def write_phantoms(options: argparse.Namespace) -> None:
    """``data phantoms``."""
    from pancreasseg.lab.cohorts import phantoms

    if min(options.spacing) <= 0:
        raise InputError("bad-spacing", "The spacing has to be above 0 mm.", "Give three numbers such as 0.8 0.8 2.5.")
    numbers = phantoms.case_numbers(options.cases)
    seed = phantoms.FIRST_SEED if options.seed is None else options.seed
    step = min(4.0, max(1.5, min(options.spacing)))
    with console.progress_shown(quiet=options.json) as progress:
        phantoms.write_phantoms(
            options.output,
            numbers,
            spacing=options.spacing,
            step=step,
            seed=seed,
            organs=options.organs,
            progress=progress,
        )
    if options.json:
        console.show_json({"folder": str(options.output), "cases": [f"{number:04d}" for number in numbers]})
        return
    console.show(f"Wrote {len(numbers)} made-up patients to {options.output}. Next:")
    console.show(f"  pancreasseg data prepare nih {options.output} --output COHORT")


def draw_sheet(options: argparse.Namespace) -> None:
    """``data sheet``."""
    from pancreasseg.lab.cohorts import Cohort
    from pancreasseg.lab.training.augmentation_sheet import draw

    cohort = Cohort.open(options.cohort)
    cases = cohort.cases[:4] if options.case is None else (cohort.case(options.case),)
    grid = _grid(str(options.spacing), region="pancreas", margin_mm=40.0)
    with console.progress_shown(quiet=options.json) as progress:
        draw(cohort, cases, grid, options.output, seed=options.seed, progress=progress)
    if options.json:
        console.show_json({"file": str(options.output), "cases": [case.id for case in cases]})
    else:
        console.show(f"Wrote {options.output}")


def _grid(text: str, *, region: str = "scan", margin_mm: float = 0.0) -> CaseGrid:
    """A grid as the command line names it: one number, or three with commas."""
    from pancreasseg.lab.cohorts import CaseGrid

    try:
        steps = [float(part) for part in text.split(",")]
        x, y, z = steps * 3 if len(steps) == 1 else steps
        return CaseGrid((x, y, z), region=region, margin_mm=margin_mm)
    except ValueError as error:
        raise InputError(
            "bad-spacing",
            f"{text!r} is no voxel size.",
            "Give mm above 0 as one number, or three with commas, such as 0.8,0.8,2.5.",
        ) from error


def _show(cohort: Cohort) -> None:
    """What preparing found, on standard output."""
    for remark in cohort.remarks:
        console.show(remark)
    if cohort.left_out:
        missing = [(entry["id"], entry["message"]) for entry in cohort.left_out]
        console.show_table("Left out", ("case", "what is wrong"), missing)
    rows = [
        (str(fold), str(len(cases)), f"{sum(case.pancreas_ml for case in cases) / len(cases):.1f}" if cases else "")
        for fold in cohort.folds
        for cases in ([case for case in cohort.cases if case.fold == fold],)
    ]
    title = f"{len(cohort.cases)} cases" if len(cohort.cases) != 1 else "1 case"
    console.show_table(title, ("fold", "cases", "pancreas ml (mean)"), rows)
