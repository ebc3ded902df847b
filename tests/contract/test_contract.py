"""The documents are those of the code, are what their standards say, and hold for what a box writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator

from gateway.domain.command import FORMS, CommandName, Refused, signed
from gateway.domain.command_contract import name_of
from gateway.domain.signature import canonical, sealed
from gateway.domain.telemetry import MESSAGES
from gateway.domain.topics import CHANNELS, Leaf
from tests.contract.documents import DOCS, DOCUMENTS
from tests.domain.test_command import ANN, BOB, command, verdict
from tests.domain.test_telemetry import EXAMPLES, WRITER

ASYNCAPI = Path(__file__).parents[1] / "peers" / "node" / "node_modules" / "@asyncapi" / "specs" / "schemas"
SCHEMAS: dict[str, Any] = json.loads((DOCS / "mqtt.schema.json").read_text("utf-8"))
DESCRIPTION: dict[str, Any] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text("utf-8"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_documents_are_those_of_the_code(path: Path) -> None:
    assert path.read_text("utf-8") == DOCUMENTS[path](), "run `make schemas`, and look at what changed for others"


def test_the_schemas_are_schemas() -> None:
    Draft202012Validator.check_schema(SCHEMAS)
    assert {kind.__name__ for kind in MESSAGES} <= SCHEMAS["$defs"].keys()


def schema_of(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMAS["$defs"]})


@pytest.mark.parametrize("message", EXAMPLES, ids=[type(one).__name__ for one in EXAMPLES])
def test_what_a_box_writes_is_valid(message: Any) -> None:
    """Of a message of this version, and of a later one with more in it."""
    written = json.loads(WRITER.encode(message))
    schema_of(type(message).__name__).validate(written)
    schema_of(type(message).__name__).validate(written | {"more": {"of": ["it"]}})
    for other in {type(one) for one in EXAMPLES} - {type(message)}:
        assert not schema_of(other.__name__).is_valid(written)


@pytest.mark.parametrize("name", [kind.__name__ for kind in MESSAGES])
def test_a_text_of_a_patient_is_not_valid(name: str) -> None:
    (example,) = (one for one in EXAMPLES if type(one).__name__ == name)
    written = json.loads(WRITER.encode(example))
    for field, value in written.items():
        if isinstance(value, str):
            assert not schema_of(name).is_valid(written | {field: "MUELLER^ANNA 19700131"}), field


def test_the_description_is_one_of_asyncapi() -> None:
    standard = json.loads((ASYNCAPI / "3.0.0.json").read_text("utf-8"))
    Draft7Validator(standard).validate(DESCRIPTION)


def test_every_topic_is_described() -> None:
    assert {leaf.replace("/", "-") for leaf in Leaf} == DESCRIPTION["channels"].keys()
    for leaf, channel in CHANNELS.items():
        operation = DESCRIPTION["operations"][leaf.replace("/", "-")]
        assert operation["action"] == ("send" if channel.by_box else "receive")
        assert operation["bindings"]["mqtt"]["retain"] == channel.retained


def test_every_reference_leads_somewhere() -> None:
    def look(part: Any) -> None:
        if isinstance(part, dict):
            if "$ref" in part:
                place = DESCRIPTION
                for step in part["$ref"].removeprefix("#/").split("/"):
                    place = place[step]
            for inner in part.values():
                look(inner)
        elif isinstance(part, list):
            for inner in part:
                look(inner)

    look(DESCRIPTION)


def request(name: CommandName) -> dict[str, Any]:
    """A command as central signs it."""
    asked: dict[str, Any] = json.loads(signed(command(name), [ANN, BOB][: FORMS[name].signatures]))
    return asked


@pytest.mark.parametrize("name", CommandName)
def test_what_central_signs_is_valid_and_is_one_command(name: CommandName) -> None:
    asked = request(name)
    schema_of("Request").validate(asked)
    fitting = [one for one in CommandName if schema_of(name_of(one)).is_valid(asked)]
    assert fitting == [name]


@pytest.mark.parametrize("name", CommandName)
def test_what_the_schema_refuses_the_box_refuses(name: CommandName) -> None:
    asked, keys = request(name), [ANN, BOB][: FORMS[name].signatures]
    signatures = asked.pop("sigs")
    args = asked["args"]
    wrong: list[dict[str, Any]] = [{key: asked[key] for key in asked if key != without} for without in asked]
    wrong += [{**asked, key: value} for key in asked for value in (None, 7, [], "", "MUELLER^ANNA 19700131")]
    wrong += [{**asked, "more": 1}, {**asked, "args": {**args, "more": 1}}]
    wrong += [{**asked, "args": {**args, key: value}} for key in args for value in (None, -1, "", [])]
    told = [sealed(one, keys) for one in wrong]
    told += [canonical({**asked, "sigs": one}) for one in (signatures[1:], signatures * 3, None, [{}], "signed")]
    for one in told:
        assert not schema_of("Request").is_valid(json.loads(one)), one
        assert isinstance(verdict(one), Refused), one


def test_a_wish_is_a_configuration_and_nothing_else() -> None:
    messages, operations = DESCRIPTION["components"]["messages"], DESCRIPTION["operations"]
    assert operations["desired"]["channel"] == {"$ref": "#/channels/desired"}
    assert messages["desired"]["payload"] == {"$ref": "#/components/schemas/ApplyConfigCommand"}
    assert messages["cmd-req"]["payload"] == {"$ref": "#/components/schemas/Request"}
