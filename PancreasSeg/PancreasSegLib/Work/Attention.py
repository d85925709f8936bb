"""Where a network with attention gates looked, as a volume to lay over the CT."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pancreasseg import pipelines
from pancreasseg.core.errors import ModelError
from pancreasseg.core.results import Attention
from pancreasseg.core.setup import Setup
from PancreasSegLib.Scene import Overlay
from PancreasSegLib.Scene.Parameters import Parameters

COLORS = "vtkMRMLPETProceduralColorNodePET-Heat"
# The lowest part of the range stays clear, so that the CT is seen where the gate is as good as shut.
CLEAR_SHARE = 0.15


def mapsOf(parameters: Parameters) -> tuple[str, ...]:
    """The maps that the network of the present result can give, see `pancreasseg.pipelines.attention.map_names`.

    Raises:
        ModelError: none, because it has no attention gates, or because that model is not installed any more.
    """
    from pancreasseg.models.store import Store
    from pancreasseg.pipelines.attention import gated, map_names, no_attention

    provenance = parameters.result.get("provenance", {})
    models = provenance.get("models", ())
    packages = [Store().get(model["name"]) for model in models]
    pipeline = pipelines.declarations().get(provenance.get("pipeline", ""))
    card = gated(packages, () if pipeline is None else pipeline.roles)
    if card is None:
        raise no_attention([model["name"] for model in models])
    for package, model in zip(packages, models, strict=True):
        if package.card.weights.sha256 != model["sha256"]:
            raise ModelError(
                "model-replaced",
                f'The model "{model["name"]}" was replaced since this result was made.',
                "Segment again to see where it looks now.",
            )
    return map_names(card)


def setupOf(parameters: Parameters) -> Setup:
    """What the worker needs to run the network of the present result again."""
    provenance = parameters.result["provenance"]
    names = [model["name"] for model in provenance["models"]]
    roles = len(pipelines.declarations()[provenance["pipeline"]].roles)
    models = ",".join(["+".join(names[:roles]), *names[roles:]])  # those beyond the roles have voted
    return replace(parameters.setup, pipeline=provenance["pipeline"], model=models)


def keepAttention(parameters: Parameters, attention: Attention) -> None:
    """Keep one map and lay it over the CT in all slice views, in place of any other."""
    ((name, array),) = attention.maps.items()
    title = f"pancreas attention, {name.replace('-', ' ')}"
    node = Overlay.keepVolume(parameters.attentionNode, parameters, title, array, attention.box, COLORS)
    low, high = colourRange(attention)
    Overlay.setRange(node, low, high, visibleFrom=low + CLEAR_SHARE * (high - low))
    parameters.attentionNode = node
    parameters.attentionOf = parameters.present
    parameters.attentionMap = name
    showAttention(parameters, True)


def colourRange(attention: Attention) -> tuple[float, float]:
    """The coefficients of one map that get the first and the last colour: gates seldom use all of 0 to 1."""
    (array,) = attention.maps.values()
    low, high = (float(n) for n in np.quantile(array, (0.01, 0.99)))
    return low, max(high, low + 1e-3)


def forgetAttention(parameters: Parameters) -> None:
    """Take the map away: it was of an earlier result."""
    if parameters.attentionNode is not None:
        parameters.volumeNode.GetScene().RemoveNode(parameters.attentionNode)
    parameters.attentionMap = ""
    showAttention(parameters, False)


def showAttention(parameters: Parameters, shown: bool) -> None:
    """Lay the map over the CT in all slice views, or take it away; the choice is saved with the scene."""
    parameters.attentionShown = shown
    if shown:
        parameters.agreementShown = False
    Overlay.followSelection(parameters)


def shownMap(parameters: Parameters) -> str:
    """The name of the map that any slice view shows; empty when none does."""
    return parameters.attentionMap if Overlay.isShown(parameters, parameters.attentionVolume) else ""
