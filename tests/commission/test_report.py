"""The signed report: whole, of this box, and with what it must not pass for."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner, Result

from gateway.cli.commands import app
from gateway.cli.failures import CommandFailed
from gateway.cli.fleet_command import signing_key
from gateway.domain.model import PermanentFailure
from gateway.net.box_key import box_key
from hwtests.outcome import Line, Measured, State
from hwtests.plugin import Commissioning
from hwtests.profile import shipped
from hwtests.report import ACCEPTED, IN_PART, INCOMPLETE, REFUSED, result_of
from hwtests.run import Wanted, plan_of
from tests.commission.described import SITE, Described, described

CURVE = bytes.fromhex("2a8648ce3d030107")
"""The object identifier of P-256."""

DOCUMENTED = re.compile(r"^\| `([a-z]+\.[a-z-]+)` \|", re.MULTILINE)
PAGE = Path(__file__).parents[2] / "docs/operations/commissioning.md"


@pytest.fixture
def machine(tmp_path: Path) -> Described:
    made = described(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "profile.toml").write_text(made.profile.format(ntp=9))
    (tmp_path / "gateway.toml").write_text(SITE)
    return made


def run(machine: Described, *words: str) -> Result:
    return CliRunner().invoke(app, ["commission", *words, "--config", str(machine.folder / "gateway.toml")])


def commission(machine: Described, *words: str) -> Result:
    described_as = ("--profile", str(machine.folder / "profile.toml"), "--sysroot", str(machine.root))
    return run(machine, *described_as, "--operator", "M. Example", *words)


@pytest.mark.slow
def test_what_is_signed_can_be_checked_and_nothing_else(machine: Described) -> None:
    done = commission(machine, "--only", "memory.size", "--only", "tpm.present", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["result"], said["operator"], said["box"]["product"]) == (
        "passed in part",
        "M. Example",
        "Standard PC (Q35 + ICH9, 2009)",
    )
    signed, page = Path(said["files"]["json"]), Path(said["files"]["html"])
    assert [run(machine, "verify", str(one)).exit_code for one in (signed, page)] == [0, 0]
    for path, before, after in (
        (signed, b'"passed in part"', b'"passed on part"'),
        (page, b"PASSED IN PART", b"PASSED ON PART"),
        (page, b"M. Example", b"N. Example"),
    ):
        whole = path.read_bytes()
        path.write_bytes(whole.replace(before, after))
        assert run(machine, "verify", str(path)).exit_code == 1, before
        path.write_bytes(whole)
    key = json.loads(run(machine, "verify", str(signed), "--json").stdout)["key"]
    (machine.folder / "state/box.key").unlink()
    assert "no key yet" in run(machine, "verify", str(signed)).output
    assert run(machine, "verify", str(signed), "--key", key).exit_code == 0
    box_key(machine.folder / "state/box.key")
    assert "of another box" in run(machine, "verify", str(signed)).output
    assert "no report" in run(machine, "verify", str(machine.folder / "profile.toml")).output


@pytest.mark.slow
def test_a_red_line_ends_with_status_1_and_is_red_in_every_form(machine: Described) -> None:
    machine.remove("/sys/class/tpm")
    done = commission(machine, "--only", "tpm", "--only", "watchdog.present", "--json")
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert said["counts"] == {"passed": 1, "failed": 1, "not present": 0, "not tested": 1}
    suite = ElementTree.fromstring(Path(said["files"]["html"]).with_suffix(".xml").read_text()).find("testsuite")
    assert suite is not None
    assert {name: suite.get(name) for name in ("tests", "failures", "skipped", "errors")} == {
        "tests": "3", "failures": "1", "skipped": "1", "errors": "0",
    }  # fmt: skip
    page = Path(said["files"]["html"]).read_text()
    assert "NOT ACCEPTED" in page
    assert "blocked by tpm.present" in page
    assert "http" not in page.partition("<script")[0], "a page that is filed needs nothing from elsewhere"


@pytest.mark.slow
def test_the_page_of_the_operator_names_every_line(machine: Described) -> None:
    listed = json.loads(run(machine, "--list", "--profile", "qemu", "--json").stdout)["lines"]
    assert DOCUMENTED.findall(PAGE.read_text()) == [*listed]


@pytest.mark.slow
@pytest.mark.parametrize("profile", [*shipped()])
def test_shipped_profiles_are_whole(machine: Described, profile: str) -> None:
    wanted = Wanted(settings=machine.folder / "gateway.toml", profile=profile, folder=machine.folder)
    assert Commissioning(plan=plan_of(machine.config(), wanted)).plan.profile.description


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('description = "x"\n[disk]\nkind = "tape"\n', "disk.kind"),
        ('description = "x"\n[disc]\n', "did you mean"),
        ('description = "x"\nexpects = ["gpu"]\n', "expects"),
        ('description = "x"\nbase = "generics"\n', 'did you mean "generic"'),
        ('description = "x"\nbase = "profile.toml"\n', "in a circle"),
        ("description = ", "is not TOML"),
    ],
)
def test_a_faulty_profile_is_refused_with_its_remedy(machine: Described, text: str, said: str) -> None:
    (machine.folder / "profile.toml").write_text(text)
    done = commission(machine)
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_only_what_was_measured_is_accepted() -> None:
    passed = Line(name="a", title="", state=State.PASSED)
    absent, untried = replace(passed, state=State.NOT_PRESENT), replace(passed, state=State.NOT_TESTED)
    assert result_of([passed, absent, replace(untried, asked=False)]) == ACCEPTED
    assert result_of([passed], only=["a"]) == IN_PART
    assert result_of([passed, untried]) == INCOMPLETE
    assert result_of([absent]) == result_of([]) == INCOMPLETE
    assert result_of([passed, untried, replace(passed, state=State.FAILED)]) == REFUSED


def test_a_line_survives_its_json_and_text_is_bounded() -> None:
    measured = Measured()
    measured.tell("model", "x\x1b[31m" + "y" * 500)
    line = Line(name="a", subject="b", title="c", state=State.FAILED, why="d", measured=tuple(measured.found))
    assert Line.of_json(json.loads(json.dumps(line.as_json()))) == line
    assert len(str(measured.found[0].value)) <= 120
    assert "\x1b" not in str(measured.found[0].value)


def test_the_key_of_the_box_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "box.key"
    first = box_key(path).private_bytes_raw()
    assert path.stat().st_mode & 0o777 == 0o600
    assert box_key(path).private_bytes_raw() == first
    assert [one.name for one in tmp_path.iterdir()] == ["box.key"]
    path.write_text("no key")
    with pytest.raises(PermanentFailure, match="no Ed25519 key"):
        box_key(path)


def test_a_key_of_a_kind_that_is_not_known_signs_nothing(tmp_path: Path) -> None:
    made = ec.generate_private_key(ec.SECP256R1())
    der = made.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    for name, content in {"curve": der, "strange": der.replace(CURVE, CURVE[:-1] + b"\x66"), "text": b"no key"}.items():
        path = tmp_path / f"{name}.pem"
        path.write_bytes(b"-----BEGIN PRIVATE KEY-----\n" + b64encode(content) + b"\n-----END PRIVATE KEY-----\n")
        with pytest.raises(CommandFailed, match="no Ed25519 key"):
            signing_key(path)
    with pytest.raises(CommandFailed, match="can't be read"):
        signing_key(tmp_path / "none.pem")
