"""The index of methods that shell completion reads: ``src/safelight/methods/index.json``."""

from __future__ import annotations

import json

from safelight import features
from safelight.catalog import CARDS, INSPECTORS


def index() -> str:
    """Write the index: methods by task with their titles, ways to look into a network, and backbones."""
    facts = {
        "methods": [{"id": card.id, "tasks": list(card.tasks), "title": card.title} for card in CARDS],
        "inspectors": [{"name": inspector.name, "title": inspector.title} for inspector in INSPECTORS],
        "backbones": [{"name": backbone.name} for backbone in features.BACKBONES],
    }
    lists = [
        f' "{key}": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n ]" for key, rows in facts.items()
    ]
    return "{\n" + ",\n".join(lists) + "\n}\n"
