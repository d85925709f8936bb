"""Python packages that Slicer does not bring along: which are missing, and how they are installed."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import logging
import platform
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from pancreasseg.core.errors import PancreasSegError, RunError

TORCH = "torch"
TORCH_VERSION = ">=2.4"
TORCH_EXTENSION = "PyTorch"

# Needed for one thing only: DICOM SEG where Slicer lost what it brings along, and models in ONNX files.
OPTIONAL = {"highdicom": "0.22", "onnxruntime": "1.20"}
REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"

#: What was there when it was looked for, and the optional packages that a person has asked for.
found: set[str] = set()
asked: dict[str, None] = {}


@functools.cache
def requirements() -> dict[str, str]:
    """What is needed beside torch: name -> lowest version."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    matches = (re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", line.strip()) for line in lines)
    return {match.group(1): match.group(2) for match in matches if match}


def missing() -> tuple[str, ...]:
    """Names of the packages that are not installed or too old; nothing is imported to find out.

    What was there once is not looked for again, because this is asked at every change of a button.
    """
    return _absent({TORCH: TORCH_VERSION.removeprefix(">="), **requirements()})


def wanted() -> tuple[str, ...]:
    """Those that are missing, first of all `missing`, then what a person has asked for with `want`."""
    return (*missing(), *_absent({name: OPTIONAL[name] for name in asked}))


def want(error: PancreasSegError) -> str:
    """Count an optional package among those to install because of the error that it is not there; its name, or ""."""
    if error.code != "package-missing":
        return ""
    name = next((name for name in OPTIONAL if name in error.message), "")
    if name:
        asked[name] = None
    return name


def impossible() -> str:
    """Why what is missing can never be installed here, in a sentence; empty when it can."""
    if TORCH in missing() and sys.platform == "darwin" and platform.machine() == "x86_64":
        return _(
            "PyTorch {version} cannot be had for this Slicer: it is built for Intel processors, and the last PyTorch "
            "for those on a Mac is 2.2. On a Mac with an Apple processor install the Slicer for Apple silicon; on an "
            "Intel Mac PancreasSeg cannot segment."
        ).format(version=TORCH_VERSION)
    return ""


def _absent(needed: dict[str, str]) -> tuple[str, ...]:
    found.update(name for name, lowest in needed.items() if name not in found and _isInstalled(name, lowest))
    return tuple(name for name in needed if name not in found)


def _isInstalled(name: str, lowest: str) -> bool:
    try:
        present = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return _numbers(present) >= _numbers(lowest)


def _numbers(version: str) -> list[int]:
    """The release of a version as numbers: "2.13.0+cpu" is [2, 13, 0]."""
    return [int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3]]


@dataclass(frozen=True)
class Callbacks:
    """Whom an installation tells.

    Attributes:
        log: called with each line.
        done: called at the end with a sentence about what went wrong; empty when all is well.
    """

    log: Callable[[str], None]
    done: Callable[[str], None]


def install(callbacks: Callbacks) -> None:
    """Install what is missing; torch through the PyTorch extension, the rest by pip.

    Returns at once; Slicer installs in the background. What is installed already, first of all what comes with Slicer,
    is pinned to its present version: pip refuses rather than replace it.

    Raises:
        RestartNeeded: the PyTorch extension was installed and works once Slicer has been started again.
        RunError: the PyTorch extension could not be installed, or it could not install torch.
    """
    absent = wanted()
    if TORCH in absent:
        _installTorch(callbacks)
    needed = {**requirements(), **OPTIONAL}
    names = [f"{name}>={needed[name]}" for name in absent if name != TORCH]
    if not names:
        callbacks.done("")
        return
    import slicer.packaging

    pins = _pins(set(absent))

    def completed(code: int) -> None:
        pins.unlink(missing_ok=True)
        callbacks.done(_verdict(code))

    try:
        slicer.packaging.pip_install(
            ["--only-binary", ":all:", *names],
            constraints=pins,
            blocking=False,
            show_progress=False,
            requester="PancreasSeg",
            logCallback=callbacks.log,
            completedCallback=completed,
        )
    except Exception as error:
        pins.unlink(missing_ok=True)
        callbacks.log(str(error))
        raise RunError(
            "packages-not-installed",
            _("The Python packages could not be installed."),
            _("Perhaps another extension is installing some at this moment; wait for its end and click again."),
        ) from error
    if slicer.app.testingEnabled():
        completed(0)  # there it waits, and calls nobody back


class RestartNeeded(RunError):
    """Slicer has to be started again before the installation can go on."""


def _installTorch(callbacks: Callbacks) -> None:
    try:
        import PyTorchUtils
    except ImportError:
        _installExtension(callbacks)
        raise RestartNeeded(
            "restart-needed",
            _("The extension PyTorch is installed and works once Slicer has been started again."),
            _("Then click again to install PyTorch itself."),
        ) from None
    callbacks.log(_("Installing PyTorch; this can take some minutes."))
    trouble = ""
    try:
        logic = PyTorchUtils.PyTorchUtilsLogic()
        logic.installTorch(askConfirmation=False, torchVersionRequirement=TORCH_VERSION)
    except Exception as error:  # pip's exit code, or an import of torch that Slicer's other libraries spoil
        logging.exception("PancreasSeg: PyTorch could not be installed")
        trouble = str(error)
    importlib.invalidate_caches()
    if TORCH in missing():
        callbacks.log(trouble or _("The PyTorch extension installed nothing."))
        raise RunError(
            "torch-not-installed",
            _("PyTorch could not be installed."),
            _(
                "The Python console (menu View) shows what pip said. Behind a proxy set HTTPS_PROXY before Slicer "
                "starts; or install PyTorch in the module PyTorch Utils, and click again."
            ),
        )


def _installExtension(callbacks: Callbacks) -> None:
    """Install the PyTorch extension as its page in the Extensions Manager does."""
    import slicer

    try:
        manager = slicer.app.extensionsManagerModel()
        installed = manager.isExtensionInstalled(TORCH_EXTENSION)
        if not installed:
            callbacks.log(_("Installing the extension PyTorch."))
            interactive, manager.interactive = manager.interactive, False  # the person has agreed already
            try:
                installed = manager.installExtensionFromServer(TORCH_EXTENSION, False)
            finally:
                manager.interactive = interactive
    except Exception:  # a Slicer that was built without extensions has no such manager
        logging.exception("PancreasSeg: the extension PyTorch could not be installed")
        installed = False
    if not installed:
        raise RunError(
            "pytorch-extension-missing",
            _("The extension PyTorch is not installed, and could not be installed from here."),
            _("Install it in the Extensions Manager, restart Slicer, and click again."),
        )


def _pins(free: set[str]) -> Path:
    """A constraints file with every installed package at its present version, but for those in ``free``."""
    lines = sorted(
        f"{distribution.metadata['Name']}=={distribution.version}"
        for distribution in importlib.metadata.distributions()
        if distribution.metadata["Name"] and distribution.metadata["Name"].lower() not in free
    )
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write("\n".join(dict.fromkeys(lines)) + "\n")
    return Path(file.name)


def _verdict(code: int) -> str:
    importlib.invalidate_caches()
    left = wanted()
    if code == 0 and not left:
        return ""
    names = ", ".join(left) or _("all")
    return _("Some packages could not be installed: {names}. The log says why.").format(names=names)
