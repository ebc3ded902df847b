"""Certificates of ours that are away, or renewed while we run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from gateway.domain.model import TemporaryFailure
from gateway.net.tls import ClientContext, Context, own_context
from tests.net.wire import Certificate


def test_a_context_is_made_again_when_a_file_of_it_is_another(tmp_path: Path, certificate: Certificate) -> None:
    ca = tmp_path / "ca.pem"
    context = ClientContext(ca=ca, certificate=certificate.path, key=certificate.key)
    assert code_of(context) == "files"
    ca.write_bytes(certificate.path.read_bytes())
    first = context()
    assert context() is first
    assert len(first.get_ca_certs()) == 1
    renewed = tmp_path / "new.pem"
    renewed.write_bytes(certificate.path.read_bytes())
    renewed.replace(ca)
    assert context() is not first
    ca.unlink()
    assert code_of(context) == "files"


def test_a_file_that_is_no_certificate_is_a_fault_of_ours(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    nothing.touch()
    assert code_of(ClientContext(ca=nothing, certificate=None, key=None)) == "files"
    assert code_of(partial(own_context, certificate=nothing, key=nothing)) == "files"


def code_of(context: Context) -> str:
    with pytest.raises(TemporaryFailure) as caught:
        context()
    return caught.value.code
