"""`fleet.toml`: the sample holds every key with its default, and a faulty file is told with every fault."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from gateway.app.fleet import broker_of
from gateway.config import ConfigError
from gateway.config.fleet import FleetConfig, parse_fleet
from gateway.config.problems import sections_of
from gateway.config.rollout import RolloutFile, load_rollout, text_for
from gateway.domain.fleet import BoxId, SiteName
from gateway.domain.model import GatewayError
from gateway.spool.queries import statements

ROOT = Path(__file__).parents[2]
ROLLOUT = ROOT / "fleet" / "rollout.sample.toml"
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


@pytest.mark.parametrize(
    ("address", "holds"),
    [
        ("http://vm.example:8428/api/v1/write", True),
        ("https://fleet:secret@[2001:db8::1]/write?x=1", True),
        ("http://vm:port/", False),  # the collector would end by it
        ("http:///api", False),
    ],
)
def test_a_store_of_metrics_has_an_address(tmp_path: Path, address: str, holds: bool) -> None:
    text = f'[broker]\nhost = ["broker.example"]\n[metrics]\nremote_write = "{address}"\n'
    if holds:
        assert parse_fleet(text, base=tmp_path).metrics.remote_write == address
    else:
        with pytest.raises(ConfigError, match=r"metrics\.remote_write"):
            parse_fleet(text, base=tmp_path)


@pytest.mark.parametrize(
    ("key", "said"), [("password", "[broker] password"), ("ca", "ca, certificate or key can't be used")]
)
def test_a_file_of_the_broker_that_is_away_is_told_in_a_line(tmp_path: Path, key: str, said: str) -> None:
    broker = parse_fleet(f'[broker]\nhost = ["broker.example"]\n{key} = "away"\n', base=tmp_path).broker
    with pytest.raises(GatewayError, match=re.escape(said)):
        broker_of(broker)


def test_mqtt_has_one_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="several hosts"):
        parse_fleet('[broker]\nhost = ["a", "b"]\n', base=tmp_path)
    assert parse_fleet('[broker]\nkind = "nats"\nhost = ["a", "b"]\n', base=tmp_path).broker.host == ("a", "b")


def test_the_sample_of_a_rollout_holds_every_key_with_its_default(tmp_path: Path) -> None:
    raw = tomllib.loads(
        ROLLOUT.read_text("utf-8").replace("# [release]", "[release]").replace("# manifest", "manifest")
    )
    (tmp_path / "least.toml").write_text('[configuration]\nversion = 1\nfile = "x"\n[[ring]]\nname = "lab"\n', "utf-8")
    found, least = load_rollout(ROLLOUT), load_rollout(tmp_path / "least.toml")
    assert (found.limits, found.ring[0].share) == (least.limits, least.ring[0].share)
    for name, field in RolloutFile.model_fields.items():
        (section,) = sections_of(field.annotation)
        table = raw[name][0] if isinstance(raw[name], list) else raw[name]
        assert table.keys() == section.model_fields.keys()


def test_every_fault_of_a_rollout_is_told_with_its_remedy(tmp_path: Path) -> None:
    path = tmp_path / "rollout.toml"
    for text, keys in (
        (
            '[limits]\nfailures = "101%"\nsoak = "long"\n[[ring]]\nname = "LAB"\nboxes = ["ct1"]\nshare = 3\n',
            {"limits.failures", "limits.soak", "ring[LAB].name", "ring[LAB].boxes[1]", "ring[LAB].share"},
        ),
        ('[[ring]]\nname = "lab"\n[[ring]]\nname = "lab"\n', {"configuration", "ring.name"}),
    ):
        path.write_text(text, "utf-8")
        with pytest.raises(ConfigError) as told:
            load_rollout(path)
        assert {line.partition(": ")[0] for line in str(told.value).splitlines()} == keys


def test_a_text_is_that_of_its_box_and_no_other(tmp_path: Path) -> None:
    key = (SiteName("north"), BoxId("ct1"))
    (tmp_path / "all.toml").write_text('[site]\nname = "{site}"\n[box]\nid = "{box}"\n', "utf-8")
    assert text_for("all.toml", tmp_path, key) == '[site]\nname = "north"\n[box]\nid = "ct1"\n'
    (tmp_path / "ct1.toml").write_text('[site]\nname = "north"\n[box]\nid = "ct2"\n', "utf-8")
    with pytest.raises(ConfigError, match=r"box.id: is another's"):
        text_for("{box}.toml", tmp_path, key)
    with pytest.raises(ConfigError, match="no such file"):
        text_for("{site}/{box}.toml", tmp_path, key)


def test_every_statement_is_used() -> None:
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "gateway" / "fleet").glob("*.py"))
    used = set(re.findall(r'(?:sql|fetch)\(\s*"(\w+)"', code))
    assert used == statements("gateway.fleet").keys()
