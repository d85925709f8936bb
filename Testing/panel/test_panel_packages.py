"""First run on a bare Slicer: what is missing is installed at the point of use, after one question."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import slicer
from Testing.helpers.panel import wait

from pancreasseg.core.errors import RunError
from PancreasSegLib.Panel.Widgets import Quiet
from PancreasSegLib.Work import Dependencies


@pytest.fixture
def bare(monkeypatch):
    """A Python without the packages named in the set; installing removes them from it."""
    absent = {"torch", "safetensors", "scikit-image"}
    original = importlib.metadata.version

    def version(name: str) -> str:
        if name in absent:
            raise importlib.metadata.PackageNotFoundError(name)
        return original(name)

    monkeypatch.setattr(Dependencies, "found", set())
    monkeypatch.setattr(Dependencies, "asked", {})
    monkeypatch.setattr(importlib.metadata, "version", version)
    return absent


@pytest.fixture
def torchExtension(monkeypatch, bare):
    """The PyTorch extension's module."""
    calls = []

    class PyTorchUtilsLogic:
        succeeds = True
        importable = True

        def installTorch(self, askConfirmation=True, forceComputationBackend=None, torchVersionRequirement=None):
            calls.append((askConfirmation, torchVersionRequirement))
            if not self.succeeds:
                raise subprocess.CalledProcessError(1, ["light-the-torch", "install", "torch"])
            bare.discard("torch")
            if not self.importable:
                raise ImportError("libiomp5.so: cannot open shared object file")
            return SimpleNamespace(__version__="2.13.0")

    module = ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    module.calls = calls
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    return module


@pytest.fixture
def packaging(monkeypatch, bare):
    """slicer.packaging of 5.12: installs in the background, tells line by line; waits and tells nobody when testing."""
    module = ModuleType("slicer.packaging")
    module.calls = []
    module.testing = module.busy = False
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: module.testing)

    def pip_install(requirements, constraints=None, **options):
        module.calls.append((list(requirements), Path(constraints).read_text(encoding="utf-8"), options))
        if module.busy:
            raise RuntimeError("A non-blocking pip_install is already in progress.")
        if module.testing:
            bare.clear()
            return
        module.log, module.completed = options["logCallback"], options["completedCallback"]

    def succeed() -> None:
        module.log("Successfully installed\n")
        bare.clear()
        module.completed(0)

    module.pip_install, module.succeed = pip_install, succeed
    monkeypatch.setitem(sys.modules, "slicer.packaging", module)
    monkeypatch.setattr(slicer, "packaging", module, raising=False)
    return module


def test_what_is_missing_is_found_without_importing_it(bare) -> None:
    assert Dependencies.missing() == ("torch", "safetensors", "scikit-image")
    bare.clear()
    assert Dependencies.missing() == ()


def test_an_old_version_counts_as_missing(monkeypatch) -> None:
    monkeypatch.setattr(Dependencies, "found", set())
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.4.5" if name == "safetensors" else "99.0+cpu")
    assert Dependencies.missing() == ("safetensors",)


def test_the_requirements_are_lower_bounds_only() -> None:
    assert set(Dependencies.requirements()) == {"safetensors", "scikit-image"}
    lines = Dependencies.REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("#") or ">=" in line for line in lines)


def test_one_question_then_everything_is_installed_and_the_run_starts(
    panel, ui, client, dialogs, selected, bare, torchExtension, packaging
) -> None:
    panel.refresh()
    assert ui.segmentButton.enabled, "a click offers to install"
    assert "Python packages are missing" in ui.statusLabel.text
    ui.segmentButton.click()
    assert len(dialogs.asked) == 1
    assert all(word in dialogs.asked[0] for word in ("torch", "safetensors", "scikit-image", "pypi.org"))
    assert torchExtension.calls == [(False, ">=2.4")]
    assert not ui.advancedSection.collapsed, "the log is in view"
    assert client.requests == []
    packaging.succeed()
    wait(lambda: client.requests and not panel.session.busy)
    assert "Successfully installed" in ui.dependenciesLog.plainText
    assert ui.dependenciesLabel.text == "All packages are installed."


def test_nothing_that_is_installed_is_replaced(panel, ui, selected, bare, torchExtension, packaging) -> None:
    ui.segmentButton.click()
    ((requirements, pins, options),) = packaging.calls
    assert requirements == ["--only-binary", ":all:", "safetensors>=0.5", "scikit-image>=0.24"]
    for name in ("numpy", "SimpleITK", "pydicom"):
        assert f"{name.lower()}=={importlib.metadata.version(name)}" in pins.lower().splitlines()
    assert "safetensors" not in pins
    assert options["blocking"] is False


def test_declining_leaves_the_panel_usable_and_says_what_to_do(
    panel, ui, dialogs, selected, bare, torchExtension, packaging
) -> None:
    dialogs.agree = False
    ui.segmentButton.click()
    assert "can be installed later under Advanced" in ui.segmentMessage.text
    assert packaging.calls == torchExtension.calls == []
    assert ui.segmentButton.enabled
    assert ui.dependenciesButton.enabled
    assert ui.dependenciesLabel.text == "Missing: torch, safetensors, scikit-image."


class ExtensionsManager:
    """Slicer's manager of extensions."""

    def __init__(self, *, reachable: bool) -> None:
        self.interactive = True
        self.reachable = reachable
        self.asked: list[tuple] = []

    def isExtensionInstalled(self, name: str) -> bool:
        return False

    def installExtensionFromServer(self, name: str, restart: bool) -> bool:
        self.asked.append((name, restart, self.interactive))
        return self.reachable


@pytest.fixture
def manager(monkeypatch, bare, packaging):
    """A Slicer without the PyTorch extension, and with a server that has it."""
    manager = ExtensionsManager(reachable=True)
    monkeypatch.setattr(slicer.app, "extensionsManagerModel", lambda: manager, raising=False)
    return manager


@pytest.fixture
def restarts(monkeypatch):
    restarted = []
    monkeypatch.setattr(slicer.util, "restart", lambda: restarted.append(1))
    return restarted


def test_the_pytorch_extension_is_installed_from_the_panel_and_slicer_restarts(
    panel, ui, dialogs, manager, restarts
) -> None:
    panel.refresh()
    ui.dependenciesButton.click()
    assert manager.asked == [("PyTorch", False, False)], "without popups of its own"
    assert manager.interactive
    assert "Slicer's own server" in dialogs.asked[0]
    assert "Restart Slicer now?" in dialogs.asked[1]
    assert restarts == [1]


def test_slicer_does_not_restart_over_unsaved_work(panel, ui, dialogs, selected, manager, restarts) -> None:
    ui.segmentButton.click()
    assert len(dialogs.asked) == 1
    assert restarts == []
    assert ui.segmentMessage.text.endswith("Save the scene first.")


@pytest.mark.parametrize("kind", ["not reachable", "no manager"])
def test_an_extension_that_cannot_be_had_is_a_sentence_that_says_how_to_get_it(
    panel, ui, selected, manager, restarts, kind, monkeypatch
) -> None:
    manager.reachable = False
    if kind == "no manager":
        monkeypatch.delattr(slicer.app, "extensionsManagerModel")
    ui.segmentButton.click()
    assert ui.segmentMessage.text.startswith("The extension PyTorch is not installed")
    assert "Extensions Manager" in ui.segmentMessage.text
    assert ui.segmentButton.enabled
    assert restarts == []


def test_torch_that_cannot_be_installed_is_a_sentence_and_the_log_says_why(
    panel, ui, selected, bare, torchExtension, packaging
) -> None:
    """The extension raises what pip's process ended with; its output goes to the Python console."""
    torchExtension.PyTorchUtilsLogic.succeeds = False
    ui.segmentButton.click()
    assert ui.segmentMessage.text.startswith("PyTorch could not be installed.")
    assert "Python console" in ui.segmentMessage.text
    assert "proxy" in ui.segmentMessage.text
    assert "light-the-torch" in ui.dependenciesLog.plainText
    assert packaging.calls == []


def test_torch_that_slicer_itself_cannot_import_is_good_enough_for_the_worker(
    panel, ui, selected, bare, torchExtension, packaging
) -> None:
    torchExtension.PyTorchUtilsLogic.importable = False
    ui.segmentButton.click()
    assert len(packaging.calls) == 1, "the rest is installed as well"


def test_after_an_installation_models_folder_and_device_are_shown(
    panel, ui, client, bare, torchExtension, packaging
) -> None:
    with Quiet(ui.modelFolder):
        ui.modelFolder.setCurrentPath("")  # as at a start without the packages
    panel.models.list()
    assert ui.modelSelector.count == 1
    ui.dependenciesButton.click()
    packaging.succeed()
    wait(lambda: "Fake device" in ui.statusLabel.text)
    assert ("hello", None) in client.requests
    assert ui.modelSelector.count > 1
    assert ui.modelFolder.currentPath == panel.session.models.home != ""


def test_on_an_intel_mac_it_is_said_before_anything_is_downloaded(
    panel, ui, dialogs, selected, bare, torchExtension, packaging, monkeypatch
) -> None:
    monkeypatch.setattr(Dependencies, "sys", SimpleNamespace(platform="darwin"))
    monkeypatch.setattr(Dependencies, "platform", SimpleNamespace(machine=lambda: "x86_64"))
    ui.segmentButton.click()
    assert dialogs.asked == torchExtension.calls == packaging.calls == []
    assert "Intel" in ui.segmentMessage.text
    assert "Apple silicon" in ui.segmentMessage.text
    assert not ui.dependenciesButton.enabled
    monkeypatch.setattr(Dependencies, "platform", SimpleNamespace(machine=lambda: "arm64"))
    ui.segmentButton.click()
    assert len(dialogs.asked) == 1


def test_a_package_that_only_one_thing_needs_is_offered_when_that_is_wanted(
    panel, ui, dialogs, client, bare, packaging
) -> None:
    """DICOM SEG needs highdicom, which Slicer 5.12 has."""
    bare.clear()
    bare.add("highdicom")
    assert Dependencies.missing() == Dependencies.wanted() == ()
    done = []
    error = RunError(
        "package-missing",
        "Writing DICOM SEG needs the Python package highdicom, which is not installed.",
        "Install it for the Python that runs PancreasSeg, e.g. with: pip install highdicom",
    )
    assert panel.session.sentence(error) == (
        "Writing DICOM SEG needs the Python package highdicom, which is not installed. "
        "Install what is missing under Advanced, Python packages."
    )
    dialogs.agree = False
    assert panel.session.offerPackage(error, lambda: done.append(1))
    assert ui.dependenciesLabel.text == "Missing: highdicom."
    assert ui.dependenciesButton.enabled
    dialogs.agree = True
    assert panel.session.offerPackage(error, lambda: done.append(1))
    assert packaging.calls[0][0][-1] == "highdicom>=0.22"
    packaging.succeed()
    assert done == [1]
    assert not panel.session.offerPackage(RunError("disk-full", "The disk is full."), lambda: done.append(2))


def test_a_package_that_the_models_run_lacks_is_offered_and_the_run_goes_on_with_it(
    panel, ui, client, dialogs, selected, bare, packaging
) -> None:
    bare.clear()
    bare.add("onnxruntime")
    client.fail["segment"] = RunError(
        "package-missing",
        "The Python package onnxruntime is not installed, which ONNX models need.",
        "Install it for the Python that runs PancreasSeg: pip install onnxruntime",
    )
    ui.segmentButton.click()
    wait(lambda: dialogs.asked)
    assert "onnxruntime" in dialogs.asked[0]
    assert packaging.calls[0][0][-1] == "onnxruntime>=1.20"
    packaging.succeed()
    wait(lambda: panel.settled and panel.session.parameters.hasSegment())
    assert "pip" not in ui.segmentMessage.text


def test_pip_that_fails_is_a_sentence_and_the_log_says_why(
    panel, ui, client, selected, bare, torchExtension, packaging
) -> None:
    ui.segmentButton.click()
    packaging.log("ERROR: No matching distribution")
    packaging.completed(1)
    assert "could not be installed: safetensors, scikit-image" in ui.segmentMessage.text
    assert "No matching distribution" in ui.dependenciesLog.plainText
    assert client.requests == []
    ui.segmentButton.click()
    packaging.succeed()
    wait(lambda: client.requests and not panel.session.busy)


def test_when_slicer_is_being_tested_the_installation_ends_too(
    panel, ui, client, selected, bare, torchExtension, packaging
) -> None:
    packaging.testing = True
    ui.segmentButton.click()
    wait(lambda: client.requests and not panel.session.busy)
    assert ui.dependenciesLabel.text == "All packages are installed."


def test_while_another_extension_installs_a_sentence_says_so(
    panel, ui, selected, bare, torchExtension, packaging
) -> None:
    packaging.busy = True
    ui.segmentButton.click()
    assert "another extension" in ui.segmentMessage.text
    assert ui.segmentButton.enabled
    packaging.busy = False
    ui.segmentButton.click()
    assert len(packaging.calls) == 2


def test_a_second_click_while_installing_does_not_install_twice(
    panel, ui, dialogs, selected, bare, torchExtension, packaging
) -> None:
    ui.segmentButton.click()
    ui.segmentButton.click()
    assert len(packaging.calls) == len(dialogs.asked) == 1
    assert "being installed" in ui.segmentMessage.text
    assert "being installed" in ui.dependenciesButton.toolTip


def test_models_are_listed_without_the_packages_that_reading_them_needs(panel, ui, bare) -> None:
    panel.models.list()
    assert {row.state for row in panel.models.rows} == {"available"}
    assert "safetensors" in ui.installFileButton.toolTip
    assert not ui.installFileButton.enabled
    assert not ui.installFolderButton.enabled


def test_with_everything_there_nothing_is_offered(panel, ui) -> None:
    assert ui.dependenciesLabel.text == "All packages are installed."
    assert ui.dependenciesButton.toolTip == "All packages are installed."
    assert not ui.dependenciesButton.enabled


def test_a_worker_without_its_packages_ends_in_the_same_sentence(panel, ui, client, selected) -> None:
    client.fail["load"] = RunError("package-missing", "The Python package torch is not installed.", "Install it.")
    ui.segmentButton.click()
    wait(lambda: not panel.session.busy)
    assert ui.segmentMessage.text == (
        "The Python package torch is not installed. Install what is missing under Advanced, Python packages."
    )
