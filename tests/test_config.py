"""The configuration: what the file means, that every fault is named at once, and that the sample tells the truth."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from gateway.app.forward import check_rules
from gateway.config import Config, ConfigError, Reserve, Service, load, load_profiles, parse
from gateway.config.problems import sections_of
from gateway.config.profiles import ProfileFile
from gateway.config.values import parse_ae, parse_duration, parse_network, parse_size
from gateway.domain.model import Confirm, GatewayError, Lane
from gateway.domain.profile import Profile

SAMPLE = Path(__file__).parents[1] / "gateway.sample.toml"
EVERY_KEY = re.sub(r"^#(?=[a-z\[])", "", SAMPLE.read_text("utf-8"), flags=re.MULTILINE)
"""The sample with the settings that are commented out in it (no space behind the mark) as if they were not."""
MINIMAL = """
[site]
name = "north"
timezone = "Europe/Berlin"
[box]
id = "ct1-room"
"""
PACS = """
[[destination]]
name = "pacs"
host = "pacs.example"
ae = "PACS"
confirm = "query"
compression = "none"
"""


def problems(text: str, base: Path = Path("/nowhere")) -> dict[str, str]:
    """Parse a faulty text and return each key with its line; no key may be there twice."""
    with pytest.raises(ConfigError) as caught:
        parse(text, base=base)
    lines = {problem.key: str(problem) for problem in caught.value.problems}
    assert len(lines) == len(caught.value.problems)
    assert str(caught.value) == "\n".join(lines.values())
    return lines


def test_the_shortest_file_takes_every_default() -> None:
    config = parse(MINIMAL, base=Path("/etc/gateway"))
    assert config.site.timezone == ZoneInfo("Europe/Berlin")
    assert config.box.state == Path("/var/lib/gateway")
    assert config.box.runtime_folder == Path("/var/lib/gateway/run")
    assert config.limits.disk_reserve == Reserve(share=0.05)
    assert config.limits.object_max == 8 * 2**30
    assert config.limits.artim == timedelta(seconds=10)
    assert [listen.services for listen in config.listen] == [tuple(Service)]
    assert config.routing.rules == Path("/etc/gateway/rules")
    assert config.check.hold.default is None
    assert config.destination == ()


def test_values_are_of_exact_types() -> None:
    text = MINIMAL + PACS + 'retention = "36h"\nlanes = ["stat"]\n[[scanner]]\nae = "CT1"\naddress = ["10.1.1.0/24"]\n'
    config = parse(text, base=Path("/etc"))
    (destination,), (scanner,) = config.destination, config.scanner
    assert destination.confirm is Confirm.QUERY
    assert destination.lanes == (Lane.STAT,)
    assert config.retention_of(destination) == timedelta(hours=36)
    assert destination.retry.cap == timedelta(minutes=10)
    assert scanner.address == (ip_network("10.1.1.0/24"),)
    assert scanner.worklist.deadline == timedelta(seconds=1.5)


def test_retention_is_inherited() -> None:
    config = parse(MINIMAL + '[retention]\nconfirmed = "3d"\n' + PACS, base=Path("/etc"))
    assert config.retention_of(config.destination[0]) == timedelta(days=3)


def test_a_configuration_is_frozen() -> None:
    config = parse(MINIMAL, base=Path("/etc"))
    with pytest.raises(ValueError, match="frozen"):
        config.limits.associations = 1


def test_every_fault_is_told_at_once() -> None:
    found = problems(
        """
        [site]
        named = "x"
        timezone = "Europe/Berln"
        [box]
        id = "ct 1"
        [limits]
        associations = true
        disk_reserve = "120%"
        artim = 10
        idle = "0s"
        [listen]
        port = 104
        [[scanner]]
        ae = "SEVENTEEN_LETTERS"
        address = ["10.1.1.20/24", "ct1.example"]
        worklist = { mode = "merged" }
        [[ris]]
        name = "main"
        certificate = "x.pem"
        [[destination]]
        name = "archive"
        host = "archive.example"
        ae = "ARCHIVE"
        compression = "lossy"
        window = "22-6"
        expect_refused = ["1.2.840.10008.05"]
        [routing]
        default = ["archives"]
        """
    )
    assert set(found) == {
        "site.name",
        "site.named",
        "site.timezone",
        "box.id",
        "limits.associations",
        "limits.disk_reserve",
        "limits.artim",
        "limits.idle",
        "listen",
        "scanner[SEVENTEEN_LETTERS].ae",
        "scanner[SEVENTEEN_LETTERS].address[1]",
        "scanner[SEVENTEEN_LETTERS].address[2]",
        "scanner[SEVENTEEN_LETTERS].worklist.mode",
        "ris[main].host",
        "ris[main].ae",
        "ris[main].key",
        "destination[archive].confirm",
        "destination[archive].compression",
        "destination[archive].window",
        "destination[archive].expect_refused[1]",
        "routing.default",
        "routing.unverified",
    }
    assert all(len(line.splitlines()) == 1 and "; " in line for line in found.values())
    assert 'did you mean "name"?' in found["site.named"]
    assert 'did you mean "Europe/Berlin"?' in found["site.timezone"]
    assert 'did you mean "merge"?' in found["scanner[SEVENTEEN_LETTERS].worklist.mode"]
    assert 'did you mean "archive"?' in found["routing.default"]
    assert '"10.1.1.0/24"' in found["scanner[SEVENTEEN_LETTERS].address[1]"]
    assert "[[listen]]" in found["listen"]


def test_a_sender_of_orders_has_a_name_of_its_own() -> None:
    ris = '[[ris]]\nname = "main"\nhost = "ris.example"\nae = "RIS"\n'
    senders = '[[sender]]\nname = "main"\ncharset = "8859/99"\n[[sender]]\nname = "desk"\nprocessing = []\n'
    found = problems(MINIMAL + ris + senders)
    assert set(found) == {"sender[main].name", "sender[main].charset", "sender[desk].name", "sender[desk].processing"}
    assert '"8859/1"' in found["sender[main].charset"]


def test_what_proves_delivery_is_a_choice_that_must_be_made() -> None:
    found = problems(MINIMAL + PACS.replace('confirm = "query"\n', "").replace('compression = "none"\n', ""))
    assert set(found) == {"destination[pacs].confirm", "destination[pacs].compression"}
    for choice in ("commitment", "query", "status"):
        assert f'"{choice}" (' in found["destination[pacs].confirm"]
    assert '"none"' in found["destination[pacs].compression"]


def test_compression_is_none_or_lossless() -> None:
    chosen = parse(MINIMAL + PACS.replace('compression = "none"', 'compression = "lossless"'), base=Path("/nowhere"))
    assert chosen.destination[0].compression == "lossless"
    assert set(problems(MINIMAL + PACS.replace('compression = "none"', 'compression = "lossy"'))) == {
        "destination[pacs].compression"
    }


@pytest.mark.parametrize("kind", ["fax", "DICOM", ""])
def test_another_kind_is_one_problem_that_names_the_kinds(kind: str) -> None:
    found = problems(MINIMAL + f'[[destination]]\nname = "pacs"\nkind = "{kind}"\n')
    assert list(found) == ["destination[pacs]"]
    assert found["destination[pacs]"].endswith('set kind to one of: "dicom", "dicomweb", "folder", "gateway"')


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ('[[scanner]]\nae = "CT1"\n', "scanner[CT1].ae"),
        ('[[ris]]\nname = "main"\nhost = "ris.example"\nae = "RIS"\n', "ris[main].name"),
        (PACS, "destination[pacs].name"),
        ("[[listen]]\nport = 104\n", "listen[104].port"),
    ],
)
def test_names_are_unique(section: str, key: str) -> None:
    assert list(problems(MINIMAL + section + section)) == [key]


def test_the_name_of_the_synthetic_scanner_is_reserved() -> None:
    told = problems(MINIMAL + '[[scanner]]\nae = "gw-selftest"\n')
    (line,) = told.values()
    assert "gateway selftest" in line


def test_one_port_may_serve_two_networks() -> None:
    text = MINIMAL + '[[listen]]\naddress = "10.1.1.1"\n[[listen]]\naddress = "10.2.1.1"\n'
    assert [listen.address for listen in parse(text, base=Path("/etc")).listen] == ["10.1.1.1", "10.2.1.1"]


def test_routing_without_any_destination() -> None:
    assert set(problems(MINIMAL + '[routing]\ndefault = ["pacs"]\n')) == {"routing.default", "routing.unverified"}


def test_a_ris_is_told_of_the_orders_of_senders_there_are() -> None:
    ris = '[[ris]]\nname = "main"\nhost = "ris.example"\nae = "RIS"\n[ris.orders_out]\nhost = "ris.example"\n'
    sender = '[[sender]]\nname = "ris-hl7"\n'
    config = parse(MINIMAL + sender + ris + 'senders = ["ris-hl7", "api"]\n', base=Path("/etc"))
    assert config.order_receivers == ("main",)
    assert parse(MINIMAL + ris + 'format = "off"\n', base=Path("/etc")).order_receivers == ()
    found = problems(MINIMAL + sender + ris + 'senders = ["ris-hl"]\n')
    assert "ris-hl7" in found["ris[main].orders_out.senders"]


def test_a_peer_whose_association_is_to_stay_open_is_one_of_ours() -> None:
    ris = '[[ris]]\nname = "main"\nhost = "ris.example"\nae = "RIS"\n'
    assert parse(MINIMAL + ris + '[health]\nhold = ["main"]\n', base=Path("/etc")).health.hold == ("main",)
    found = problems(MINIMAL + ris + '[health]\nhold = ["mains"]\n')
    assert list(found) == ["health.hold"]
    assert "main" in found["health.hold"]


def test_encryption_needs_a_certificate() -> None:
    found = problems(MINIMAL + "[[listen]]\ntls = true\n")
    assert found == {"listen[1].key": found["listen[1].key"]}
    assert "tls = false" in found["listen[1].key"]


@pytest.mark.parametrize(("mode", "refused"), [(0o644, True), (0o640, False), (0o600, False)])
def test_a_secret_is_not_for_everyone(tmp_path: Path, mode: int, refused: bool) -> None:
    (tmp_path / "box.key").write_text("secret")
    (tmp_path / "box.key").chmod(mode)
    text = MINIMAL + '[[listen]]\ntls = true\ncertificate = "box.pem"\nkey = "box.key"\n'
    if refused:
        assert "chmod o-rwx" in problems(text, tmp_path)["listen[1].key"]
    else:
        assert parse(text, base=tmp_path).listen[0].key == tmp_path / "box.key"


def test_a_secret_is_read_from_what_systemd_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LoadCredential=secrets:/etc/gateway/secrets: only its own unit can read it. Other paths stay, and so do those of
    commands that a person types."""
    loaded = tmp_path / "credentials"
    loaded.mkdir()
    (loaded / "secrets_box.key").write_text("secret")
    (loaded / "secrets_box.key").chmod(0o400)
    text = MINIMAL + '[[listen]]\ntls = true\ncertificate = "tls/box.pem"\nkey = "secrets/box.key"\n'
    text += 'client_ca = "secrets/ca.pem"\n'
    (tmp_path / "gateway.toml").write_text(text)
    typed = load(tmp_path / "gateway.toml").listen[0]
    assert typed.key == tmp_path / "secrets" / "box.key"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(loaded))
    (listen,) = load(tmp_path / "gateway.toml").listen
    assert listen.key == loaded / "secrets_box.key"
    assert listen.certificate == tmp_path / "tls" / "box.pem"
    assert listen.client_ca == tmp_path / "secrets" / "ca.pem"


@pytest.mark.parametrize("host", ["", "a b", "pacs..example", ".example", f"{'x' * 64}.example", "x." * 130, "pacs/1"])
def test_a_host_that_no_name_server_can_be_asked_for(host: str) -> None:
    """Some of them are no failure to reach somebody, but a fault of whoever calls: the log's thread ended for good, and
    a lane that began anew each time told nobody that its destination can't be reached."""
    found = problems(MINIMAL + PACS.replace("pacs.example", host) + f'[mqtt]\nhost = "{host or " "}"\n')
    assert set(found) == {"destination[pacs].host", "mqtt.host"}
    assert all("a host name or an IP address" in line for line in found.values())


@pytest.mark.parametrize("host", ["pacs", "pacs.example.", "my_pacs-2", "10.1.1.20", "::1", "fd00::1:2"])
def test_a_host(host: str) -> None:
    assert parse(MINIMAL + PACS.replace("pacs.example", host), base=Path("/etc")).dicom_nodes[0].host == host


WEB = """
[[destination]]
name = "pacs"
kind = "dicomweb"
url = "https://pacs.example/dicom-web"
confirm = "query"
compression = "none"
"""


@pytest.mark.parametrize(
    "url",
    ["pacs.example/dicom-web", "https://", "https://a..b/x", "http://pacs:99999/", "https://u:p@pacs/", "http://p/?q"],
)
def test_an_address_that_is_none_is_told_as_one(url: str) -> None:
    found = problems(MINIMAL + WEB.replace("https://pacs.example/dicom-web", url))
    assert '"https://pacs.example/dicom-web"' in found["destination[pacs].url"]


def test_what_we_call_ourselves_in_messages_is_no_host() -> None:
    out = '[[ris]]\nname = "main"\nhost = "ris"\nae = "RIS"\norders_out = { sending_application = "Ger\u00e4t" }\n'
    found = problems(MINIMAL + out)["ris[main].orders_out.sending_application"]
    assert "ASCII" in found
    assert "host" not in found


def test_a_secret_that_can_t_be_looked_at_is_met_when_it_is_used() -> None:
    name = "x" * 300  # longer than a name may be: as root, a folder that is not ours to look into is ours
    text = MINIMAL + f'[[listen]]\ntls = true\ncertificate = "box.pem"\nkey = "{name}"\n'
    assert parse(text, base=Path("/etc")).listen[0].key == Path("/etc") / name


def test_a_value_is_never_repeated() -> None:
    found = problems(MINIMAL + PACS.replace('"PACS"', '"hunter2-is-my-password"').replace("pacs.example", "a b c"))
    assert not any(secret in line for line in found.values() for secret in ("hunter2", "a b c"))
    assert "text of 22 characters" in found["destination[pacs].ae"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[site\n", "is not TOML"),
        (b"[site]\nname = north\n", "line 2"),
        (b'[site]\nname = "\xff"\n', "is not UTF-8 from byte 15 on"),
        (b"", "site: is missing; write a [site] section with name and timezone"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(content)
    with pytest.raises(GatewayError, match=re.escape(said)):
        load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no such file; copy gateway\.sample\.toml"):
        load(tmp_path / "gateway.toml")
    with pytest.raises(ConfigError, match="can't be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("1.5s", 1.5), ("10m", 600), ("24h", 86400), ("7d", 604800), ("0s", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-1s", "1 s", "1.s", "1w", "1h30m", "٣s", "9" * 12 + "d", 5, True, None]
)
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("64KiB", 65536), ("64 KiB", 65536), ("1.5MiB", 1572864), ("500MB", 5 * 10**8), (7, 7)],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "8gib", "8 G", "KiB", "1e3", "9" * 400, -1, True, 1.5, None])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_size(text)


@pytest.mark.parametrize(("text", "kept"), [("5%", 50), ("0.5%", 5), ("0%", 0), ("300B", 300), ("1KiB", 1024)])
def test_a_reserve_is_a_share_or_a_size(text: str, kept: int) -> None:
    limits = parse(MINIMAL + f'[limits]\ndisk_reserve = "{text}"\n', base=Path("/etc")).limits
    assert limits.disk_reserve.bytes(1000) == kept


@given(st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\"), max_size=20))
def test_an_ae_title_is_1_to_16_printable_characters(text: str) -> None:
    if 1 <= len(text) <= 16:
        assert parse_ae(text) == text
    else:
        with pytest.raises(PydanticCustomError):
            parse_ae(text)


@pytest.mark.parametrize("text", [" CT1", "CT1 ", "   ", "C\\T", "C\nT", "RÖNTGEN", "C\x00T", 7])
def test_what_is_no_ae_title(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_ae(text)


@pytest.mark.parametrize("text", ["10.1.1.20", "10.0.0.0/8", "fd00::1", "fd00::/8"])
def test_networks(text: str) -> None:
    assert parse_network(text) == ip_network(text)


def test_what_a_scanner_is_to_say_of_itself_reaches_the_check() -> None:
    written = '[[scanner]]\nae = "CT1"\nconstants = { StationName = "CT-1" }\n'
    assert check_rules(parse(MINIMAL + written, base=Path("/nowhere"))).policy.constants == {
        "CT1": {"StationName": "CT-1"}
    }
    strange = problems(MINIMAL + written.replace("StationName", "StationNam"))
    assert 'did you mean "StationName"?' in strange["scanner[CT1].constants.StationNam"]


# --- the sample ---


def keys_of(section: type[BaseModel], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key of the file with its field; a key that is a section yields its own keys instead."""
    for name, field in section.model_fields.items():
        inner = list(sections_of(field.annotation))
        if not inner:
            yield f"{path}{name}", field
        for one in inner:
            kind = f"{one.model_fields['kind'].default}." if name == "destination" else ""
            yield from keys_of(one, f"{path}{name}.{kind}")


def values_of(table: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from values_of(value, f"{path}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for entry in value:
                kind = f"{entry['kind']}." if key == "destination" else ""
                yield from values_of(entry, f"{path}{key}.{kind}")
        else:
            yield f"{path}{key}", value


def test_the_sample_loads() -> None:
    config = load(SAMPLE)
    assert [destination.name for destination in config.destination] == ["pacs"]


def test_the_sample_has_every_key_and_no_other() -> None:
    written = [key for key, _ in values_of(tomllib.loads(EVERY_KEY))]
    assert sorted(written) == sorted(key for key, _ in keys_of(Config))


def test_the_sample_tells_the_defaults_as_they_are() -> None:
    written = dict(values_of(tomllib.loads(EVERY_KEY)))
    defaults = {key: field.default for key, field in keys_of(Config) if not field.is_required()}
    assert {key: written[key] for key in defaults} == defaults


def test_the_sample_marks_what_is_required() -> None:
    required = sorted(key.rpartition(".")[2] for key, field in keys_of(Config) if field.is_required())
    marked = re.findall(r"^(\w+) = .*# \(required\)", EVERY_KEY, re.MULTILINE)
    assert sorted(marked) == required


def test_every_key_is_documented() -> None:
    assert [key for key, field in keys_of(Config) if not field.description] == []


# --- scanner profiles ---

SCANNER = '[[scanner]]\nae = "CT1"\nprofile = "site-ct"\n'


def with_profiles(folder: Path, **files: str) -> Path:
    (folder / "profiles").mkdir()
    for name, text in files.items():
        (folder / "profiles" / f"{name.replace('_', '-')}.toml").write_text(text, "utf-8")
    return folder


def test_a_profile_of_the_site_lays_its_keys_over_another(tmp_path: Path) -> None:
    first = 'extends = "generic"\nsource = ["x"]\nmax_answers = 50\npolling_cache = "5s"\n'
    second = 'extends = "site-ct"\nsource = ["x"]\nmax_answers = 20\nstation_aliases = ["ct dept"]\n'
    base = with_profiles(tmp_path, site_ct=first, site_ct_2=second)
    assert parse(MINIMAL + SCANNER, base=base).scanner[0].profile == "site-ct"
    profile = load_profiles(base / "profiles")["site-ct-2"]
    assert (profile.name, profile.max_answers, profile.polling) == ("site-ct-2", 20, timedelta(seconds=5))
    assert profile.station_aliases == {"CT DEPT"}
    assert profile.character_sets == Profile().character_sets


def test_the_generic_profile_is_the_default_one(tmp_path: Path) -> None:
    assert load_profiles(tmp_path / "none")["generic"] == Profile()


def test_every_fault_of_the_profiles_is_told_at_once(tmp_path: Path) -> None:
    faulty = """
    character_sets = ["ISO_IR 100", "ISO_IR 9999", "latin"]
    max_answer = 5
    above = "nearst"
    polling_cache = "5m"
    name_length = 4
    ignores = ["PatientNam"]
    truncates = { AccessionNumber = "8", PatientIDs = 3 }
    fill = { ReferringPhysicianName = "@today", PatientName = "X", StudyInstanceUID = "1.2.3" }
    unreadable_name = "A=B"
    """
    base = with_profiles(
        tmp_path,
        site_ct=faulty,
        generic='source = ["x"]',
        round_1='source = ["x"]\nextends = "round-2"',
        round_2='source = ["x"]\nextends = "round-1"',
        lost='source = ["x"]\nextends = "generik"',
        broken="source = [",
        child='source = ["x"]\nextends = "site-ct"',
    )
    found = problems(MINIMAL + SCANNER + '[[scanner]]\nae = "CT2"\nprofile = "site-tc"\n', base)
    told = {key.removeprefix("site-ct.") for key in found if key.startswith("site-ct.")}
    assert told == {
        *("source", "character_sets[2]", "character_sets[3]", "max_answer", "above", "polling_cache", "name_length"),
        *("ignores[1]", "truncates.AccessionNumber", "truncates.PatientIDs", "fill.ReferringPhysicianName"),
        *("fill.PatientName", "fill.StudyInstanceUID", "unreadable_name"),
    }
    others = {"generic", "round-1.extends", "round-2.extends", "lost.extends", "broken", "scanner[CT2].profile"}
    assert {key for key in found if not key.startswith("site-ct.")} == others
    assert 'did you mean "max_answers"?' in found["site-ct.max_answer"]
    assert 'did you mean "PatientName"?' in found["site-ct.ignores[1]"]
    assert 'did you mean "generic"?' in found["lost.extends"]
    assert 'did you mean "site-ct"?' in found["scanner[CT2].profile"]
    assert 'write extends = "generic"' in found["generic"]


def test_no_fault_of_a_profile_repeats_a_value(tmp_path: Path) -> None:
    base = with_profiles(tmp_path, site_ct='source = ["x"]\nunreadable_name = "se=cret"\nfill = { AdmissionID = "se" }')
    assert "cret" not in "".join(problems(MINIMAL, base).values())


def test_every_key_of_a_profile_is_documented() -> None:
    assert [key for key, field in keys_of(ProfileFile) if not field.description] == []
