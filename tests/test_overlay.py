"""What central wishes the configuration to be takes the place of the file, until a person edits that."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from gateway.config import Overlay, faults_over, load
from gateway.domain.telemetry_fields import ConfigKey

LOCAL = """
[site]
name = "north"
timezone = "Europe/Berlin"
[box]
id = "ct1-room"
state = "state"
"""
WISH = LOCAL + "[console]\nport = 8181\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(LOCAL)
    (tmp_path / "state").mkdir()
    return path


def overlay(file: Path) -> Overlay:
    return Overlay(file.parent / "state")


def port(file: Path) -> int | None:
    return load(file).console.port


def test_a_wish_counts_until_the_file_of_the_box_is_edited(file: Path) -> None:
    assert port(file) == 8080
    overlay(file).put(WISH, over=LOCAL)
    assert port(file) == 8181
    file.write_text(LOCAL + "# by hand\n")
    assert port(file) == 8080


def test_what_was_before_comes_back(file: Path) -> None:
    wishes = overlay(file)
    wishes.put(WISH, over=LOCAL)
    wishes.settle()
    wishes.put(WISH.replace("8181", "8282"), over=LOCAL)
    assert port(file) == 8282
    wishes.back()
    assert port(file) == 8181
    wishes.back()
    assert port(file) == 8080
    wishes.back()


def test_each_change_is_seen_by_whoever_looks(file: Path) -> None:
    wishes, seen = overlay(file), [overlay(file).mark()]
    for text in (WISH, WISH, LOCAL):
        wishes.put(text, over=LOCAL)
        seen.append(wishes.mark())
    wishes.back()
    seen.append(wishes.mark())
    assert len(set(seen[:4])) == 4
    assert seen[4] == seen[2]


@pytest.mark.parametrize("text", ["no toml", "[site]\nname = 7\n", "\udcff"], ids=["text", "faults", "bytes"])
def test_a_wish_that_does_not_hold_does_not_count(file: Path, text: str) -> None:
    wishes = overlay(file)
    wishes.put("x", over=LOCAL)
    current = file.parent / "state" / "configuration" / "current.toml"
    head = current.read_text().partition("\n")[0]
    current.write_bytes(f"{head}\n{text}".encode("utf-8", "surrogateescape"))
    assert port(file) == 8080


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (WISH, ()),
        (LOCAL.replace("north", "south"), ("site.name",)),
        (LOCAL.replace("ct1", "ct2"), ("box.id",)),
        (LOCAL.replace('"state"', '"elsewhere"'), ("box.state",)),
        (LOCAL + "[console]\nport = true\n[limits]\nidle = 3\n", ("limits.idle", "console.port")),
        (LOCAL + '[[destination]]\nname = "DOE^JANE"\nconfirm = 1\n', None),
        (LOCAL + "[DOE_JANE]\nx = 1\n", ("unknown",)),
        (LOCAL + '[[scanner]]\nae = "X"\nconstants = { StationName = 7 }\n', ("scanner.constants.StationName",)),
        ("= DOE^JANE", ("unknown",)),
    ],
)
def test_of_a_wish_with_faults_only_keys_are_told(file: Path, text: str, keys: tuple[str, ...] | None) -> None:
    found = faults_over(file, text)
    assert "DOE" not in str(found)
    if keys is not None:
        assert set(found) == set(keys)
    assert all(TypeAdapter(ConfigKey).validate_python(key) for key in found), "each can be told"


def test_central_can_t_wish_that_it_hears_of_the_box_no_more(file: Path) -> None:
    """Nobody would prove such a wish, and nobody could take it back."""
    file.write_text(LOCAL + '[mqtt]\nhost = "broker.example"\n')
    assert faults_over(file, LOCAL) == ("mqtt.host",)
    assert faults_over(file, LOCAL + '[mqtt]\nhost = "other.example"\n') == ()
