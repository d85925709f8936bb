"""The installed model packages: those in the user's data folder and those that come with the software."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from pancreasseg.core.errors import ModelError, OutputError
from pancreasseg.core.progress import Progress
from pancreasseg.io.atomic import output_errors, recover, staged
from pancreasseg.io.locks import locked
from pancreasseg.models import archive, catalogue, convert, foreign
from pancreasseg.models.card import Card
from pancreasseg.models.nnunet import published
from pancreasseg.models.nnunet.choices import Choices
from pancreasseg.models.nnunet.results import find_results
from pancreasseg.models.package import CARD_FILE, ModelPackage, sha256_of, while_replaced

HOME_VARIABLE = "PANCREASSEG_HOME"
_LOCK = ".lock"
_DOWNLOADS = "downloads"
_HERE = Path(__file__).resolve().parent.parent
#: In a wheel; beside the Slicer module otherwise.
_BUNDLED = (_HERE / "bundled_models", _HERE.parent / "Resources" / "Models")


def default_home() -> Path:
    """$PANCREASSEG_HOME, else the folder that this platform has for users' data."""
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "PancreasSeg"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "PancreasSeg"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "PancreasSeg"


def bundled_folder() -> Path:
    """Where the packages lie that come with the software."""
    return next((folder for folder in _BUNDLED if folder.is_dir()), _BUNDLED[-1])


class Store:
    """Installed packages, listed, found by name, installed and removed.

    Every change is prepared beside its place, verified, and then put there in one step, so a package is whole or not
    there. Several processes may use one store at the same time. Nothing but `install` of a catalogue name uses the
    network.

    Args:
        home: folder of the store; `default_home` by default. It need not exist.
        bundled: folder of the read-only packages; those of the software by default.
        check: what a package has to pass, beyond `ModelPackage.verify`, before it takes its place; raises `ModelError`.
            `pancreasseg.runs.installing.store` gives a store that lets in only what can run.
    """

    def __init__(
        self,
        home: Path | str | None = None,
        *,
        bundled: Path | None = None,
        check: Callable[[ModelPackage], None] = lambda _package: None,
    ) -> None:
        self.home = Path(home) if home is not None else default_home()
        self.folder = self.home / "models"
        self._bundled = bundled if bundled is not None else bundled_folder()
        self._check = check

    def packages(self) -> list[ModelPackage]:
        """All packages with a valid card, best first; weights are not looked at."""
        found = [package for package in self._scan() if isinstance(package, ModelPackage)]
        return sorted(found, key=_rank)

    def damaged(self) -> dict[str, ModelError]:
        """Folders in the store that are no valid package, with what is wrong."""
        return {item[0]: item[1] for item in self._scan() if isinstance(item, tuple)}

    def path(self, name: str) -> Path:
        """Where the package of this name lies, or would lie once installed."""
        return (self._bundled if name in self._bundled_names() else self.folder) / name

    def get(self, name: str) -> ModelPackage:
        """The installed or bundled package of this name.

        Raises:
            ModelError: there is none, or its card is not valid.
        """
        with self._steady():
            if name in self._installed_names() or name in self._bundled_names():
                return self._open(name)
        installed = ", ".join(package.card.name for package in self.packages()) or "none"
        if name in catalogue.offered():
            hint = f"Install it with: pancreasseg models install {name}"
        else:
            hint = f"Installed: {installed}. The command 'pancreasseg models list' shows what can be installed."
        raise ModelError("unknown-model", f'The model "{name}" is not installed.', hint)

    def best(
        self, roles: Sequence[str] | None = None, usable: Callable[[Card], bool] = lambda _card: True
    ) -> ModelPackage:
        """The package to use when nobody has named one.

        Models that saw CTs of people come before those trained on synthetic images. Among them the public models that
        the catalogue calls strong come first, then a person's own ones, then the bundled one, then the other public
        models; then the higher published DSC, then the larger ensemble.

        Args:
            roles: networks that it must have.
            usable: what else is asked of its card.

        Raises:
            ModelError: nothing installed is like that.
        """
        for package in self.packages():
            if set(roles or ()) <= {network.role for network in package.card.networks} and usable(package.card):
                return package
        wanted = f" with a {' and a '.join(roles)} network" if roles else ""
        raise ModelError(
            "no-model",
            f"No model{wanted} is installed.",
            "Install one, for example with: pancreasseg models install obelisk-hybrid",
        )

    def info(self, name: str) -> dict[str, Any]:
        """The card's facts and where the package lies, for people and programs."""
        package = self.get(name)
        card = package.card
        return {
            "name": card.name,
            "version": card.version,
            "synthetic": card.synthetic,
            "title": card.title,
            "description": card.description,
            "pipeline": card.pipeline,
            "networks": [
                {"role": n.role, "network": n.network, "members": len(n.members), "classes": list(n.classes)}
                for n in card.networks
            ],
            "carries_code": card.carries_code,
            "contrast_phase": card.contrast_phase,
            "intended_use": card.intended_use,
            "not_for": list(card.not_for),
            "training": card.training,
            "figures": [vars(figure) for figure in card.figures],
            "licence": card.licence,
            "citation": card.citation,
            "sha256": card.weights.sha256,
            "bytes": card.weights.size,
            "folder": str(package.folder),
            "bundled": package.bundled,
        }

    def verify(self, name: str) -> ModelPackage:
        """Hash the weights of a package and compare them with its card.

        Raises:
            ModelError: unknown or damaged.
        """

        def verified() -> ModelPackage:
            package = self.get(name)
            package.verify()
            return package

        return while_replaced(verified)

    def remove(self, name: str) -> None:
        """Delete an installed package, damaged ones too.

        Raises:
            ModelError: not installed, or bundled with the software.
            OutputError: the store cannot be written.
        """
        with self._steady():
            installed = name in self._installed_names()
        if not installed:
            bundled = name in self._bundled_names()
            what = "comes with the software and cannot be removed" if bundled else "is not installed"
            raise ModelError("not-removable", f'The model "{name}" {what}.')
        target = self.folder / name
        with self._changing(), output_errors(target):
            if target.is_symlink():
                target.unlink()  # what it leads to is somebody else's
                return
            with staged(self.folder) as stage:
                target.rename(stage.new / "removed")

    def install(
        self,
        source: str | Path | Sequence[str | Path],
        progress: Progress | None = None,
        choices: Choices | None = None,
    ) -> list[ModelPackage]:
        """Install from the catalogue or from this computer.

        Args:
            source: a name in the catalogue (downloaded, or taken from TotalSegmentator's own folder); a package folder
                or zip; a result folder of nnU-Net, or a zip of one; a published ``.pth`` file, several of them, or a
                folder or zip of them: every model of the catalogue that they suffice for is installed.
            progress: receives progress; cancel takes effect at once while downloading, and up to the moment in which
                a package takes its place.
            choices: what a model of nnU-Net does not say itself.

        Returns:
            The packages that were installed.

        Raises:
            ModelError: unknown or damaged source.
            OutputError: the store cannot be written.
            Cancelled: the person cancelled.
        """
        progress = progress or Progress()
        if not isinstance(source, (str, Path)):
            if len(source) > 1:
                return self._install_together([Path(file).expanduser() for file in source], progress)
            source = source[0]
        name = str(source)
        if name in catalogue.entries() and isinstance(source, str):
            return [self._download(catalogue.entry(name), progress)]
        if name in catalogue.results() and isinstance(source, str):
            return self._download_result(catalogue.entry(name), progress)
        path = Path(source).expanduser()
        if not path.exists():
            if isinstance(source, str) and not path.suffix and path.name == name:
                catalogue.entry(name)  # raises: it names what there is
            raise ModelError("no-source", f"There is no file or folder {path}.", "Check the path.")
        try:
            return self._install_path(path, progress, choices or Choices())
        except PermissionError as error:
            raise ModelError("not-readable", f"{path} cannot be read.", "Check its permissions.") from error

    def _install_path(self, path: Path, progress: Progress, choices: Choices) -> list[ModelPackage]:
        if path.is_file() and path.suffix.lower() == ".zip":
            if archive.holds_result(path):
                with staged(self.folder) as stage:
                    archive.unpack_result(path, stage.new, progress)
                    return [self._place(lambda folder: _convert_result(stage.new, folder, choices), progress)]
            if archive.holds_checkpoints(path):
                with staged(self.folder) as stage:
                    contents = convert.recognise(archive.unpack_checkpoints(path, stage.new, progress))
                return self._install_checkpoints(contents, progress)
            return [self._place(lambda folder: archive.unpack(path, folder, progress), progress, choices)]
        if path.is_file() and path.suffix.lower() in foreign.KINDS:
            return [self._place(lambda folder: _convert_file(path, folder, choices), progress, choices)]
        if path.is_file() and path.name == CARD_FILE:
            path = path.parent
        if path.is_dir() and (path / CARD_FILE).is_file():
            return [self._place(lambda folder: _copy(path, folder), progress, choices)]
        if path.is_dir() and find_results(path):
            return [self._place(lambda folder: _convert_result(path, folder, choices), progress)]
        if path.is_dir():
            checkpoints = sorted(p for p in path.iterdir() if p.suffix == convert.SUFFIX and p.is_file())
        else:
            checkpoints = [path] if path.suffix == convert.SUFFIX else []
        if not checkpoints:
            raise ModelError(
                "no-package",
                f"{path} is no model package and holds no published checkpoint.",
                "Choose a folder or zip with model.json and weights.safetensors, or published .pth files.",
            )
        return self._install_checkpoints(convert.recognise(checkpoints), progress)

    def _install_together(self, files: list[Path], progress: Progress) -> list[ModelPackage]:
        for file in files:
            if not file.is_file():
                raise ModelError("no-source", f"There is no file {file}.", "Check the path.")
            if file.suffix != convert.SUFFIX:
                raise ModelError(
                    "not-together",
                    f"{file.name} cannot be installed together with other files; only published .pth files can.",
                    "Install model packages one at a time.",
                )
        try:
            contents = convert.recognise(files)
        except PermissionError as error:
            raise ModelError("not-readable", "One of the files cannot be read.", "Check their permissions.") from error
        return self._install_checkpoints(contents, progress)

    def _install_checkpoints(self, contents: dict[str, bytes], progress: Progress) -> list[ModelPackage]:
        found = convert.complete_entries(contents)
        installed = []
        with progress.stage("Installing", len(found)):
            for entry in found:
                installed.append(self._convert(entry, contents, progress))
                progress.advance()
        return installed

    def _download(self, entry: catalogue.Entry, progress: Progress) -> ModelPackage:
        with progress.stage(f"Downloading {entry.title}", entry.download_bytes):
            files = {file.name: self._fetch(file, progress) for file in entry.files.values()}
        package = self._convert(entry, {name: path.read_bytes() for name, path in files.items()}, progress)
        for path in files.values():
            path.unlink(missing_ok=True)
        return package

    def _fetch(self, file: catalogue.PublicFile, progress: Progress) -> Path:
        # Python's modules for the network are for those who fetch something; every run has a store.
        from pancreasseg.models.download import download

        return download(file, self.home / _DOWNLOADS, progress)

    def _download_result(self, entry: catalogue.Entry, progress: Progress) -> list[ModelPackage]:
        """Take a published result folder from where TotalSegmentator keeps it on this computer, or fetch it.

        Where its authors state no SHA256, that of what came is kept in the card.
        """
        there = published.on_this_computer().get(entry.name)
        if there is not None:
            origin = f"{there.name}, found in TotalSegmentator's folder on this computer"
            return self._install_path(there, progress, Choices(name=entry.name, origin=origin))
        file = entry.files["archive"]
        with progress.stage(f"Downloading {entry.title}", max(entry.download_bytes, 1)):
            path = self._fetch(file, progress)
        origin = f"{file.url}, SHA256 {sha256_of(path)}"
        installed = self._install_path(path, progress, Choices(name=entry.name, origin=origin))
        path.unlink(missing_ok=True)
        return installed

    def _convert(self, entry: catalogue.Entry, contents: dict[str, bytes], progress: Progress) -> ModelPackage:
        def fill(folder: Path) -> None:
            convert.convert(entry, contents, folder)

        return self._place(fill, progress)

    def _place(self, fill: Callable[[Path], None], progress: Progress, choices: Choices | None = None) -> ModelPackage:
        """Let ``fill`` prepare a package in an empty folder, verify it, and put it where its name says."""
        with staged(self.folder) as stage:
            fresh = stage.new / "package"
            with output_errors(self.folder):
                fresh.mkdir()
            fill(fresh)
            package = ModelPackage(fresh)
            package.verify()
            if package.card.carries_code and not (choices and choices.trust):
                raise _carries_code(package)
            self._check(package)
            name = package.card.name
            if name in self._bundled_names():
                raise ModelError(
                    "bundled-model",
                    f'The model "{name}" comes with the software and is not replaced.',
                    "Give your package another name.",
                )
            with output_errors(self.folder):
                fresh.rename(stage.new / name)
                stage.sync()
            with self._changing():
                progress.check()  # the last moment to cancel
                stage.commit([name])
                return ModelPackage(self.folder / name)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Nobody else changes the store or lists it; what a killed process left half done is put right first."""
        with output_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / _LOCK):
                recover(self.folder)
                yield

    @contextmanager
    def _steady(self) -> Iterator[None]:
        """No package is between its old and its new version; looking works also where nothing may be written."""
        with ExitStack() as stack:
            if self.folder.is_dir() and os.access(self.folder, os.W_OK):
                with suppress(OutputError):
                    stack.enter_context(self._changing())
            yield

    def _installed_names(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        return sorted(p.name for p in self.folder.iterdir() if p.is_dir() and not p.name.startswith("."))

    def _bundled_names(self) -> list[str]:
        return sorted(card.parent.name for card in self._bundled.glob(f"*/{CARD_FILE}"))

    def _open(self, name: str) -> ModelPackage:
        path = self.path(name)
        package = ModelPackage(path, bundled=path.parent == self._bundled)
        if package.card.name != name:
            raise ModelError(
                "bad-card", f'The folder "{name}" of the store holds a model called "{package.card.name}".'
            )
        return package

    def _scan(self) -> list[ModelPackage | tuple[str, ModelError]]:
        found: list[ModelPackage | tuple[str, ModelError]] = []
        with self._steady():
            for name in dict.fromkeys([*self._bundled_names(), *self._installed_names()]):
                try:
                    found.append(self._open(name))
                except ModelError as error:
                    found.append((name, error))
        return found


def _rank(package: ModelPackage) -> tuple[bool, int, float, int, str]:
    """Sorts the better package first."""
    card = package.card
    public = catalogue.offered().get(card.name)
    if package.bundled:
        place = 2
    elif public is None:
        place = 1
    else:
        place = 0 if public.standing == "strong" else 3
    dsc = max((figure.value for figure in card.figures if figure.metric.upper() == "DSC"), default=0.0)
    return (card.synthetic, place, -dsc, -sum(len(network.members) for network in card.networks), card.name)


def _carries_code(package: ModelPackage) -> ModelError:
    return ModelError(
        "carries-code",
        f'The model "{package.card.name}" is TorchScript: it carries code, which would run on this computer with it.',
        "If you know who made it and want that, install it with --trust-code. ONNX files carry none.",
    )


def _convert_file(source: Path, folder: Path, choices: Choices) -> None:
    foreign.write_foreign(source, folder, choices)


def _convert_result(source: Path, folder: Path, choices: Choices) -> None:
    from pancreasseg.models.nnunet.package import write_result

    write_result(source, folder, choices)


def _copy(source: Path, folder: Path) -> None:
    package = ModelPackage(source)
    package.verify()
    with output_errors(folder):
        for path in (source / CARD_FILE, package.weights):
            shutil.copyfile(path, folder / path.name)
