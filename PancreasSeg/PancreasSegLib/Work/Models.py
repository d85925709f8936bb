"""Model packages as the panel lists them. Loads no torch, and works without the packages that reading them needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pancreasseg import pipelines
from pancreasseg.core.errors import ModelError, PancreasSegError
from pancreasseg.core.setup import Setup
from pancreasseg.pipelines.parts import grouped, localizes

if TYPE_CHECKING:
    from pancreasseg.models.package import ModelPackage
    from pancreasseg.models.store import Store
    from pancreasseg.pipelines.parts import Cast

USABLE = ("installed", "outdated", "bundled")
STATES = (*USABLE, "available", "damaged")


@dataclass(frozen=True)
class ModelRow:
    """One model in the table.

    Attributes:
        name: what the store and the catalogue call it.
        state: one of `STATES`.
        title: for people.
        version: empty for models that are not installed.
        pipeline: what it is made for.
        megabytes: size of the download, for models that are available.
        host: where it would be downloaded from.
        card: its card as a dict; empty for a damaged one.
        trouble: what is wrong with a damaged one.
        offer: why it is recommended, as the catalogue says it; empty for one that is not.
        local: where TotalSegmentator keeps it on this computer; empty for one that would have to be downloaded.
        localizes: it is installed and can find the box for another model.
    """

    name: str
    state: str
    title: str
    version: str = ""
    pipeline: str = ""
    megabytes: float = 0.0
    host: str = ""
    card: dict = field(default_factory=dict)
    trouble: str = ""
    offer: dict = field(default_factory=dict)
    local: str = ""
    localizes: bool = False


class Models:
    """What is installed, what can be, and what the next run would use.

    The folder of the store is that of the environment variable PANCREASSEG_HOME, which the worker reads as well.
    """

    _known: dict[str, Cast | ModelError] | None = None  # who plays which role, or errors, by setup while `reading`

    @property
    def home(self) -> str:
        """Folder of the store."""
        if not self.readable:
            return os.environ.get("PANCREASSEG_HOME", "")
        return str(self._store().home)

    @home.setter
    def home(self, folder: str) -> None:
        os.environ["PANCREASSEG_HOME"] = folder

    @property
    def readable(self) -> bool:
        """True when the packages that reading models needs are installed."""
        from PancreasSegLib.Work import Dependencies  # whose texts need the application; `marginOf` works without it

        return "safetensors" not in Dependencies.missing()

    def rows(self) -> list[ModelRow]:
        """All models: installed ones best first, then damaged ones, then the catalogue's, recommended first."""
        from pancreasseg.models import catalogue
        from pancreasseg.models.nnunet.published import on_this_computer

        rows = []
        if self.readable:
            store = self._store()
            for package in store.packages():
                card = package.card
                facts = store.info(card.name)
                rows.append(
                    ModelRow(
                        card.name,
                        _stateOf(package),
                        card.title,
                        card.version,
                        card.pipeline,
                        *_download(card.name),
                        facts,
                        localizes=localizes(card),
                    )
                )
            rows += [ModelRow(name, "damaged", name, trouble=error.message) for name, error in store.damaged().items()]
        present = {row.name for row in rows}
        local = on_this_computer()
        for entry in sorted(catalogue.offered().values(), key=lambda entry: not entry.offer):  # the recommended first
            if entry.name not in present:
                pipeline = entry.card.get("pipeline", "")
                megabytes, hosts = _download(entry.name)
                rows.append(
                    ModelRow(
                        entry.name,
                        "available",
                        entry.title,
                        pipeline=pipeline,
                        megabytes=megabytes,
                        host=hosts,
                        card=dict(entry.card),
                        offer=dict(entry.offer or {}),
                        local=str(local.get(entry.name, "")),
                    )
                )
        return rows

    def chosen(self, setup: Setup) -> ModelPackage:
        """The package whose card counts in a run: the segmenter's, where several play a role.

        Raises:
            ModelError: nothing installed fits.
        """
        return self.cast(setup).lead

    def cast(self, setup: Setup) -> Cast:
        """Which package would play which role in a run.

        Raises:
            ModelError: nothing installed fits.
        """
        if self._known is None:
            return pipelines.cast(setup, self._store())
        key = repr(setup)
        if key not in self._known:
            try:
                self._known[key] = pipelines.cast(setup, self._store())
            except ModelError as error:
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, ModelError):
            raise known
        return known

    def used(self, setup: Setup) -> set[str]:
        """The names of all models that a run would use; none where no run could start."""
        if not self.readable:
            return set()
        try:
            return {package.card.name for package in self.cast(setup).packages}
        except ModelError:
            return set()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Look on disk once for each setup; meanwhile nothing is installed or removed."""
        self._known = {}
        try:
            yield
        finally:
            self._known = None

    def refusal(self, setup: Setup) -> str:
        """Why no run could start, in a sentence; empty when one could."""
        if not self.readable:
            return ""  # the missing packages are spoken of elsewhere
        try:
            self.cast(setup)
        except ModelError as error:
            from PancreasSegLib.Work.Sentences import sentenceOf

            return sentenceOf(error)
        return ""

    def gone(self, setup: Setup) -> list[str]:
        """The models that are named and not installed here: in a scene of another computer, or they were removed."""
        if not self.readable or setup.model is None:
            return []
        try:
            self.cast(setup)
        except ModelError as error:
            return self._absent(setup.model) if error.code == "unknown-model" else []
        return []

    def _absent(self, model: str) -> list[str]:
        names, others = grouped(model)
        there = {package.card.name for package in self._store().packages()}
        return [name for name in (*names, *others) if name and name not in there]

    def whyNotVote(self, setup: Setup, name: str) -> str:
        """Why a model cannot vote with the one that is chosen, in a sentence; empty when it can."""
        return self.refusal(replace(setup, model=f"{setup.alone.model or ''},{name}"))

    def usesLocalizer(self, setup: Setup) -> bool:
        """Whether another model could find the box for this one."""
        try:
            cast = self.cast(setup)
        except (ModelError, ImportError):  # the run will say why there can be none
            return True
        boxed = any(network.role == "segmenter" for network in cast.lead.card.networks)
        return "localizer" in cast.declaration.roles or (boxed and setup.pipeline is None)

    def isSynthetic(self, setup: Setup) -> bool:
        """True when a run would use a model that has seen synthetic images only."""
        if not self.readable:
            return False
        try:
            cast = self.cast(setup)
        except ModelError:
            return False
        return any(package.card.synthetic for package in cast.segmenters)

    def forPatients(self) -> ModelRow | None:
        """The best model that has seen CTs of people: one that is installed, else one that can be downloaded."""
        real = [row for row in self.rows() if row.card and not row.card.get("synthetic")]
        installed = [row for row in real if row.state in USABLE]
        recommended = [row for row in real if row.offer]
        return next(iter([*installed, *recommended, *real]), None)

    def pipelineOf(self, setup: Setup) -> str:
        """The pipeline that a run would use; empty when none could start."""
        if setup.pipeline or not self.readable:
            return setup.pipeline or ""
        try:
            return self.cast(setup).declaration.name
        except ModelError:
            return ""

    def marginOf(self, setup: Setup) -> float | None:
        """`marginOf`, also while the packages are missing that reading models needs."""
        return _marginOf(setup, self.cast) if self.readable else _declaredMargin(setup.pipeline)

    @staticmethod
    def speeds(pipeline: str) -> tuple[str, str]:
        """The accurate and the fast pipeline between which a person can choose; those of ``pipeline`` if it has two."""
        pairs = [(each.name, each.faster) for each in pipelines.declarations().values() if each.faster]
        return next((pair for pair in pairs if pipeline in pair), pairs[0])

    def verify(self, name: str) -> str:
        """What is wrong with an installed model; empty when its files are whole and unchanged."""
        try:
            self._store().verify(name)
        except PancreasSegError as error:
            return str(error)
        return ""

    def remove(self, name: str) -> None:
        """Delete an installed model.

        Raises:
            PancreasSegError: it cannot be deleted.
        """
        self._store().remove(name)

    def _store(self) -> Store:
        from pancreasseg.models.store import Store

        return Store()


def _stateOf(package: ModelPackage) -> str:
    """The state of a package in the store: outdated where the catalogue has another version of it."""
    from pancreasseg.models import catalogue

    if package.bundled:
        return "bundled"
    entry = catalogue.offered().get(package.card.name)
    newer = entry is not None and str(entry.card.get("version", package.card.version)) != package.card.version
    return "outdated" if newer else "installed"


def _download(name: str) -> tuple[float, str]:
    """Megabytes and hosts of a model's download; 0 and no host where the catalogue has none of this name."""
    from pancreasseg.models import catalogue

    entry = catalogue.offered().get(name)
    if entry is None:
        return 0.0, ""
    return entry.download_bytes / 1e6, ", ".join(entry.hosts)


def marginOf(setup: Setup) -> float | None:
    """The margin in mm that a run leaves around what was found; None where it has no such thing."""
    return _marginOf(setup, pipelines.cast)


def _marginOf(setup: Setup, cast: Callable[[Setup], Cast]) -> float | None:
    try:
        found = cast(setup)
    except (ModelError, ImportError):  # the run will say why there can be none, or a server has what is missing here
        return _declaredMargin(setup.pipeline)
    card, declared = found.lead.card, found.declaration.margin_mm
    own = card.options if card.pipeline == found.declaration.name else {}
    return declared if declared is None else float(own.get("margin_mm", declared))


def hasOption(setup: Setup, option: str) -> bool:
    """True where the pipeline that a run would use has a setting of this name."""
    try:
        name = setup.pipeline or pipelines.cast(setup).declaration.name
    except (ModelError, ImportError):
        return False  # as above
    declaration = pipelines.declarations().get(name)
    return declaration is not None and option in declaration.defaults


def _declaredMargin(pipeline: str | None) -> float | None:
    """The margin of a pipeline where the model's card says no other."""
    declaration = pipelines.declarations().get(pipeline or "")
    return None if declaration is None else declaration.margin_mm
