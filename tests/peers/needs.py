"""Marks that skip a test, saying what to install, where a foreign program is absent."""

from pathlib import Path

import pytest

from tests.peers import dcmtk as _dcmtk
from tests.peers import node_peer as _node
from tests.peers import orthanc as _orthanc

dcmtk = pytest.mark.skipif(not _dcmtk.available, reason="DCMTK is not installed (apt: dcmtk)")
orthanc = pytest.mark.skipif(not _orthanc.available, reason="Orthanc is not installed (apt: orthanc)")
orthanc_worklist = pytest.mark.skipif(
    not _orthanc.serves_worklists, reason="Orthanc's worklist plug-in is not installed (apt: orthanc)"
)
node = pytest.mark.skipif(not _node.available, reason="Node is not installed (apt: nodejs npm)")
socat = pytest.mark.skipif(not Path("/usr/bin/socat").exists(), reason="socat is not installed (apt: socat)")
