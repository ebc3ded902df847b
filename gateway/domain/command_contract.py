"""Signed commands as JSON Schemas (2020-12), made from the forms by which a box judges them.

What is promised: what these schemas refuse, `command.judge` refuses as well. What no schema can say stays with it: that
the spelling is canonical, the signatures hold, and the time is right (docs/operations/commands.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.domain.command import ENVELOPE, FORMS, SCHEMA, CommandName, Form, Number, Text
from gateway.domain.signature import FIELD, KEY_ID, SIGNATURE, SIGNATURES
from gateway.domain.words import span

REQUEST: Final = "Request"
"""The schema of any command."""
_SIGNATURE: Final = "Signature"


def name_of(command: CommandName) -> str:
    """The name of its schema."""
    return "".join(word.title() for word in command.split("_")) + "Command"


def definitions(template: str) -> dict[str, Any]:
    """The schema of each command, of any command, and of what they are made of; `template` as pydantic's."""
    signature = _object({"kid": _text(Text(pattern=KEY_ID)), "sig": _text(Text(pattern=SIGNATURE, longest=128))})
    return {
        REQUEST: {"oneOf": [{"$ref": template.format(model=name_of(command))} for command in FORMS]},
        _SIGNATURE: signature,
        **{name_of(command): _command(command, form, template) for command, form in FORMS.items()},
    }


def _command(command: CommandName, form: Form, template: str) -> dict[str, Any]:
    arguments = {
        name: _text(shape) if isinstance(shape, Text) else _number(shape) for name, shape in form.arguments.items()
    }
    signatures = {
        "type": "array",
        "items": {"$ref": template.format(model=_SIGNATURE)},
        "minItems": form.signatures,
        "maxItems": SIGNATURES,
    }
    fields = {
        "schema": {"const": SCHEMA},
        **{field: _text(shape) for field, shape in ENVELOPE.items()},
        "cmd": {"const": command.value},
        "args": _object(arguments),
        FIELD: signatures,
    }
    keys = "one key" if form.signatures == 1 else f"{form.signatures} keys"
    return {"description": f"Signed with {keys}; at most {span(form.valid)} from nbf to exp.", **_object(fields)}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    """With all of these fields and no others."""
    whole = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return {**whole, "required": [*properties]} if properties else whole


def _text(shape: Text) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^(?:{shape.pattern.pattern})$", "maxLength": shape.longest}


def _number(shape: Number) -> dict[str, Any]:
    return {"type": "integer", "minimum": shape.least, "maximum": shape.most}
