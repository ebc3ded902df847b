"""Each document of the contract, as it is to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final

import yaml

from gateway.domain.telemetry_contract import asyncapi, schemas

DOCS: Final = Path(__file__).parents[2] / "docs"


def _json() -> str:
    return json.dumps(schemas(), indent=2) + "\n"


def _yaml() -> str:
    return yaml.safe_dump(asyncapi(version("modality-gateway")), sort_keys=False, width=110)


DOCUMENTS: Final[dict[Path, Callable[[], str]]] = {DOCS / "mqtt.schema.json": _json, DOCS / "asyncapi.yaml": _yaml}
