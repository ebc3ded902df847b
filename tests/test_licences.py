"""No run-time dependency has a copyleft licence, so Apache-2.0 holds for the whole box (DESIGN 7).

The list is walked from the installed metadata, from `modality-gateway` down. In an OR the permissive side
counts. MPL-2.0 is allowed: it binds its own files alone.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
COPYLEFT = re.compile(r"\b(A|L)?GPL|general public|copyleft|EUPL|CDDL|SSPL|CC-BY-(SA|NC)|OSL-", re.IGNORECASE)
PERMISSIVE = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|Python-2\.0|MPL|Mozilla|zlib|0BSD|Unlicense|CC0|HPND)",
    re.IGNORECASE,
)
# Packages whose metadata does not say, each looked up in its own sources
STATED: dict[str, str] = {
    "pysqlite3": "zlib",  # its LICENSE file
}


def licence_of(package: str) -> str:
    """Return the licence as the metadata states it: the expression, else the classifiers, else the short text."""
    metadata = distribution(package).metadata
    classifiers = [
        line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier", []) if line.startswith("License :: ")
    ]
    short = (metadata["License"] or "").strip().splitlines()[:1]
    stated = metadata["License-Expression"] or " AND ".join(classifiers) or " ".join(short)
    return stated or STATED.get(package, "")


def is_permissive(licence: str) -> bool:
    """Decide a licence expression: every AND part needs one OR side that is permissive and not copyleft."""
    parts = re.split(r"\bAND\b", licence.replace("(", " ").replace(")", " "))
    return all(
        any(PERMISSIVE.search(side) and not COPYLEFT.search(side) for side in re.split(r"\bOR\b", part))
        for part in parts
    )


def run_time_packages() -> Iterator[str]:
    """Walk what pyproject.toml asks for, and what that asks for, down to the end."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked_for = [*project["dependencies"], *project["optional-dependencies"]["commission"]]
    waiting, seen = [Requirement(line) for line in asked_for], set[str]()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in seen:
            continue
        seen.add(name)
        yield name
        for line in distribution(name).requires or []:
            asked = Requirement(line)
            extras = requirement.extras or {""}
            if asked.marker is None or any(asked.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(asked)


def test_no_run_time_dependency_is_copyleft() -> None:
    licences = {}
    for package in run_time_packages():
        try:
            licences[package] = licence_of(package)
        except PackageNotFoundError:
            pytest.fail(f"{package} is asked for and not installed: run `make setup`")
    assert len(licences) > 15
    assert {package: licence for package, licence in licences.items() if not is_permissive(licence)} == {}


def test_the_lock_holds_what_the_walk_finds() -> None:
    locked = set(re.findall(r"^([a-z0-9_.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert {canonicalize_name(name) for name in locked} >= set(run_time_packages())


@pytest.mark.parametrize(
    ("licence", "permissive"),
    [
        ("MIT", True),
        ("BSD License", True),
        ("MPL-2.0", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("MIT AND (Apache-2.0 OR BSD-2-Clause)", True),
        ("GPL-3.0-or-later", False),
        ("MIT AND LGPL-2.1", False),
        ("GNU General Public License v3 (GPLv3)", False),
        ("GNU Affero General Public License v3", False),
        ("Proprietary", False),
        ("", False),
    ],
)
def test_a_licence_is_judged(licence: str, permissive: bool) -> None:
    assert is_permissive(licence) is permissive


def test_our_own_licence_is_the_apache_text() -> None:
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
