"""What a box makes of signed messages: of good ones what they say, of all others one reason of a closed list."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.command import (
    CONFIGURATION_MAX,
    FORMS,
    LONGEST,
    Authentic,
    Command,
    CommandName,
    Reason,
    Refused,
    Standing,
    hindered,
    judge,
    signed,
)
from gateway.domain.signature import Flaw, canonical, key_id, opened, ring, sealed

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
ANN, BOB, EVE = (Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number in (1, 2, 3))
TRUSTED = ring([ANN.public_key(), BOB.public_key()])
ARGUMENTS: dict[CommandName, dict[str, str | int]] = {
    CommandName.PING: {},
    CommandName.C_ECHO: {"peer": "pacs"},
    CommandName.SELFTEST: {},
    CommandName.RESEND_FAILED: {"destination": "pacs"},
    CommandName.LOG_LEVEL: {"level": "debug", "minutes": 10},
    CommandName.COLLECT_DIAG: {},
    CommandName.APPLY_CONFIG: {"version": 3, "ring": "lab", "toml": '[site]\nname = "n\u00f6rth"\n'},
    CommandName.UPDATE: {"version": "1.2.3", "sequence": 7, "ring": "lab", "sha256": "0" * 64},
}


def command(name: CommandName = CommandName.PING, **changes: Any) -> Command:
    values: dict[str, Any] = {
        "name": name,
        "arguments": ARGUMENTS[name],
        "site": "north",
        "box": "ct1-room",
        "nonce": "0123456789abcdef",
        "not_before": NOW,
        "expires": NOW + timedelta(minutes=5),
    }
    return Command(**{**values, **changes})


def body(**changes: Any) -> dict[str, Any]:
    """What a ping says, with anything else in its place."""
    said: dict[str, Any] = json.loads(signed(command(), [ANN]))
    del said["sigs"]
    return {**said, **changes}


def verdict(raw: bytes, *, now: datetime = NOW) -> Authentic | Refused:
    return judge(raw, trusted=TRUSTED, site="north", box="ct1-room", now=now)


def reason(raw: bytes, *, now: datetime = NOW) -> str:
    found = verdict(raw, now=now)
    assert isinstance(found, Refused)
    return found.reason


@pytest.mark.parametrize("name", CommandName)
def test_what_was_signed_is_what_is_read(name: CommandName) -> None:
    asked = command(name)
    keys = [ANN, BOB][: FORMS[name].signatures]
    assert verdict(signed(asked, keys)) == Authentic(
        command=asked, signers=tuple(key_id(key.public_key()) for key in keys)
    )


def test_the_list_holds_nothing_that_deletes_or_runs_what_it_is_sent() -> None:
    assert set(FORMS) == set(CommandName)
    assert not [name for name in CommandName if any(word in name for word in ("del", "purge", "erase", "shell", "run"))]
    assert {name for name in FORMS if FORMS[name].signatures == 2} == {CommandName.APPLY_CONFIG, CommandName.UPDATE}


@pytest.mark.parametrize("name", [CommandName.APPLY_CONFIG, CommandName.UPDATE])
def test_what_changes_the_box_needs_two_different_keys(name: CommandName) -> None:
    said = {**body(), "cmd": name.value, "args": ARGUMENTS[name]}
    assert reason(sealed(said, [ANN])) == Reason.NEEDS_TWO
    assert reason(sealed(said, [ANN, ANN])) == Flaw.SAME_KEY
    assert reason(sealed(said, [ANN, EVE])) == Flaw.UNKNOWN_KEY
    assert isinstance(verdict(sealed(said, [BOB, ANN])), Authentic)


FORGED = {
    "nothing": (b"", Flaw.NOT_CANONICAL),
    "no text": (b"\xff\xfe", Flaw.NOT_CANONICAL),
    "no object": (b"[1]", Flaw.NOT_CANONICAL),
    "nested without end": (b"[" * 60_000, Flaw.NOT_CANONICAL),
    "infinite": (b'{"a":1e999}', Flaw.NOT_CANONICAL),
    "too long": (b" " * (LONGEST + 1), Flaw.TOO_LONG),
    "unsigned": (canonical(body()), Flaw.NOT_SIGNED),
    "no signature": (sealed(body(), []), Flaw.NOT_SIGNED),
    "three signatures": (sealed(body(), [ANN, BOB, EVE]), Flaw.NOT_SIGNED),
    "a stranger's": (sealed(body(), [EVE]), Flaw.UNKNOWN_KEY),
    "twice the same": (sealed(body(), [ANN, ANN]), Flaw.SAME_KEY),
    "spaces": (signed(command(), [ANN]).replace(b",", b", ", 1), Flaw.NOT_CANONICAL),
    "a key twice": (b'{"box":"other",' + signed(command(), [ANN])[1:], Flaw.NOT_CANONICAL),
    "an escaped letter": (signed(command(), [ANN]).replace(b"ping", b"p\\u0069ng"), Flaw.NOT_CANONICAL),
    "other words": (signed(command(), [ANN]).replace(b"north", b"south"), Flaw.BAD_SIGNATURE),
}


@pytest.mark.parametrize(("raw", "flaw"), FORGED.values(), ids=FORGED)
def test_what_is_not_signed_is_refused_and_not_answered(raw: bytes, flaw: Flaw) -> None:
    assert verdict(raw) == Refused(reason=flaw)


REFUSED: dict[str, tuple[dict[str, Any], Reason]] = {
    "another schema": ({"schema": "cmd/2.0"}, Reason.MALFORMED),
    "a field more": ({"also": 1}, Reason.MALFORMED),
    "a nonce that is short": ({"nonce": "abc"}, Reason.MALFORMED),
    "a nonce in other digits": ({"nonce": "\u0660" * 16}, Reason.MALFORMED),
    "a line behind the nonce": ({"nonce": "0123456789abcdef\n"}, Reason.MALFORMED),
    "a moment without seconds": ({"exp": "2026-11-22T08:05Z"}, Reason.MALFORMED),
    "no day": ({"exp": "2026-02-30T08:05:00Z"}, Reason.MALFORMED),
    "a moment in other digits": ({"nbf": "\u0662026-11-22T08:00:00Z"}, Reason.MALFORMED),
    "arguments as a list": ({"args": []}, Reason.MALFORMED),
    "a command that is no text": ({"cmd": 7}, Reason.MALFORMED),
    "another box": ({"box": "ct2-room"}, Reason.WRONG_BOX),
    "a box that looks the same": ({"box": "\u0441t1-room"}, Reason.MALFORMED),
    "every box": ({"box": "*"}, Reason.MALFORMED),
    "another site": ({"site": "south"}, Reason.WRONG_BOX),
    "no such command": ({"cmd": "delete_study"}, Reason.NOT_ALLOWED),
    "a command in capitals": ({"cmd": "PING"}, Reason.NOT_ALLOWED),
    "an argument more": ({"args": {"peer": "pacs"}}, Reason.BAD_ARGUMENTS),
    "an argument less": ({"cmd": "c_echo"}, Reason.BAD_ARGUMENTS),
    "a path": ({"cmd": "c_echo", "args": {"peer": "../../etc"}}, Reason.BAD_ARGUMENTS),
    "a name that is long": ({"cmd": "c_echo", "args": {"peer": "a" * 65}}, Reason.BAD_ARGUMENTS),
    "a number as text": ({"cmd": "log_level", "args": {"level": "info", "minutes": "1"}}, Reason.BAD_ARGUMENTS),
    "yes for a number": ({"cmd": "log_level", "args": {"level": "info", "minutes": True}}, Reason.BAD_ARGUMENTS),
    "a fraction": ({"cmd": "log_level", "args": {"level": "info", "minutes": 1.5}}, Reason.BAD_ARGUMENTS),
    "less than one": ({"cmd": "log_level", "args": {"level": "info", "minutes": 0}}, Reason.BAD_ARGUMENTS),
    "more than a number holds": (
        {"cmd": "log_level", "args": {"level": "info", "minutes": 10**30}},
        Reason.BAD_ARGUMENTS,
    ),
    "a level that there is none of": (
        {"cmd": "log_level", "args": {"level": "all", "minutes": 1}},
        Reason.BAD_ARGUMENTS,
    ),
    "valid for an hour": ({"exp": "2026-11-22T09:00:00Z"}, Reason.VALID_TOO_LONG),
    "over before it begins": ({"nbf": "2026-11-22T08:00:00Z", "exp": "2026-11-22T07:59:59Z"}, Reason.VALID_TOO_LONG),
    "from tomorrow on": ({"nbf": "2026-11-23T08:00:00Z", "exp": "2026-11-23T08:05:00Z"}, Reason.NOT_YET),
    "yesterday's": ({"nbf": "2026-11-21T08:00:00Z", "exp": "2026-11-21T08:05:00Z"}, Reason.EXPIRED),
    "over at this moment": ({"nbf": "2026-11-22T07:55:00Z", "exp": "2026-11-22T08:00:00Z"}, Reason.EXPIRED),
}


@pytest.mark.parametrize(("changes", "why"), REFUSED.values(), ids=REFUSED)
def test_what_is_signed_and_yet_no_command_of_this_box_now(changes: dict[str, Any], why: Reason) -> None:
    found = verdict(sealed(body(**changes), [ANN]))
    assert isinstance(found, Refused)
    assert found.reason == why
    assert (found.asked is None) == (why in {Reason.MALFORMED, Reason.WRONG_BOX})


def test_a_configuration_may_be_so_long_and_no_longer() -> None:
    at_most = {**ARGUMENTS[CommandName.APPLY_CONFIG], "toml": "#" * CONFIGURATION_MAX}
    said = body(cmd="apply_config", args=at_most, exp="2026-12-20T08:00:00Z")
    assert isinstance(verdict(sealed(said, [ANN, BOB])), Authentic)
    longer = {**said, "args": {**at_most, "toml": "#" * (CONFIGURATION_MAX + 1)}}
    assert reason(sealed(longer, [ANN, BOB])) == Reason.BAD_ARGUMENTS
    lone = {**said, "args": {**at_most, "toml": "\ud800"}}
    assert reason(sealed(lone, [ANN, BOB])) == Reason.BAD_ARGUMENTS


def test_only_what_its_form_asks_for_can_be_signed() -> None:
    with pytest.raises(ValueError, match="c_echo: peer is missing; its arguments: peer"):
        signed(command(CommandName.C_ECHO, arguments={}), [ANN])
    with pytest.raises(ValueError, match="sign with 2 keys"):
        signed(command(CommandName.UPDATE), [ANN])
    given: dict[str, str | int] = {"level": "loud", "minutes": "ten", "room": "DOE"}
    with pytest.raises(ValueError, match="log_level: level is not text") as told:
        signed(command(CommandName.LOG_LEVEL, arguments=given), [ANN])
    assert "minutes is not a whole number from 1 to" in str(told.value)
    assert "an argument is none of it" in str(told.value)
    assert not any(value in str(told.value) for value in ("loud", "ten;", "room", "DOE"))


def test_what_disturbs_waits_for_the_exam() -> None:
    quiet = Standing(association_open=False, exam_due=False)
    for name in CommandName:
        assert hindered(name, quiet) is None
        disturbed = hindered(name, Standing(association_open=True, exam_due=True))
        assert (disturbed == Reason.ASSOCIATION_OPEN) == FORMS[name].disturbs
    due = Standing(association_open=False, exam_due=True)
    assert hindered(CommandName.UPDATE, due) == Reason.EXAM_DUE
    assert hindered(CommandName.APPLY_CONFIG, due) is None  # it waits by itself


@given(st.binary(max_size=300) | st.text().map(str.encode))
def test_any_bytes_end_in_a_reason(raw: bytes) -> None:
    assert isinstance(verdict(raw), Refused)


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=7))
def test_a_bit_is_enough(place: int, bit: int) -> None:
    raw = bytearray(signed(command(CommandName.LOG_LEVEL), [ANN, BOB]))
    raw[place % len(raw)] ^= 1 << bit
    assert isinstance(verdict(bytes(raw)), Refused)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text().filter(lambda key: key != "sigs"), json_values, max_size=4))
def test_any_value_comes_back_as_it_was_sealed(value: dict[str, Any]) -> None:
    found = opened(sealed(value, [ANN]), trusted=TRUSTED, longest=LONGEST)
    assert not isinstance(found, Flaw)
    assert found.body == value
