"""The files of routing rules: what they mean, and every fault at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import ConfigError, load_rules, parse
from gateway.config.rules import RuleSection, read_rules
from gateway.domain.conditions import Condition, Pattern
from gateway.domain.model import Lane
from gateway.domain.routing import Rule

SITE = '[site]\nname = "n"\ntimezone = "UTC"\n[box]\nid = "b"\n'
PACS = '[[destination]]\nname = "pacs"\nhost = "h"\nae = "A"\nconfirm = "status"\ncompression = "none"\n'
WHOLE = """
[[rule]]
id = "stroke"
note = "the neurologists' own archive"
when = { Modality = ["CT", "MR"], "0019,1001" = "*x*", size = ">= 1MB", order.RequestedProcedurePriority = "STAT" }
unless = { calling_ae = "CT9" }
to = ["pacs", "@default"]
priority = "stat"
compression = "lossless"
stop = true
[[rule]]
id = "night"
when = { SeriesNumber = "> 99" }
priority = "bulk"
"""


def rules_in(folder: Path, **files: str) -> Path:
    (folder / "rules").mkdir()
    for name, text in files.items():
        (folder / "rules" / f"{name}.toml").write_text(text)
    return folder / "rules"


def condition(key: str, *patterns: str) -> Condition:
    return Condition(key=key, patterns=tuple(map(Pattern, patterns)))


def test_rules_are_read_in_the_order_of_their_files(tmp_path: Path) -> None:
    folder = rules_in(tmp_path, b=WHOLE, a='[[rule]]\nid = "first"\nwhen = { address = "10.1.*" }\nto = ["pacs"]')
    first, stroke, night = load_rules(folder, ["pacs"])
    assert first == Rule(id="first", when=(condition("address", "10.1.*"),), to=("pacs",))
    assert stroke == Rule(
        id="stroke",
        when=(
            condition("Modality", "CT", "MR"),
            condition("0019,1001", "*x*"),
            condition("size", ">= 1MB"),
            condition("order.RequestedProcedurePriority", "STAT"),
        ),
        unless=(condition("calling_ae", "CT9"),),
        to=("pacs", "@default"),
        priority=Lane.STAT,
        compression="lossless",
        stop=True,
    )
    assert (night.to, night.priority) == ((), Lane.BULK)
    assert load_rules(tmp_path / "none", []) == ()


FAULTS = """
[[rule]]
id = "one"
when = { Modalty = "CT", PixelData = "x", order.Prioritty = "STAT", Modality = 5, size = "> many" }
to = ["pac"]
priority = "urgent"
[[rule]]
id = "one"
when = {}
compression = "lossy"
[[rule]]
when = { StudyDescription = "> 5", SeriesNumber = "< 5MB", CodeMeaning = ["a", 5] }
unlessx = { Modality = "CT" }
to = ["pacs"]
"""


def test_every_fault_of_the_rules_is_told_at_once(tmp_path: Path) -> None:
    rules_in(tmp_path, faulty=FAULTS, broken="[[rule]", nothing='rules = "x"')
    with pytest.raises(ConfigError) as raised:
        parse(SITE + PACS, base=tmp_path)
    found = {problem.key: problem for problem in raised.value.problems}
    assert found.keys() == {
        "broken",
        "nothing.toml rule",
        "nothing.toml rules",
        "faulty.toml rule[one].when.Modalty",
        "faulty.toml rule[one].when.PixelData",
        "faulty.toml rule[one].when.order.Prioritty",
        "faulty.toml rule[one].when.Modality",
        "faulty.toml rule[one].when.size",
        "faulty.toml rule[one].to",
        "faulty.toml rule[one].priority",
        "faulty.toml rule[one].id",
        "faulty.toml rule[one].when",
        "faulty.toml rule[one].compression",
        "faulty.toml rule[one]",
        "faulty.toml rule[3].id",
        "faulty.toml rule[3].when.StudyDescription",
        "faulty.toml rule[3].when.SeriesNumber",
        "faulty.toml rule[3].when.CodeMeaning",
        "faulty.toml rule[3].unlessx",
    }
    remedies = {key: problem.remedy for key, problem in found.items()}
    assert remedies["faulty.toml rule[one].when.Modalty"].startswith('did you mean "Modality"? ')
    assert remedies["faulty.toml rule[one].to"].startswith('did you mean "pacs"? ')
    assert 'did you mean "order.RequestedProcedurePriority"?' not in remedies["faulty.toml rule[one].when.Modality"]
    assert remedies["faulty.toml rule[3].unlessx"].startswith('did you mean "unless"? ')


def test_a_fault_leaves_no_rule_of_any_file(tmp_path: Path) -> None:
    folder = rules_in(tmp_path, good=WHOLE, bad='[[rule]]\nid = "x"')
    rules, problems = read_rules(folder, ["pacs"])
    assert rules == ()
    assert {problem.key for problem in problems} == {"bad.toml rule[x]", "bad.toml rule[x].when"}


def test_every_key_of_a_rule_is_documented() -> None:
    assert [key for key, field in RuleSection.model_fields.items() if not field.description] == []
