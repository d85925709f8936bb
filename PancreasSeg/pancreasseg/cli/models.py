"""``pancreasseg models``: what is installed, and what can be."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pancreasseg.cli import console
from pancreasseg.cli.arguments import Commands, add_command
from pancreasseg.core.errors import PancreasSegError, as_json

if TYPE_CHECKING:
    pass

_DESCRIPTION = """\
Model packages: the networks' weights with a card that says what they are for.

The store lies in your data folder; the environment variable PANCREASSEG_HOME moves it. Only 'install' of a name from
the catalogue uses the network; a download that was interrupted goes on where it stopped. PANCREASSEG_MIRROR names an
https address, or a folder, that has the published files: they are fetched there and nowhere else. On a computer without
network, install from files copied there.
"""
_INSTALL = """\
SOURCE is one of:

  NAME     a model of the catalogue ('pancreasseg models list' shows them); it is downloaded and checked (SHA256), or
           taken from the folder where TotalSegmentator keeps it on this computer
  FILE     a model package as .zip, a .zip that nnUNetv2_export_model_to_zip made, a zip of TotalSegmentator's weights,
           or a published .pth checkpoint (several at once, or a .zip of them)
           or a network as .onnx, or as TorchScript (.pt, .ts), with its card as .json beside it or with --card
  FOLDER   a model package, a result folder of nnU-Net v2, or published .pth checkpoints

Of checkpoints, every model that they suffice for is installed. The options are for models of nnU-Net that do not say
these things themselves.
"""


def add_to(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the command and its sub-commands to the command line."""
    whole = add_command(commands, "models", [], "list, install, verify and remove models", _DESCRIPTION)
    actions = whole.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = add_command(actions, "list", [common], "what is installed, and what can be", "List all models.")
    listing.set_defaults(run=list_models)
    install = add_command(actions, "install", [common], "install a model", _INSTALL)
    install.add_argument("source", metavar="SOURCE", nargs="+", help="a name, file or folder, see above")
    _add_choices(install)
    install.set_defaults(run=install_model)
    verify = add_command(actions, "verify", [common], "check the weights", "Compare the weights with their SHA256.")
    verify.add_argument("names", metavar="NAME", nargs="*", help="installed models (default: all)")
    verify.set_defaults(run=verify_models)
    remove = add_command(actions, "remove", [common], "delete an installed model", "Delete an installed model.")
    remove.add_argument("name", metavar="NAME", help="an installed model")
    remove.set_defaults(run=remove_model)
    info = add_command(actions, "info", [common], "what a model is for", "Show the card of an installed model.")
    info.add_argument("name", metavar="NAME", help="an installed model")
    info.set_defaults(run=show_info)


def _add_choices(command: argparse.ArgumentParser) -> None:
    """Options for models of nnU-Net."""
    group = command.add_argument_group("models that do not say these things themselves (nnU-Net, ONNX, TorchScript)")
    group.add_argument("--name", help="what the package is to be called")
    group.add_argument("--configuration", help="of several in a folder (default: the finest that is no cascade)")
    group.add_argument("--plans", help="of several in a folder, such as nnUNetResEncUNetLPlans")
    group.add_argument("--fold", action="append", metavar="K", help="a member of the ensemble; repeat (default: all)")
    group.add_argument("--pancreas", metavar="CLASS", help="the class that is the pancreas (default: by its name)")
    group.add_argument("--part", action="append", metavar="CLASS", help="a class that belongs to it; repeat")
    group.add_argument("--role", choices=("segmenter", "localizer"), help="what it does here (default: segmenter)")
    group.add_argument("--orientation", metavar="LPS", help="how the CTs that it learned on were stored (default: LPS)")
    group.add_argument("--card", type=Path, metavar="FILE", help="what an ONNX or TorchScript file wants to see (JSON)")
    group.add_argument("--trust-code", action="store_true", help="let a TorchScript model run the code that it carries")


def list_models(options: argparse.Namespace) -> None:
    """``models list``."""
    from pancreasseg.models import catalogue
    from pancreasseg.models.nnunet import published
    from pancreasseg.models.store import Store

    store = Store()
    packages = store.packages()
    installed = [
        {
            "name": package.card.name,
            "version": package.card.version,
            "title": package.card.title,
            "pipeline": package.card.pipeline,
            "contrast_phase": package.card.contrast_phase,
            "bundled": package.bundled,
            "folder": str(package.folder),
        }
        for package in packages
    ]
    names = {package.card.name for package in packages}
    public = catalogue.offered()
    offered = [entry for entry in public.values() if entry.name not in names]
    local = published.on_this_computer()
    sources = {e.name: str(local[e.name]) if e.name in local else ", ".join(e.hosts) for e in offered}
    available = [
        {"name": entry.name, "title": entry.title, "bytes": entry.download_bytes, "from": sources[entry.name]}
        for entry in offered
    ]
    damaged = [{"name": name, "message": error.message} for name, error in store.damaged().items()]
    if options.json:
        document = {"home": str(store.home), "installed": installed, "available": available, "damaged": damaged}
        console.show_json(document)
        return
    rows = [
        (m["name"], m["version"], m["pipeline"], "with the software" if m["bundled"] else "store", m["title"])
        for m in installed
    ]
    console.show_table("Installed", ("name", "version", "pipeline", "where", "title"), rows)
    if offered:
        offers = [
            (
                e.name,
                "on this computer" if e.name in local else _size(e.download_bytes),
                sources[e.name],
                e.title,
            )
            for e in offered
        ]
        console.show_table("Can be installed", ("name", "download", "from", "title"), offers)
    for name, error in store.damaged().items():
        console.show(f"Damaged: {name}. {error.message}")
    console.show(f"Store: {store.home}")


def install_model(options: argparse.Namespace) -> None:
    """``models install``."""
    from pancreasseg.models.nnunet.choices import Choices
    from pancreasseg.runs.installing import store

    choices = Choices(
        name=options.name,
        configuration=options.configuration,
        plans=options.plans,
        folds=None if options.fold is None else tuple(options.fold),
        pancreas=options.pancreas,
        parts=None if options.part is None else tuple(options.part),
        role=options.role,
        orientation=options.orientation,
        card=options.card,
        trust=options.trust_code,
    )
    with console.progress_shown(quiet=options.json) as progress:
        installed = store().install(options.source, progress, choices)
    if options.json:
        names = [{"name": package.card.name, "version": package.card.version} for package in installed]
        console.show_json({"installed": names})
        return
    for package in installed:
        console.show(f"Installed {package.card.name} {package.card.version}: {package.card.title}")


def verify_models(options: argparse.Namespace) -> int:
    """``models verify``: all of them, also after one that is wrong; returns the exit code."""
    from pancreasseg.models.store import Store

    store = Store()
    verified: list[str] = []
    wrong: dict[str, PancreasSegError] = {} if options.names else dict(store.damaged())
    for name in options.names or [package.card.name for package in store.packages()]:
        try:
            store.verify(name)
        except PancreasSegError as error:
            wrong[name] = error
        else:
            verified.append(name)
    if not verified and len(wrong) == 1:
        raise next(iter(wrong.values()))
    if options.json:
        failed = [{"name": name, **as_json(error)} for name, error in wrong.items()]
        console.show_json({"verified": verified, "failed": failed})
    for name in verified if not options.json else ():
        console.show(f"{name}: the weights are those that the card describes.")
    for name, trouble in wrong.items():
        console.say(f"Error: {name}: {trouble}")
    return next((trouble.exit_code for trouble in wrong.values()), 0)


def remove_model(options: argparse.Namespace) -> None:
    """``models remove``."""
    from pancreasseg.models.store import Store

    Store().remove(options.name)
    if options.json:
        console.show_json({"removed": options.name})
    else:
        console.show(f"Removed {options.name}.")


def show_info(options: argparse.Namespace) -> None:
    """``models info``."""
    from pancreasseg.models.store import Store

    facts = Store().info(options.name)
    if options.json:
        console.show_json(facts)
        return
    figures = facts.pop("figures")
    console.show_table(facts["title"], ("", ""), [(_words(name), _text(value)) for name, value in facts.items()])
    if figures:
        rows = [[_text(value) for value in figure.values()] for figure in figures]
        console.show_table("Figures", [_words(name) for name in figures[0]], rows)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count else "not stated"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _text(value: Any) -> str:
    """Nested facts of a card as people read them."""
    if isinstance(value, dict):
        return "\n".join(f"{_words(name)}: {_text(entry)}" for name, entry in value.items())
    if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        return "\n".join(_text(entry).replace("\n", ", ") for entry in value)
    if isinstance(value, list):
        return ", ".join(_text(entry) for entry in value)
    return "" if value is None else str(value)
