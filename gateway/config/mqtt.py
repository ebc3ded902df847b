"""The `[mqtt]` section: the broker of central IT, and how much the box tells it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from gateway.config.section import Section, Tls, spelled
from gateway.config.values import Count, Duration, Flag, OptionalHost, Port, SecretPath, invalid


class Reconnect(Section):
    base: Duration = spelled("10s")
    """The longest first wait; it doubles with each failure."""
    cap: Annotated[Duration, Field(le=timedelta(minutes=10))] = spelled("45s")
    """The longest wait at all."""


class Mqtt(Tls):
    host: OptionalHost = spelled("")
    """The broker; empty: off."""
    port: Port = spelled(8883)
    """Its port."""
    tls: Flag = spelled(True)
    """Encrypt the connection; the broker's certificate is always checked."""
    version: Literal["auto", "5", "3.1.1"] = spelled("auto")
    """The MQTT version; "auto": 5, and 3.1.1 where the broker speaks no more."""
    user: Annotated[str, Field(max_length=256)] = spelled("")
    """The user name, where the broker does not take it from our certificate."""
    password: SecretPath = spelled("")
    """The file with its password; not readable by every user."""
    keepalive: Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(seconds=25))] = spelled("20s")
    """How often the broker hears of us at least; it tells of our end after 1.5 times as much and a few seconds."""
    connect_timeout: Duration = spelled("10s")
    """How long a connection may take."""
    timeout: Duration = spelled("10s")
    """How long the broker may take to answer; after that the connection is made anew."""
    retry: Reconnect = spelled({})
    """The longest waits for a new connection; a random part of them is waited."""
    health: Annotated[Duration, Field(ge=timedelta(seconds=5), le=timedelta(seconds=30))] = spelled("30s")
    """How often the numbers of the box are sent, a fifth more or less; 36 s without a word is much for a listener."""
    backfill_rate: Annotated[float, Field(gt=0, le=100)] = spelled(5.0)
    """Messages a second, of up to 100 events each, of what was kept while central was away."""
    events_max: Annotated[Count, Field(ge=1_000)] = spelled(200_000)
    """The most events that are kept until central has them; then the least severe, of these the oldest, go first."""

    @field_validator("password")
    @classmethod
    def _whose(cls, password: object, info: ValidationInfo) -> object:
        if password is not None and not info.data.get("user"):
            raise invalid("is a password of nobody", "write the user too, or no password")
        return password
