"""Advanced, Vote together: the models with check marks; those that are checked are asked together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import qt
from slicer.i18n import tr as _

from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.Widgets import ROW_PIXELS, Quiet

ROWS = 4  # more of them scroll


@dataclass(frozen=True)
class Voter:
    """A model in the list.

    Attributes:
        name: what the store calls it.
        title: for people.
        asked: it is asked in the next run.
        refusal: why it cannot be checked or unchecked; empty when it can.
    """

    name: str
    title: str
    asked: bool
    refusal: str


class VotersList:
    """Args: the list of the .ui file, what to call when a check mark has changed, and where to say a mistake."""

    def __init__(self, widget: qt.QListWidget, onChanged: Callable[[], None], say: Callable[[str], None]) -> None:
        self.widget = widget
        self.onChanged = onChanged
        self.say = say
        self._voters: Sequence[Voter] = ()
        widget.connect("itemChanged(QListWidgetItem*)", self.onItem)
        self._fit()

    @property
    def checked(self) -> list[str]:
        """The names of those that a person can check and has checked, in the order of the list."""
        items = [(self.widget.item(number), voter) for number, voter in enumerate(self._voters)]
        return [voter.name for item, voter in items if item.checkState() == qt.Qt.Checked and not voter.refusal]

    @slot
    def onItem(self) -> None:
        """A person has clicked on a check mark."""
        self.onChanged()

    def show(self, voters: Sequence[Voter]) -> None:
        """Bring the list in line; items stay while it shows the same models, as one of them may have been clicked."""
        with Quiet(self.widget):
            if [voter.title for voter in voters] != [voter.title for voter in self._voters]:
                self.widget.clear()
                for voter in voters:
                    self.widget.addItem(voter.title)
            self._voters = voters
            for number, voter in enumerate(voters):
                item = self.widget.item(number)
                item.setSizeHint(qt.QSize(0, ROW_PIXELS))
                free = qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable
                item.setFlags(qt.Qt.NoItemFlags if voter.refusal else free)
                item.setCheckState(qt.Qt.Checked if voter.asked else qt.Qt.Unchecked)
                item.setToolTip(voter.refusal or _("Ask '{name}' too.").format(name=voter.name))
        self._fit()

    def _fit(self) -> None:
        """As high as its rows are."""
        rows = min(max(len(self._voters), 1), ROWS)
        self.widget.minimumHeight = self.widget.maximumHeight = rows * ROW_PIXELS + 2 * self.widget.frameWidth
