"""The commissioning test: each step by itself, and the first that does not hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.commands import app
from gateway.net.share import MARK
from gateway.simulate.acceptor import hosted
from gateway.simulate.pacs import PacsSimulator
from tests.peers.processes import HOST, free_port
from tests.peers.stow_server import Said, stow_server

pytestmark = pytest.mark.slow


def config(folder: Path, *lines: str) -> Path:
    path = folder / "gateway.toml"
    site = '[site]\nname = "test"\ntimezone = "UTC"\n[box]\nid = "test"\nstate = "state"\n'
    common = '[[destination]]\nname = "pacs"\ncompression = "none"\n'
    path.write_text(site + common + "\n".join(lines) + "\n")
    return path


def run(path: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["destinations", *words, "--config", str(path)])


def steps(path: Path, *more: str) -> tuple[int, list[tuple[str, bool]]]:
    done = run(path, "test", "pacs", "--json", *more)
    found = json.loads(done.stdout)["steps"]
    return done.exit_code, [(step["name"], step["holds"]) for step in found]


def dicom(port: int, *more: str, ae: str = "PACS", confirm: str = "commitment") -> tuple[str, ...]:
    return (f'host = "{HOST}"', f"port = {port}", f'ae = "{ae}"', f'confirm = "{confirm}"', *more)


@pytest.mark.parametrize("confirm", ["commitment", "query"])
def test_a_dicom_node_that_is_well(tmp_path: Path, confirm: str) -> None:
    pacs = PacsSimulator()
    with hosted(pacs):
        status, found = steps(config(tmp_path, *dicom(pacs.port, confirm=confirm)))
    names = ["resolve", "connect", "association", "echo", f"confirm: {confirm}"]
    assert (status, found) == (0, [(name, True) for name in names])


def test_the_step_that_fails_is_told(tmp_path: Path) -> None:
    closed = steps(config(tmp_path, *dicom(free_port())))
    assert closed == (1, [("resolve", True), ("connect", False)])
    pacs = PacsSimulator()
    with hosted(pacs):
        _, stranger = steps(config(tmp_path, *dicom(pacs.port, ae="NOBODY")))
        assert [stranger[1], stranger[2][0][:6], stranger[2][1]] == [("connect", True), "reject", False]
        _, plain = steps(config(tmp_path, *dicom(pacs.port, "tls = true", 'connect_timeout = "1s"')))
        assert plain[-1][1] is False
        assert plain[:2] == [("resolve", True), ("connect", True)]


def test_a_service_is_asked_as_it_will_be(tmp_path: Path) -> None:
    with stow_server(lambda _: Said(200)) as server:
        found = steps(config(tmp_path, 'kind = "dicomweb"', f'url = "{server.url}"', 'confirm = "query"'))
        assert found == (0, [("resolve", True), ("connect", True), ("query", True)])
        assert server.received == []
        server.page = b"<html>Please log in</html>"
        found = steps(config(tmp_path, 'kind = "dicomweb"', f'url = "{server.url}"', 'confirm = "query"'))
        assert found == (1, [("resolve", True), ("connect", True), ("unreadable", False)])


def test_a_folder_is_prepared_once(tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    path = config(tmp_path, 'kind = "folder"', f'path = "{share}"', 'confirm = "hash"')
    assert steps(path) == (1, [("share-away", False)])
    assert steps(path, "--prepare") == (0, [("prepare", True), ("folder", True), ("write", True)])
    assert steps(path) == (0, [("folder", True), ("write", True)])
    assert [one.name for one in share.iterdir()] == [MARK]


def test_the_list_says_when_and_how(tmp_path: Path) -> None:
    path = config(tmp_path, *dicom(104), 'rate = "1MiB"')
    done = run(path, "--json")
    (one,) = json.loads(done.stdout)["destinations"]
    assert (done.exit_code, one["kind"], one["confirm"], one["rate"]) == (0, "dicom", "commitment", 1 << 20)
