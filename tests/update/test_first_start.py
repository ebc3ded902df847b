"""The form of the first start: what it takes, what comes of it, and the code of service mode."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gateway.app import first_start
from gateway.cli import panel
from gateway.config import ConfigError, load

ANSWERS = {
    "site": "north",
    "timezone": "Europe/Berlin",
    "address": "10.1.1.5/24",
    "router": "10.1.1.1",
    "clock": "ntp.example",
    "scanner_ae": "CT1",
    "scanner": "10.1.1.20",
    "ris": "RIS@ris.example:104",
    "pacs": "PACS@pacs.example:11112",
}


def test_a_first_start_asks_no_more_than_twelve_fields() -> None:
    assert {one.name for one in first_start.QUESTIONS} == ANSWERS.keys()
    assert len(first_start.QUESTIONS) + 1 <= 12  # and the end of the recovery key


def test_the_answers_make_a_configuration_that_the_gateway_takes(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(first_start.configuration(ANSWERS, box="gw-1", key="", base=tmp_path))
    config = load(path)
    assert (config.scanner[0].ae, config.ris[0].port, config.destination[0].name) == ("CT1", 104, "pacs")
    assert config.routing.default == ("pacs",)


def test_without_a_ris_there_is_none(tmp_path: Path) -> None:
    text = first_start.configuration(ANSWERS | {"ris": ""}, box="gw-1", key="", base=tmp_path)
    assert "ris" not in tomllib.loads(text)


def test_a_time_zone_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="timezone"):
        first_start.configuration(ANSWERS | {"timezone": "Berlin"}, box="gw-1", key="", base=tmp_path)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("site", "north-2", "north\nagain"),
        ("address", "10.1.1.5/24", "10.1.1.5"),
        ("address", "dhcp", "10.1.1.5/64"),
        ("router", "", "gateway"),
        ("clock", "10.1.1.2", 'x"\nkey 1'),
        ("scanner_ae", "CT ROOM 1", "A title of more than sixteen"),
        ("scanner", "10.1.1.20", "ct1"),
        ("ris", "RIS@ris.example:104", "ris.example:104"),
        ("pacs", "PACS@10.1.1.9:104", ""),
        ("pacs", "PACS@pacs.example:104", "PACS@pacs.example:99999"),
    ],
)
def test_an_answer_is_checked_as_it_is_given(name: str, good: str, bad: str) -> None:
    question = next(one for one in first_start.QUESTIONS if one.name == name)
    assert question.fits(good)
    assert not question.fits(bad)
    assert question.remedy


def test_the_network_is_what_was_typed() -> None:
    assert "Address=10.1.1.5/24\nGateway=10.1.1.1\n" in first_start.network(ANSWERS)
    assert "DHCP=ipv4" in first_start.network(ANSWERS | {"address": "dhcp"})
    assert first_start.clock(ANSWERS) == "server ntp.example iburst\n"
    assert first_start.clock(ANSWERS | {"clock": ""}) == ""


def test_service_mode_opens_to_its_code_alone() -> None:
    code = first_start.service_code()
    kept = first_start.hidden(code)
    assert code not in kept
    assert first_start.opens(code, kept)
    assert not first_start.opens(code[:-1], kept)
    assert first_start.service_code() != code


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "box" / "service.json"
    first_start.write(path, "one", mode=0o600)
    first_start.write(path, "two", mode=0o600)
    assert (path.read_text(), path.stat().st_mode & 0o777, [*path.parent.iterdir()]) == ("two", 0o600, [path])


def test_the_data_is_kept_only_once_all_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power that goes before leaves a box that asks again. The other way round there would be no recovery key to show,
    at no start, and no form."""
    done: list[str] = []
    for name in ("BOX", "RUN"):
        monkeypatch.setattr(panel, name, tmp_path)
    monkeypatch.setattr(panel, "DEFAULT_CONFIG", tmp_path / "gateway.toml")
    monkeypatch.setattr(panel, "run", lambda *words: done.append(words[-1]))
    monkeypatch.setattr(panel, "_gateway", lambda *_: None)
    monkeypatch.setattr(first_start, "write", lambda path, _, *, mode: done.append(path.name))
    (tmp_path / "serial").write_text("gw-1\n")
    (tmp_path / "recovery-key").write_text("abcd-ef01\n")
    typed = iter([*(ANSWERS[one.name] for one in first_start.QUESTIONS), "ef01"])
    monkeypatch.setattr(panel, "ask", lambda _: next(typed))
    panel.setup()
    assert done.index("keep") > max(done.index(name) for name in ("gateway.toml", "service.json", "50-site.network"))
    assert done.index("keep") < done.index("gateway.target")
