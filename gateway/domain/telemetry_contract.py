"""The contract of MQTT as documents that others read: JSON Schemas (2020-12) and AsyncAPI 3.0, made from the values.

What is promised: this is what `telemetry` proves and `topics` publishes; there is no second description.
`docs/mqtt.schema.json` and `docs/asyncapi.yaml` are these, and a test compares them (`make schemas` writes them).
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter

from gateway.domain import command_contract
from gateway.domain.command import CommandName
from gateway.domain.telemetry import MESSAGES, SAID, Ack, Envelope, adapter_of
from gateway.domain.topics import CHANNELS, ROOT, Leaf

_MESSAGE: Final[dict[Leaf, type[Any]]] = {**SAID, Leaf.ACK: Ack}
_SIGNED: Final = {
    Leaf.REQUEST: (command_contract.REQUEST, "A signed command; see docs/operations/commands.md."),
    Leaf.DESIRED: (
        command_contract.name_of(CommandName.APPLY_CONFIG),
        "Retained: the signed wish for a configuration; empty: it is taken back.",
    ),
}
"""What central signs: the name of its schema, and what it is."""
_PARAMETERS: Final = {
    "site": "[site] name of the box",
    "box": "[box] id: the client identifier, and the common name of the certificate",
    "code": "The code of the alarm (docs/operations/alarms.md)",
    "inst": 'What it is about: a name of the configuration, or "box"',
}


def schemas() -> dict[str, Any]:
    """One document with the schema of each message under `$defs`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:modality-gateway:mqtt:1",
        "title": "Messages of a modality gateway over MQTT",
        "oneOf": [
            {"$ref": f"#/$defs/{name}"} for name in (*(kind.__name__ for kind in MESSAGES), command_contract.REQUEST)
        ],
        "$defs": _definitions("#/$defs/{model}"),
    }


def asyncapi(version: str) -> dict[str, Any]:
    """The AsyncAPI 3.0 document of a gateway of that version."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Modality gateway: what a box tells central IT",
            "version": version,
            "description": "Rules that no schema can tell are in docs/mqtt.md. No message names a patient.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_key(leaf): _channel(leaf) for leaf in Leaf},
        "operations": {_key(leaf): _operation(leaf) for leaf in Leaf},
        "components": {
            "messages": {_key(leaf): _message(leaf) for leaf in Leaf},
            "schemas": _definitions("#/components/schemas/{model}"),
        },
    }


def _definitions(template: str) -> dict[str, Any]:
    """The schema of each message and of what it is made of; what is common is described in each."""
    adapters = [(kind.__name__, "serialization", adapter_of(kind)) for kind in MESSAGES]
    found = TypeAdapter.json_schemas(adapters, ref_template=template)[1]["$defs"]  # type: ignore[arg-type]
    common = adapter_of(Envelope).json_schema(mode="serialization", ref_template=template)["properties"]
    for definition in found.values():
        for name, told in definition.get("properties", {}).items():
            told.pop("title", None)
            if "seq" in definition["properties"] and "description" in common.get(name, {}):
                told.setdefault("description", common[name]["description"])
    return dict(sorted({**found, **command_contract.definitions(template)}.items()))


def _key(leaf: Leaf) -> str:
    return leaf.replace("/", "-")


def _channel(leaf: Leaf) -> dict[str, Any]:
    levels = ["{site}", "{box}", leaf, *(("{code}", "{inst}") if leaf is Leaf.ALARM else ())]
    names = ["site", "box", *(("code", "inst") if leaf is Leaf.ALARM else ())]
    return {
        "address": "/".join([ROOT, *levels]),
        "parameters": {name: {"description": _PARAMETERS[name]} for name in names},
        "messages": {_key(leaf): {"$ref": f"#/components/messages/{_key(leaf)}"}},
    }


def _operation(leaf: Leaf) -> dict[str, Any]:
    channel = CHANNELS[leaf]
    binding: dict[str, Any] = {"qos": 1, "retain": channel.retained, "bindingVersion": "0.2.0"}
    if channel.expiry is not None:
        binding["messageExpiryInterval"] = int(channel.expiry.total_seconds())
    return {
        "action": "send" if channel.by_box else "receive",
        "channel": {"$ref": f"#/channels/{_key(leaf)}"},
        "messages": [{"$ref": f"#/channels/{_key(leaf)}/messages/{_key(leaf)}"}],
        "bindings": {"mqtt": binding},
    }


def _message(leaf: Leaf) -> dict[str, Any]:
    if leaf in _SIGNED:
        name, summary = _SIGNED[leaf]
    else:
        name, summary = _MESSAGE[leaf].__name__, (_MESSAGE[leaf].__doc__ or "").strip()
    return {
        "name": _key(leaf),
        "summary": summary,
        "payload": {"$ref": f"#/components/schemas/{name}"},
    }
