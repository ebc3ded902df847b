"""The recipes under fleet/, each in the real program where Debian has it, else by its own structure."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
import tomllib
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.error import HTTPError
from uuid import UUID

import paho.mqtt.client as paho
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.domain.telemetry import Envelope, Health
from gateway.fleet.figures import Figures
from gateway.fleet.remote_write import PREFIX
from tests.fleet.conftest import Central, playing, until
from tests.peers.authority import Authority
from tests.peers.mosquitto import MOSQUITTO
from tests.peers.processes import HOST, free_port, program, run

FLEET = Path(__file__).parents[2] / "fleet"
PROMETHEUS = FLEET / "prometheus"
SERIES = re.compile(r"\b(gateway_(?:box|fleet)_[a-z0-9_]+)\b")


def known_series() -> set[str]:
    """Whatever a collector shows and writes."""
    numbers = Health.__dataclass_fields__.keys() - Envelope.__dataclass_fields__.keys()
    own = {metric.name for metric in Figures().registry.collect()}
    forms = {f"{name}{end}" for name in own for end in ("", "_total", "_bucket")}
    return {PREFIX + name for name in numbers} | forms


def expressions() -> Iterator[str]:
    for path in (FLEET / "grafana").glob("*.json"):
        for panel in json.loads(path.read_text("utf-8"))["panels"]:
            yield from (target["expr"] for target in panel["targets"])
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text("utf-8"))["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def test_dashboards_and_rules_ask_for_series_that_there_are() -> None:
    asked = {name for one in expressions() for name in SERIES.findall(one)}
    assert len(asked) > 15
    assert asked <= known_series()


def test_promtool_takes_the_rules_and_their_tests_hold(tmp_path: Path) -> None:
    for words in (
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
        ["check", "config", "prometheus.yml"],
    ):
        done = run(["promtool", *words], folder=PROMETHEUS)
        assert done.returncode == 0, done.output


def test_every_question_of_a_dashboard_is_promql(tmp_path: Path) -> None:
    rules = [{"record": f"dashboard:{number}", "expr": one} for number, one in enumerate(expressions())]
    path = tmp_path / "asked.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}), "utf-8")
    done = run(["promtool", "check", "rules", path])
    assert done.returncode == 0, done.output


def test_dashboards_are_whole() -> None:
    found = sorted((FLEET / "grafana").glob("*.json"))
    assert len(found) == 2
    for path in found:
        dashboard = json.loads(path.read_text("utf-8"))
        assert dashboard["uid"]
        assert dashboard["schemaVersion"] >= 38
        numbers = [panel["id"] for panel in dashboard["panels"]]
        assert len(numbers) == len(set(numbers))
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            assert panel["type"] in {"stat", "timeseries", "table"}
            assert panel["targets"]
        known = {one["name"] for one in dashboard["templating"]["list"]}
        assert set(re.findall(r"\$(\w+)", path.read_text("utf-8"))) <= known | {"datasource"}


def test_the_zabbix_template_is_whole() -> None:
    (template,) = yaml.safe_load((FLEET / "zabbix" / "gateway-box.yaml").read_text("utf-8"))["zabbix_export"][
        "templates"
    ]
    keys = {item["key"] for item in template["items"]}
    assert len(keys) == len(template["items"])
    uuids = re.findall(r"uuid: (\w+)", (FLEET / "zabbix" / "gateway-box.yaml").read_text("utf-8"))
    assert len(uuids) == len(set(uuids))
    assert {UUID(one).version for one in uuids} == {4}
    fields = Health.__dataclass_fields__.keys() | {"state"}
    for item in template["items"]:
        if item["type"] == "DEPENDENT":
            assert item["master_item"]["key"] in keys
            assert item["preprocessing"][0]["parameters"][0].removeprefix("$.") in fields
        for trigger in item.get("triggers", []):
            named = set(re.findall(r"/Modality Gateway by MQTT/([a-z_.]+)", trigger["expression"]))
            assert named
            assert named <= keys


def test_telegraf_reads_our_topics() -> None:
    (consumer,) = tomllib.loads((FLEET / "telegraf" / "telegraf.conf").read_text("utf-8"))["inputs"]["mqtt_consumer"]
    assert consumer["topics"] == ["dgw/1/+/+/health"]
    assert (consumer["qos"], consumer["persistent_session"], bool(consumer["client_id"])) == (1, True, True)
    (parsing,) = consumer["topic_parsing"]
    assert len(parsing["tags"].split("/")) == len(parsing["topic"].split("/"))


def test_nats_takes_its_recipe(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    broker = signed(authority, "broker")
    text = (FLEET / "cluster" / "nats.conf").read_text("utf-8")
    for name, path in {"broker.pem": broker, "broker.key": broker, "fleet-ca.pem": authority.ca}.items():
        text = text.replace(f"/etc/nats/{name}", str(path))
    path = tmp_path / "nats.conf"
    path.write_text(text, "utf-8")
    done = run(["nats-server", "-t", "-c", path])
    assert done.returncode == 0, done.output


@pytest.mark.slow
@pytest.mark.asyncio
async def test_mosquitto_keeps_each_box_to_its_branch(central: Central, tmp_path: Path) -> None:
    """The recipe as it is, with certificates of its own: a fleet is collected, and a box speaks for itself alone."""
    authority = Authority(tmp_path / "tls")
    broker, port = signed(authority, "broker"), free_port()
    text = (FLEET / "mosquitto" / "mosquitto.conf").read_text("utf-8")
    places = {"broker.pem": broker, "broker.key": broker, "fleet-ca.pem": authority.ca}
    for name, path in {**places, "fleet.acl": shutil.copy(FLEET / "mosquitto" / "fleet.acl", tmp_path)}.items():
        text = text.replace(f"/etc/mosquitto/gateway/{name}", str(path))
    text = text.replace("/var/lib/mosquitto/", f"{tmp_path}/").replace(
        "listener 8883", f"user root\nlistener {port} {HOST}"
    )
    (tmp_path / "mosquitto.conf").write_text(text, "utf-8")
    for number in range(1, 11):
        signed(authority, f"sim-{number:05}")
    own = signed(authority, "central")
    secure = f'tls = true\nca = "{authority.ca}"\ncertificate = "{own}"\nkey = "{own}"'
    path = central.configuration("c1", port=(metrics := free_port()))
    path.write_text(
        path.read_text("utf-8")
        .replace("tls = false", secure, 1)
        .replace(f"port = {central.broker.port}", f"port = {port}")
    )
    with ExitStack() as stack:
        stack.enter_context(program([MOSQUITTO, "-c", tmp_path / "mosquitto.conf"], port=port, folder=tmp_path))
        command = [sys.executable, "-m", "gateway", "fleet", "collect", "--config", path]
        stack.enter_context(program(command, port=metrics, folder=tmp_path / "c1"))
        plan = central.plan(boxes=10, brokers=((HOST, port),), ca=authority.ca, certificates=tmp_path / "tls")
        async with playing(plan) as play:
            await until(lambda: central.told()[0] > 20)
            outcome = await play.end()
        assert outcome.owed == 0
        assert central.told() == (outcome.tally.events, outcome.tally.events)
        taken, refused = await asyncio.to_thread(publish_as, authority, "sim-00001", port)
    assert (taken, refused) == (0, 0x87), "not authorized (MQTT 5.0 3.4.2.1)"


def signed(authority: Authority, name: str) -> Path:
    """NAME.pem: certificate and key in one file."""
    made = authority.identity(name)
    made.certificate.chmod(0o600)
    made.certificate.write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    return made.certificate


def publish_as(authority: Authority, box: str, port: int) -> tuple[int, int]:
    """The reasons that the broker gives for a message of the box's own branch, and for one of another's."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=box, protocol=MQTTProtocolVersion.MQTTv5)
    pem = str(authority.ca.parent / f"{box}.pem")
    client.tls_set(str(authority.ca), certfile=pem, keyfile=pem)
    reasons: dict[int, int] = {}
    client.on_publish = lambda _c, _d, mid, reason, _p: reasons.__setitem__(mid, reason.value)
    client.connect(HOST, port)
    client.loop_start()
    own = client.publish(f"dgw/1/sim-02/{box}/backfill", b"{}", qos=1)
    others = client.publish("dgw/1/sim-02/sim-00002/event", b"{}", qos=1)
    for one in (own, others):
        one.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()
    return reasons[own.mid], reasons[others.mid]


def asked(port: int, question: str) -> list[dict[str, object]]:
    """What a store of metrics answers to a question in PromQL."""
    url = f"http://{HOST}:{port}/api/v1/query?query={urllib.parse.quote(question)}"
    with urllib.request.urlopen(url) as answer:
        found: list[dict[str, object]] = json.load(answer)["data"]["result"]
    return found


def ready(port: int) -> bool:
    """Whether a Prometheus answers; its port does before."""
    with suppress(HTTPError), urllib.request.urlopen(f"http://{HOST}:{port}/-/ready"):
        return True
    return False


def rules_of(port: int) -> list[dict[str, list[dict[str, object]]]]:
    """The groups of rules of a Prometheus, as it evaluates them."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/api/v1/rules") as answer:
        found: list[dict[str, list[dict[str, object]]]] = json.load(answer)["data"]["groups"]
    return found


@pytest.mark.slow
@pytest.mark.asyncio
async def test_prometheus_scrapes_and_takes_what_collectors_write(central: Central, tmp_path: Path) -> None:
    """The recipe with other ports: box and collector are scraped, numbers come by remote write, rules are evaluated."""
    port, metrics, health = free_port(), free_port(), free_port()
    text = (PROMETHEUS / "prometheus.yml").read_text("utf-8").replace("30s", "1s")
    text = text.replace("localhost:9464", f"{HOST}:{metrics}").replace("localhost:9465", f"{HOST}:{health}")
    (tmp_path / "prometheus.yml").write_text(text, "utf-8")
    shutil.copy(PROMETHEUS / "alerts.yml", tmp_path)
    box = tmp_path / "gateway.toml"
    box.write_text(
        f'[site]\nname = "north"\ntimezone = "UTC"\n[box]\nid = "b1"\nstate = "state"\n'
        f"[console]\nport = 0\n[metrics]\nport = {health}\n",
        "utf-8",
    )
    more = f'[metrics]\nremote_write = "http://{HOST}:{port}/api/v1/write"\n'
    collect = [
        sys.executable,
        "-m",
        "gateway",
        "fleet",
        "collect",
        "--config",
        central.configuration("c1", port=metrics, more=more),
    ]
    store = [
        "prometheus",
        "--config.file=prometheus.yml",
        f"--web.listen-address={HOST}:{port}",
        "--storage.tsdb.path=data",
    ]
    with ExitStack() as stack:
        stack.enter_context(central.broker.running())
        stack.enter_context(program([*store, "--web.enable-remote-write-receiver"], port=port, folder=tmp_path))
        stack.enter_context(program(collect, port=metrics, folder=tmp_path / "c1"))
        serve = [sys.executable, "-m", "gateway", "serve", "health", "--config", box]
        stack.enter_context(program(serve, port=health, folder=tmp_path / "box"))
        await until(lambda: ready(port))
        async with playing(central.plan(boxes=5)) as play:
            await until(lambda: len(asked(port, "gateway_box_spool_n")) == 5)
            assert (await play.end()).owed == 0
        await until(lambda: len(asked(port, 'up{job=~"gateway|gateway-collector"} == 1')) == 2)
        await until(lambda: bool(asked(port, "gateway_build_info")))
        await until(lambda: bool(asked(port, 'ALERTS{alertname="GatewayPartDead", part="edge"}')))
        groups = await asyncio.to_thread(rules_of, port)
    assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}


@pytest.mark.slow
@pytest.mark.asyncio
async def test_victoria_metrics_takes_what_collectors_write(central: Central, tmp_path: Path) -> None:
    port = free_port()
    more = f'[metrics]\nremote_write = "http://{HOST}:{port}/api/v1/write"\n'
    store = ["victoria-metrics", f"-httpListenAddr={HOST}:{port}", "-storageDataPath=data", "-search.latencyOffset=0s"]
    with ExitStack() as stack:
        stack.enter_context(central.broker.running())
        stack.enter_context(program(store, port=port, folder=tmp_path / "store"))
        stack.enter_context(central.process("c1", more=more))
        async with playing(central.plan(boxes=5)) as play:
            await until(lambda: len(asked(port, "gateway_box_dest_up")) == 5)
            assert (await play.end()).owed == 0
