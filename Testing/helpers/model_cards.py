"""Model cards for tests, whole and valid; a test changes what it is about. Written without torch."""

from typing import Any

from pancreasseg.models.card import Card


def card_of(*networks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A card with these networks, without the entries that `write_package` fills in."""
    return {
        "name": "for-tests",
        "version": "1.0.0",
        "title": "For tests",
        "description": "",
        "pipeline": "two-stage",
        "networks": list(networks),
        "contrast_phase": "any",
        "intended_use": "tests",
        "not_for": ["patients"],
        "training": {"data": "none", "licence": "none", "cases": 0},
        "figures": [],
        "licence": "Apache-2.0",
        "citation": "",
        **changes,
    }


def network_entry(role: str, **changes: Any) -> dict[str, Any]:
    """A network for two classes."""
    return {
        "role": role,
        "network": "unet3d",
        "arguments": {},
        "members": [role],
        "classes": ["background", "pancreas"],
        "pancreas": 1,
        "preprocessing": preprocessing(),
        **changes,
    }


def preprocessing(millimetres: float = 2.0, **changes: Any) -> dict[str, Any]:
    """Isotropic voxels; 0 to 200 HU become 0 to 1."""
    return {
        "orientation": "LPS",
        "array_axes": "kji",
        "spacing_mm": [millimetres] * 3,
        "size": None,
        "window_hu": [0, 200],
        "scale": 1 / 200,
        "shift": 0,
        "patch": [48, 48, 48],
        **changes,
    }


def checked(card: dict[str, Any]) -> Card:
    """The card of a package whose weights nobody reads."""
    return Card.from_dict(
        {"format": 1, **card, "weights": {"file": "weights.safetensors", "sha256": "0" * 64, "size": 1}}
    )
