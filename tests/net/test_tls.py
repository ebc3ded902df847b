"""Certificates of ours that are away, or renewed while we run."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.net.tls import ClientContext
from tests.net.wire import Certificate


def test_a_context_is_made_again_when_a_file_of_it_is_another(tmp_path: Path, certificate: Certificate) -> None:
    ca = tmp_path / "ca.pem"
    context = ClientContext(ca=ca, certificate=certificate.path, key=certificate.key)
    with pytest.raises(FileNotFoundError):
        context()
    ca.write_bytes(certificate.path.read_bytes())
    first = context()
    assert context() is first
    assert len(first.get_ca_certs()) == 1
    renewed = tmp_path / "new.pem"
    renewed.write_bytes(certificate.path.read_bytes())
    renewed.replace(ca)
    assert context() is not first
    ca.unlink()
    with pytest.raises(FileNotFoundError):
        context()
