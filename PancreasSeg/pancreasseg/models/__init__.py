"""Model packages: the card, the folder, the store they are installed in, and the catalogue of public ones."""

from pancreasseg.models.card import Card
from pancreasseg.models.network_card import NetworkCard
from pancreasseg.models.package import ModelPackage, write_package

__all__ = ["Card", "ModelPackage", "NetworkCard", "write_package"]
