"""`fleet.toml`: the sample holds every key with its default, and a faulty file is told with every fault."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from gateway.config import ConfigError
from gateway.config.fleet import FleetConfig, parse_fleet
from gateway.config.problems import sections_of
from gateway.spool.queries import statements

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "fleet" / "fleet.sample.toml"


def test_the_sample_holds_every_key_with_its_default(tmp_path: Path) -> None:
    text = SAMPLE.read_text("utf-8")
    least = parse_fleet('[broker]\nhost = ["broker.example"]\n', base=tmp_path)
    assert parse_fleet(text, base=tmp_path) == least
    raw = tomllib.loads(text)
    for name, field in FleetConfig.model_fields.items():
        (section,) = sections_of(field.annotation)
        assert raw[name].keys() == section.model_fields.keys()


def test_every_fault_is_told_with_its_remedy(tmp_path: Path) -> None:
    text = '[broker]\nhots = []\nport = 0\n[metrics]\nremote_write = "ftp://x"\n'
    with pytest.raises(ConfigError) as told:
        parse_fleet(text, base=tmp_path)
    keys = [line.partition(" ")[0].removesuffix(":") for line in str(told.value).splitlines()]
    assert {"broker.hots", "broker.port", "broker.host", "metrics.remote_write"} == set(keys)


def test_mqtt_has_one_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="several hosts"):
        parse_fleet('[broker]\nhost = ["a", "b"]\n', base=tmp_path)
    assert parse_fleet('[broker]\nkind = "nats"\nhost = ["a", "b"]\n', base=tmp_path).broker.host == ("a", "b")


def test_every_statement_is_used() -> None:
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "gateway" / "fleet").glob("*.py"))
    used = set(re.findall(r'(?:sql|fetch)\(\s*"(\w+)"', code))
    assert used == statements("gateway.fleet").keys()
