"""The first start of an appliance: a form of few fields, and the files that come of the answers.

What is promised: an answer is checked as it is given, with the remedy; the whole is loaded as `gateway check-config`
does before anything is written; a file is there whole or not at all. Nothing is written before the person has shown
that the recovery key was noted, for without it a box whose TPM dies has lost what it kept.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.config import parse
from gateway.domain.model import PermanentFailure

_NODE: Final = re.compile(r"([^@\s]{1,16})@([A-Za-z0-9.\-:]{1,253}):(\d{1,5})")
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_AE: Final = re.compile(r"[ -\[\]-~]{1,16}")
_SCRYPT: Final = {"n": 1 << 14, "r": 8, "p": 1}
_CODE_DIGITS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One field of the form."""

    name: str
    text: str
    default: str
    fits: Callable[[str], bool]
    remedy: str


def _node(text: str) -> bool:
    found = _NODE.fullmatch(text)
    return text == "" or (found is not None and 0 < int(found[3]) < 1 << 16)


def _address(text: str) -> bool:
    return _is(ipaddress.ip_address, text)


def _interface(text: str) -> bool:
    return text == "dhcp" or ("/" in text and _is(ipaddress.ip_interface, text))


def _is(kind: Callable[[str], object], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


QUESTIONS: Final = (
    Question(
        name="site", text="Name of the site", default="", fits=lambda text: _PLAIN.fullmatch(text) is not None,
        remedy="letters, digits, points and hyphens: north",
    ),
    Question(
        name="timezone", text="Time zone", default="Europe/Berlin", fits=bool,
        remedy="as in Europe/Berlin",
    ),
    Question(
        name="address", text='Address of this box, or "dhcp"', default="dhcp", fits=_interface,
        remedy="with its prefix: 10.1.1.5/24",
    ),
    Question(
        name="router", text="Router (with an address of its own only)", default="",
        fits=lambda text: text == "" or _address(text), remedy="an address: 10.1.1.1",
    ),
    Question(
        name="clock", text="Time server", default="",
        fits=lambda text: text == "" or _PLAIN.fullmatch(text) is not None,
        remedy="a name or an address: ntp.example",
    ),
    Question(
        name="scanner_ae", text="AE title of the scanner", default="",
        fits=lambda text: _AE.fullmatch(text) is not None,
        remedy="at most 16 characters: CT1",
    ),
    Question(
        name="scanner", text="Address of the scanner", default="", fits=_address,
        remedy="an address: 10.1.1.20",
    ),
    Question(
        name="ris", text="Worklist of the RIS, AE@host:port", default="", fits=_node,
        remedy="RIS@ris.example:104, or nothing",
    ),
    Question(
        name="pacs", text="PACS, AE@host:port", default="", fits=lambda text: text != "" and _node(text),
        remedy="PACS@pacs.example:104",
    ),
)  # fmt: skip


def configuration(answers: Mapping[str, str], *, box: str, key: str, base: Path) -> str:
    """gateway.toml of the answers, for the folder `base`. `key`: the path of the box's key.

    Raises ConfigError if the gateway would not take it.
    """
    pacs = _NODE.fullmatch(answers["pacs"])
    ris = _NODE.fullmatch(answers["ris"])
    if pacs is None:
        raise PermanentFailure("pacs is not of the form AE@host:port")
    text = "# Written at the first start; gateway.sample.toml has every key with its default.\n"
    text += _table("site", name=answers["site"], timezone=answers["timezone"])
    text += _table("box", id=box, key=key)
    text += _table("[scanner]", ae=answers["scanner_ae"], address=[answers["scanner"]])
    if ris is not None:
        text += _table("[ris]", name="main", host=ris[2], port=int(ris[3]), ae=ris[1])
    text += _table(
        "[destination]", name="pacs", kind="dicom", host=pacs[2], port=int(pacs[3]), ae=pacs[1],
        confirm="commitment", compression="none",
    )  # fmt: skip
    text += _table("routing", default=["pacs"])
    parse(text, base=base)
    return text


def _table(name: str, /, **keys: object) -> str:
    # JSON's strings, numbers and lists are TOML's too
    return f"\n[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


def network(answers: Mapping[str, str]) -> str:
    """systemd.network(5) of the answers."""
    lines = ["[Match]", "Name=en* eth*", "", "[Network]"]
    if answers["address"] == "dhcp":
        lines += ["DHCP=ipv4"]
    else:
        lines += [f"Address={answers['address']}"] + ([f"Gateway={answers['router']}"] if answers["router"] else [])
    return "\n".join([*lines, "LinkLocalAddressing=no", ""])


def clock(answers: Mapping[str, str]) -> str:
    """chrony.conf(5) of the answers; empty if there is no time server."""
    return f"server {answers['clock']} iburst\n" if answers["clock"] else ""


def service_code() -> str:
    """A code for service mode, in digits that can be read over a telephone."""
    return "".join(secrets.choice("0123456789") for _ in range(_CODE_DIGITS))


def hidden(code: str) -> str:
    """What is kept of a code (RFC 7914)."""
    salt = secrets.token_bytes(16)
    return json.dumps({"salt": salt.hex(), "scrypt": hashlib.scrypt(code.encode(), salt=salt, **_SCRYPT).hex()})


def opens(code: str, kept: str) -> bool:
    """Whether this is the code of which `kept` is what was kept."""
    said = json.loads(kept)
    found = hashlib.scrypt(code.encode(), salt=bytes.fromhex(said["salt"]), **_SCRYPT)
    return hmac.compare_digest(found, bytes.fromhex(said["scrypt"]))


def write(path: Path, text: str, *, mode: int) -> None:
    """Whole or not at all, and on the disk when it returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
