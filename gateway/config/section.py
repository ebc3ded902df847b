"""What every section of `gateway.toml` is made of, and the keys of an encrypted connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from gateway.config.values import Flag, OptionalPath, SecretPath, invalid


def spelled(text: object) -> Any:
    """Give a key its default as an operator would spell it; `{}` is a section with all its defaults."""
    return Field(default=text, validate_default=True)


class Section(BaseModel):
    """A table of the file: frozen, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True, str_max_length=4096
    )


class Certificates(Section):
    """Whom we believe, and who we are, on an encrypted connection to a peer."""

    ca: OptionalPath = spelled("")
    """Certificates that may have signed the peer's; empty: those of the system."""
    certificate: OptionalPath = spelled("")
    """Our certificate, if the peer asks for one."""
    key: SecretPath = spelled("")
    """The key of our certificate; not readable by every user."""

    @field_validator("key")
    @classmethod
    def _paired(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if (info.data.get("certificate") is None) != (key is None):
            raise invalid("and certificate must go together", "write the paths of both, or of neither")
        return key


class Tls(Certificates):
    """The keys of a connection to a peer that may be encrypted, shared by [[ris]] and [[destination]]."""

    tls: Flag = spelled(False)
    """Encrypt the connection; the peer's certificate is always checked."""


class ServerTls(Section):
    """The keys of an encrypted port, shared by [[listen]] and [mllp]."""

    tls: Flag = spelled(False)
    """Encrypt; needs certificate and key."""
    certificate: OptionalPath = spelled("")
    """Our certificate."""
    key: SecretPath = spelled("")
    """The key of our certificate; not readable by every user."""
    client_ca: OptionalPath = spelled("")
    """Certificates that must have signed the peer's; empty: the peer needs none."""

    @field_validator("key")
    @classmethod
    def _encrypted(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if info.data.get("tls") and (key is None or info.data.get("certificate") is None):
            raise invalid("and certificate are needed for tls", "write the paths of both, or set tls = false")
        return key
