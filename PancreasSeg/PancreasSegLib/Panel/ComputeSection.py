"""Advanced, Compute on: this computer, or a server; which one is told before any voxel goes there, and agreed to."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from pancreasseg.core.errors import PancreasSegError
from PancreasSegLib.Panel.Runner import Runner
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Situation import Situation
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.Widgets import Reasons, Ui, fill, select, showText
from PancreasSegLib.Work.Compute import HERE, Place

SERVER = "server"
KEY = "PancreasSeg/Compute/{name}"
AGREED_KEY = "PancreasSeg/Compute/Agreed"


class ComputeSection:
    """Changes where the worker runs.

    Args:
        ui: the widgets of the .ui file.
        session: shared by the sections.
        runner: asks the worker what it runs on.
    """

    def __init__(self, ui: Ui, session: Session, runner: Runner) -> None:
        self.ui = ui
        self.session = session
        self.runner = runner
        self._reasons = Reasons()
        fill(ui.computeSelector, [("", _("This computer")), (SERVER, _("A server"))], "")
        stored = self._stored()
        ui.serverAddressEdit.text = stored.address
        ui.serverTokenEdit.text = stored.token
        ui.serverAuthorityEdit.text = stored.authority
        if stored.remote and _setting("Chosen") == SERVER and stored.machine in self._agreed():
            self._use(stored)
        self._choice = SERVER if session.place.remote else ""
        self._message = ""
        ui.computeSelector.connect("currentIndexChanged(int)", self.onSelector)
        ui.serverConnectButton.connect("clicked(bool)", self.onConnect)
        runner.onDescribed.subscribe(self.onDescribed)

    @slot
    def onSelector(self, index: int) -> None:
        """This computer or a server was chosen; a server is used once it is described and agreed to."""
        self._choice = self.ui.computeSelector.itemData(index) or ""
        self._message = ""
        if not self._choice:
            _set("Chosen", "")
            if self.session.place.remote:
                self._use(HERE)
                self.runner.describe()
        self.session.changed()

    @slot
    def onConnect(self) -> None:
        """Use the server that is described, after asking once for each machine, and say whether it answers."""
        ui = self.ui
        place = Place.server(ui.serverAddressEdit.text, ui.serverTokenEdit.text, ui.serverAuthorityEdit.text)
        if not self._agree(place):
            self.say(_("Nothing is sent; computing stays on this computer."))
            return
        for name, value in (("Address", place.address), ("Token", place.token), ("Authority", place.authority)):
            _set(name, value)
        _set("Chosen", SERVER)
        self._use(place)
        self.say(_("Connecting to {host}.").format(host=place.host))
        self.runner.describe()

    @slot
    def onDescribed(self, answer: dict[str, Any] | PancreasSegError | None) -> None:
        """The worker has said what it runs on, or why it cannot be asked."""
        if self.session.place.remote and answer is not None:
            self.say(str(answer) if isinstance(answer, PancreasSegError) else self._connected(answer))

    def say(self, text: str) -> None:
        """A sentence for the person, in this section."""
        self._message = text
        self.session.changed()

    def show(self, situation: Situation) -> None:
        """Bring the widgets in line with the situation."""
        ui = self.ui
        select(ui.computeSelector, self._choice)
        ui.computeGroup.setVisible(self._choice == SERVER)
        for widget in (ui.computeSelector, ui.serverConnectButton):
            self._reasons.show(widget, situation.whyNotSample())
        showText(ui.serverMessage, self._message)

    def _agree(self, place: Place) -> bool:
        """Whether CTs may be sent to this machine; asked once for each."""
        agreed = self._agreed()
        if place.machine in agreed:
            return True
        question = _(
            "From now on PancreasSeg computes on {machine}. The voxels of every CT that you segment, and their grid, "
            "are sent to that machine; names, dates and identifiers are not. It deletes them after use.\n\n"
            "Send CTs to {machine}?"
        ).format(machine=place.machine)
        if not self.session.dialogs.confirm(question):
            return False
        qt.QSettings().setValue(AGREED_KEY, " ".join([*agreed, place.machine]))
        return True

    def _use(self, place: Place) -> None:
        """Have another worker from now on; the present one ends."""
        self.session.place = place
        self.session.serverModels = self.session.serverLocalizers = ()
        self.session.serverSegmenters = frozenset()
        self.session.workflow.changeClient(place.client(self.session.python))
        self.runner.onDescribed(None)

    def _connected(self, facts: dict[str, Any]) -> str:
        device = facts["device"]
        named = [(it["name"], f"{it['title']} {it['version']}") for it in facts["models"]]
        self.session.serverModels = tuple(named)
        can = {it["name"] for it in facts["models"] if it.get("localizes")}
        self.session.serverLocalizers = tuple(entry for entry in named if entry[0] in can)
        self.session.serverSegmenters = frozenset(it["name"] for it in facts["models"] if it.get("segments"))
        return _("{host} answers: {device}, {precision}, {memory}; models: {models}.").format(
            host=self.session.place.host,
            device=device["name"],
            precision=device["precision"],
            memory=device["memory"],
            models=", ".join(title for _name, title in self.session.serverModels) or _("none"),
        )

    @staticmethod
    def _stored() -> Place:
        """The server of the settings; none where somebody has spoilt them."""
        try:
            return Place.server(_setting("Address"), _setting("Token"), _setting("Authority"))
        except PancreasSegError:
            return HERE

    @staticmethod
    def _agreed() -> list[str]:
        return str(qt.QSettings().value(AGREED_KEY) or "").split()


def _setting(name: str) -> str:
    return str(qt.QSettings().value(KEY.format(name=name)) or "")


def _set(name: str, value: str) -> None:
    qt.QSettings().setValue(KEY.format(name=name), value)
