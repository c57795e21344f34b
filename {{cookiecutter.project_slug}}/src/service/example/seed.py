"""The products that a new, empty catalogue starts with in development."""

from __future__ import annotations

from itertools import product as combinations
from typing import Any

MATERIALS = {"oak": 1.0, "walnut": 1.6, "steel": 1.2, "linen": 0.7, "wool": 0.9, "glass": 0.8}
THINGS = {
    "chair": (89.0, "seating"),
    "lamp": (49.0, "lighting"),
    "shelf": (129.0, "storage"),
    "tray": (19.0, "kitchen"),
    "screen": (159.0, "office"),
    "basket": (29.0, "storage"),
}


def seed_products() -> list[dict[str, Any]]:
    """Return three dozen products, always the same."""
    return [
        {
            "id": number,
            "name": f"{material.capitalize()} {thing}",
            "price": round(price * factor, 2),
            "tags": [room, material],
            "description": f"A {thing} made of {material}.",
            "updated_at": number,
        }
        for number, ((material, factor), (thing, (price, room))) in enumerate(
            combinations(MATERIALS.items(), THINGS.items()), start=1
        )
    ]
