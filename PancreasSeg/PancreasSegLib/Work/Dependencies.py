"""Python packages that Slicer does not bring along: which are missing, and how they are installed."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from pancreasseg.core.errors import RunError

TORCH = "torch"
TORCH_VERSION = ">=2.4"
_REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"


@functools.cache
def requirements() -> dict[str, str]:
    """What is needed beside torch: name -> lowest version."""
    lines = _REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    found = (re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", line.strip()) for line in lines)
    return {match.group(1): match.group(2) for match in found if match}


def missing() -> tuple[str, ...]:
    """Names of the packages that are not installed or too old; nothing is imported to find out.

    What was there once is not looked for again, because this is asked at every change of a button.
    """
    needed = {TORCH: TORCH_VERSION.removeprefix(">="), **requirements()}
    _present.update(name for name, lowest in needed.items() if name not in _present and _isInstalled(name, lowest))
    return tuple(name for name in needed if name not in _present)


_present: set[str] = set()


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

    Returns at once where Slicer can install in the background (5.12), else when it is done. What is installed already,
    first of all what comes with Slicer, is pinned to its present version: pip refuses rather than replace it.

    Raises:
        RunError: the PyTorch extension is missing, or it could not install torch.
    """
    absent = missing()
    if TORCH in absent:
        _installTorch(callbacks)
    needed = requirements()
    wanted = [f"{name}>={needed[name]}" for name in absent if name != TORCH]
    if not wanted:
        callbacks.done("")
        return
    pins = _pins(set(absent))
    try:
        import slicer.packaging
    except ImportError:
        _installBlocking(wanted, pins, callbacks)
        return

    def completed(code):
        pins.unlink(missing_ok=True)
        callbacks.done(_verdict(code))

    slicer.packaging.pip_install(
        ["--only-binary", ":all:", *wanted],
        constraints=pins,
        blocking=False,
        show_progress=False,
        requester="PancreasSeg",
        logCallback=callbacks.log,
        completedCallback=completed,
    )


def _installTorch(callbacks: Callbacks) -> None:
    try:
        import PyTorchUtils
    except ImportError as error:
        raise RunError(
            "pytorch-extension-missing",
            _("The extension PyTorch is not installed."),
            _("Install it in the Extensions Manager, restart Slicer, and click again."),
        ) from error
    callbacks.log(_("Installing PyTorch; this can take some minutes."))
    logic = PyTorchUtils.PyTorchUtilsLogic()
    if logic.installTorch(askConfirmation=False, torchVersionRequirement=TORCH_VERSION) is None:
        raise RunError(
            "torch-not-installed",
            _("PyTorch could not be installed."),
            _("Open the module PyTorch Utils, install PyTorch there, and click again."),
        )


def _installBlocking(wanted: list[str], pins: Path, callbacks: Callbacks) -> None:
    """Slicer 5.10: one call that returns when pip has ended."""
    import slicer.util

    callbacks.log("pip install " + " ".join(wanted))
    try:
        slicer.util.pip_install(["--only-binary", ":all:", "-c", str(pins), *wanted])
    except Exception as error:  # whatever pip's process ended with
        callbacks.log(str(error))
        callbacks.done(_verdict(1))
    else:
        callbacks.done(_verdict(0))
    finally:
        pins.unlink(missing_ok=True)


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
    left = missing()
    if code == 0 and not left:
        return ""
    names = ", ".join(left) or _("all")
    return _("Some packages could not be installed: {names}. The log says why.").format(names=names)
