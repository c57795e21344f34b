"""Write `boards/*.json` anew from the table: `python3 deploy/grafana/boards.py`.

The boards belong to no one service: whose metrics they show is chosen at their top.
"""

from __future__ import annotations

import json
from pathlib import Path
from string import ascii_uppercase
from typing import Any
from zlib import crc32

from table import BOARDS, Panel

FOLDER = Path(__file__).parent / "boards"
TAG = "servekit"
COLUMNS = 24
SIZES = {"stat": (4, 4), "timeseries": (8, 8)}
FLAT = {"reqps": 0.1, "ops": 0.1, "s": 0.01, "percentunit": 0.1, "bytes": 2**20, "none": 1}
"""How high an axis is, by unit, while all is 0: Grafana's own choice is 100."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def variable(name: str, label: str, query: str, **more: object) -> dict[str, Any]:
    """Return a choice at the top of a board: of the values that a label has."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 3,
        **more,
    }


ALL = {
    "multi": True,
    "includeAll": True,
    "allValue": ".*",
    "current": {"text": "All", "value": "$__all"},
}
VARIABLES = [
    {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
    variable("job", "Service", "label_values(worker_ready, job)"),
    variable("instance", "Instance", 'label_values(worker_ready{job="$job"}, instance)', **ALL),
    variable("worker", "Worker", 'label_values(worker_ready{job="$job"}, worker)', **ALL),
]
FIRING = {
    "name": "Alerts that fire",
    "datasource": SOURCE,
    "enable": True,
    "iconColor": "red",
    "expr": 'ALERTS{job="$job", alertstate="firing"}',
    "titleFormat": "{{alertname}}",
    "textFormat": "{{instance}} {{worker}}",
}


def thresholds(lines: tuple[float, ...]) -> dict[str, Any]:
    """Return where a value is worth a look: from orange to red."""
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": "red", "value": line} for line in lines]
    if len(lines) > 1:
        steps[1]["color"] = "orange"
    return {"mode": "absolute", "steps": steps}


def drawn(panel: Panel) -> dict[str, Any]:
    """Return how a panel looks."""
    if panel.kind == "stat":
        reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"options": {"reduceOptions": reduced, "graphMode": "area", "colorMode": "value"}}
    return {
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    }


def panel_of(panel: Panel, x: int, y: int) -> dict[str, Any]:
    """Return a panel as Grafana keeps it; its number, by which links name it, is its title's."""
    width, height = SIZES[panel.kind]
    style = "dashed" if panel.lines else "off"
    custom = {
        "fillOpacity": 5,
        "showPoints": "never",
        "thresholdsStyle": {"mode": style},
        "axisSoftMax": panel.lines[0] * 1.2 if panel.lines else FLAT[panel.unit],
    }
    return {
        "id": crc32(panel.title.encode()) % 100_000,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "gridPos": {"h": height, "w": width, "x": x, "y": y},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": thresholds(panel.lines),
                "custom": {} if panel.kind == "stat" else custom,
            },
            "overrides": [],
        },
        "targets": [
            {
                "refId": letter,
                "datasource": SOURCE,
                "expr": query,
                "legendFormat": legend or "__auto",
            }
            for letter, (legend, query) in zip(ascii_uppercase, panel.queries.items(), strict=False)
        ],
        **drawn(panel),
    }


def board_of(name: str, panels: tuple[Panel, ...]) -> dict[str, Any]:
    """Return a board: its panels from left to right, row by row."""
    placed, x, y = [], 0, 0
    for panel in panels:
        width, height = SIZES[panel.kind]
        placed.append(panel_of(panel, x, y))
        x += width
        if x == COLUMNS:
            x, y = 0, y + height
    return {
        "uid": uid_of(name),
        "title": f"Service: {name}",
        "tags": [TAG],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [
            {
                "type": "dashboards",
                "title": "Boards",
                "tags": [TAG],
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": VARIABLES},
        "annotations": {"list": [FIRING]},
        "panels": placed,
    }


def uid_of(name: str) -> str:
    """Return the last part of a board's address."""
    return f"{TAG}-{name.split(maxsplit=1)[0].lower()}"


def main() -> None:
    """Write every board, and remove what is none."""
    texts = {
        f"{uid_of(name)}.json": json.dumps(board_of(name, panels), indent=1) + "\n"
        for name, panels in BOARDS.items()
    }
    FOLDER.mkdir(exist_ok=True)
    for file in FOLDER.glob("*.json"):
        if file.name not in texts:
            file.unlink()
    for name, text in texts.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
