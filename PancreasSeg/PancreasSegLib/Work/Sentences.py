"""What a person in Slicer reads about an error: the engine's sentence, with a way out that leads through the panel."""

from __future__ import annotations

from slicer.i18n import tr as _

from pancreasseg.core.errors import explain


def sentenceOf(error: BaseException) -> str:
    """The sentence and what to do; nobody in Slicer is told to type a command."""
    known = explain(error)
    return f"{known.message} {_hints().get(known.code, known.hint)}".strip()


def _hints() -> dict[str, str]:
    models = _("Select or install one under Advanced, Models.")
    return {
        "package-missing": _("Install what is missing under Advanced, Python packages."),
        "unknown-model": models,
        "no-model": models,
        "model-does-not-fit": _("Choose another model or another pipeline under Advanced."),
    }
