"""dciodvfy of dicom3tools as the judge of whether an object conforms to its IOD.

It does not read deflated data sets: DCMTK inflates them first.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

_PROGRAM = Path("/usr/bin/dciodvfy")
available = _PROGRAM.exists()
needed = pytest.mark.skipif(not available, reason="dciodvfy is not installed (apt: dicom3tools)")


def errors(path: Path) -> set[str]:
    """Every error it finds, as it says it."""
    plain = path.with_suffix(".plain")
    inflated = subprocess.run(["/usr/bin/dcmconv", "+te", path, plain], capture_output=True, timeout=60, check=False)
    judged = plain if inflated.returncode == 0 else path
    found = subprocess.run(
        [_PROGRAM, judged], capture_output=True, text=True, errors="replace", timeout=60, check=False
    )
    plain.unlink(missing_ok=True)
    said = f"{found.stdout}\n{found.stderr}".splitlines()
    assert any(not line.startswith(("Warning", "Error")) for line in said), "it did not recognise the object"
    return {line for line in said if "Error" in line}
