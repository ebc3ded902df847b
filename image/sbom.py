"""What the image is made of, as CycloneDX 1.5 (ECMA-424): Debian's packages and the gateway's own, by name and version.

What is promised: every package that dpkg put into the tree and every distribution that Python can import there, each
once, in one order; made of the tree alone, so that the same image has the same list.
"""

from __future__ import annotations

import hashlib
import json
import re
from email.parser import HeaderParser
from pathlib import Path

from image.tree import Release


def write(tree: Path, debian: list[dict[str, str]], release: Release, root_hash: str, out: Path) -> None:
    """The list beside the image."""
    components = [_debian(one) for one in debian] + _python(tree)
    said = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{_uuid(root_hash)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "operating-system",
                "bom-ref": "image",
                "name": "modality-gateway-image",
                "version": release.version,
                "hashes": [{"alg": "SHA-256", "content": root_hash}],
                "properties": [{"name": "arch", "value": release.arch}],
            }
        },
        "components": components,
        "dependencies": [{"ref": "image", "dependsOn": [one["bom-ref"] for one in components]}],
    }
    out.write_text(json.dumps(said, indent=1) + "\n")


def _uuid(root_hash: str) -> str:
    digits = hashlib.sha256(root_hash.encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"


def _debian(one: dict[str, str]) -> dict[str, object]:
    version = one["Version"].replace(":", "%3A").replace("+", "%2B")
    purl = f"pkg:deb/debian/{one['Package']}@{version}?arch={one['Architecture']}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": one["Package"],
        "version": one["Version"],
        "purl": purl,
        "properties": [{"name": "debian:source", "value": one["Source"].split(" ")[0] or one["Package"]}],
    }


def _python(tree: Path) -> list[dict[str, object]]:
    found = {}
    for metadata in sorted((tree / "usr/lib/gateway").glob("**/*.dist-info/METADATA")):
        said = HeaderParser().parsestr(metadata.read_text(encoding="utf-8", errors="replace"))
        name = re.sub(r"[-_.]+", "-", said["Name"]).lower()
        purl = f"pkg:pypi/{name}@{said['Version']}"
        licence = said["License-Expression"] or said["License"] or ""
        found[purl] = {
            "type": "library", "bom-ref": purl, "name": name, "version": said["Version"], "purl": purl,
            "licenses": [{"license": {"name": licence[:100].splitlines()[0]}}] if licence else [],
        }  # fmt: skip
    return list(found.values())
