"""In which form an object goes out: as it came, made smaller for a destination that asked for it, or made native for
one that takes nothing else.

Promises
- Forms are made ahead of the lane, a few objects at a time, while others are sent; an urgent lane waits `STAT_WAIT` for
  one at most. Whatever becomes of the codecs, the object goes out: at worst as it came.
- A form is proven before it is there (net/codec_object.py); a codec that failed its proof is barred for that kind of
  image, with an alarm.
- Where a destination breaks off over a compressed object, or says that it does not understand it, the object is sent
  once more as it came; if it takes that, it gets its class so from then on, with an alarm.
- A form is an `Instance` with another transfer syntax, size and hash, and its file: whoever sends an object need not
  know which it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from gateway.dicom.negotiation import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from gateway.domain.compression import DEFLATED, NATIVE_FROM, SMALLEST, Preference, preference, quantised
from gateway.domain.model import UID, Delivery, DestinationName, Instance, InstanceId, Lane
from gateway.net.codec import Codecs
from gateway.net.codec_task import Answer, Left, Made, Task
from gateway.roles.forward.sending import CONVERTIBLE, Opened, SpoolDamaged
from gateway.spool import Spool, audit, compression
from gateway.spool.derived import Derived, Kept

AHEAD: Final = 16
"""Objects of a lane that are being made ready beyond the one that is sent."""
AHEAD_BYTES: Final = 256 << 20
"""Of these as they came; the next object is made ready whatever its size."""
STAT_WAIT: Final = 2.0
ALARM_CODECS: Final = "codecs-unavailable"
_NATIVE: Final = frozenset({EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN})
_NOT_UNDERSTOOD: Final = frozenset({"A9", "C0", "C1"})
_BROKEN_OFF: Final = frozenset({"abort", "closed", "send"})
_URGENCY: Final = {lane: number for number, lane in enumerate(Lane)}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """An object as it goes out."""

    instance: Instance
    path: Path


@dataclass(frozen=True, slots=True)
class _Key:
    """What makes two forms the same."""

    instance: InstanceId
    preferred: Preference


class Compressor:
    """The forms of all objects, for the lanes of all destinations. Safe from any thread."""

    def __init__(self, spool: Spool, codecs: Callable[[], Codecs], *, most: int, now: Callable[[], datetime]) -> None:
        """`codecs` is called once, when the first object needs one. `most`: bytes of all forms that are kept."""
        self._spool = spool
        self._begin = codecs
        self._derived = Derived(spool.files, most=most)
        self._now = now
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._codecs: Codecs | None = None
        self._closed = False
        self._making: dict[_Key, Future[Form | None]] = {}
        self._doubted: dict[tuple[DestinationName, InstanceId], str] = {}
        self._bars: frozenset[tuple[str, str]] = frozenset()

    @property
    def offered(self) -> frozenset[str]:
        """The transfer syntaxes that objects can be made smaller to."""
        return self._ready().syntaxes | {DEFLATED}

    def path_of(self, instance: Instance) -> Path:
        """Where the object lies as it came."""
        return self._spool.files.path_of(instance.id)

    def refresh(self) -> None:
        """Look what is barred: a person may have allowed it again."""
        self._bars = frozenset((one.destination, one.subject) for one in compression.bars(self._spool.db.read()))

    def wanted(
        self,
        instance: Instance,
        *,
        destination: DestinationName,
        lossless: bool,
        accepted: Collection[str],
        link: float,
        lane: Lane,
    ) -> Future[Form | None] | None:
        """The form for this destination, on its way or ready; None if the object goes out as it came.

        `accepted`: what the destination takes this class in. `link`: bytes a second, 0 where it was not measured.
        """
        if self._closed:
            return None
        if instance.TransferSyntaxUID not in CONVERTIBLE:
            takes_native = not _NATIVE.isdisjoint(accepted)
            needed = instance.TransferSyntaxUID not in accepted and takes_native
            return self._form(instance, (), lane) if needed else None
        doubted = (destination, instance.id) in self._doubted or (destination, instance.SOPClassUID) in self._bars
        small = instance.size < SMALLEST or instance.TransferSyntaxUID not in NATIVE_FROM
        if not lossless or doubted or small:
            return None
        preferred = preference(self.offered.intersection(accepted), link=quantised(link))
        return self._form(instance, preferred, lane) if any(syntaxes for _, syntaxes in preferred) else None

    def _form(self, instance: Instance, preferred: Preference, lane: Lane) -> Future[Form | None] | None:
        key = _Key(instance.id, preferred)
        with self._lock:
            making = self._making.get(key)
            if making is not None and not self._is_gone(key, making):
                return making
            if not self._derived.has_room(instance.size):
                return None
            task = Task(
                source=self.path_of(instance),
                size=instance.size,
                TransferSyntaxUID=instance.TransferSyntaxUID,
                content_hash=instance.content_hash,
                target=self._derived.new_path(instance.id),
                preferred=preferred,
                barred=tuple(sorted(subject for destination, subject in self._bars if not destination)),
            )
            form: Future[Form | None] = Future()
            self._making[key] = form
        answer = self._ready().submit(task, urgency=_URGENCY[lane])
        answer.add_done_callback(partial(self._made, key=key, instance=instance, path=task.target, form=form))
        return form

    def _is_gone(self, key: _Key, making: Future[Form | None]) -> bool:
        """Whether a form was there and went for others."""
        return making.done() and making.result() is not None and self._derived.get(key) is None

    def _made(
        self, answer: Future[Answer], *, key: _Key, instance: Instance, path: Path, form: Future[Form | None]
    ) -> None:
        try:
            made = answer.result()
        except CancelledError:
            made = Left(why="stopped")
        if isinstance(made, Made):
            self._derived.keep(key, Kept(instance=instance.id, path=path, size=made.size))
            shape = replace(
                instance,
                TransferSyntaxUID=UID(made.TransferSyntaxUID),
                size=made.size,
                content_hash=made.content_hash,
            )
            form.set_result(Form(instance=shape, path=path))
            return
        if made.mismatch:
            self._bars |= {("", made.mismatch)}
            self._bar(destination="", subject=made.mismatch, why=made.why)
        log.info("sent as it came", instance=instance.id, why=made.why)
        form.set_result(None)

    def doubt(self, instance: Instance, *, destination: DestinationName, why: str) -> None:
        """The destination did not take its form: it goes there as it came from now on."""
        with self._lock:
            self._doubted[destination, instance.id] = why

    def took(self, instance: Instance, *, destination: DestinationName) -> None:
        """The destination has it. If it did not take a form of it before, it is its class that stays as it comes."""
        with self._lock:
            why = self._doubted.pop((destination, instance.id), "")
        if why and instance.TransferSyntaxUID in CONVERTIBLE:
            self._bars |= {(destination, instance.SOPClassUID)}
            self._bar(destination=destination, subject=instance.SOPClassUID, why=why)

    def let_go(self, instances: Iterable[InstanceId]) -> None:
        """Remove the forms of those of these that no destination waits for."""
        with self._lock:
            held = {key.instance for key, form in self._making.items() if form.done()} & set(instances)
        if not held:
            return
        over = held - compression.still_to_send(self._spool.db.read(), held)
        with self._lock:
            for key in [key for key in self._making if key.instance in over]:
                del self._making[key]
        self._derived.let_go(over)

    def start(self) -> None:
        """Begin the codecs now, and not with the first object that needs them."""
        self._ready()

    def close(self) -> None:
        """Whoever waits for a form gets none."""
        with self._starting:
            self._closed = True
        if self._codecs is not None:
            self._codecs.close()

    def _ready(self) -> Codecs:
        with self._starting:
            if self._codecs is None:
                self._codecs = self._begin()
                alarm = audit.clear_alarm if self._codecs.syntaxes else audit.raise_alarm
                self._spool.db.write(partial(alarm, code=ALARM_CODECS, subject="codecs", now=self._now()))
            return self._codecs

    def _bar(self, *, destination: str, subject: str, why: str) -> None:
        log.error("not compressed any more", dest=destination, subject=subject, why=why)
        job = partial(compression.bar, destination=destination, subject=subject, why=why, now=self._now())
        self._spool.db.write(job)


class Forms:
    """What one lane sends of each object; used by its thread alone."""

    def __init__(
        self, compressor: Compressor, *, destination: DestinationName, lossless: bool, by_rule: bool, lane: Lane
    ) -> None:
        """`lossless`: objects are compressed where their delivery does not say; `by_rule`: some deliveries say so."""
        self._compressor = compressor
        self._destination = destination
        self._lossless = lossless
        self._by_rule = by_rule
        self._lane = lane
        self._coming: dict[InstanceId, Future[Form | None] | None] = {}
        self._early: frozenset[InstanceId] = frozenset()
        """What an earlier batch had made ready for a later one."""
        self._out: set[InstanceId] = set()
        """What was opened in another form than it came."""

    @property
    def offered(self) -> frozenset[str]:
        """The transfer syntaxes to ask the destination for, beside the objects' own."""
        return self._compressor.offered if self._lossless or self._by_rule else frozenset()

    def refresh(self) -> None:
        """A batch begins."""
        self._compressor.refresh()

    def look_ahead(
        self, upcoming: Iterable[tuple[Delivery, Instance]], accepts: Callable[[Instance], Collection[str]], link: float
    ) -> None:
        """Have the next objects made ready. `accepts`: what the line was granted for the class of an instance."""
        left, bytes_left = AHEAD, AHEAD_BYTES
        for delivery, instance in upcoming:
            if left == 0 or bytes_left <= 0:
                return
            left, bytes_left = left - 1, bytes_left - instance.size
            if instance.id not in self._coming:
                self._coming[instance.id] = self._compressor.wanted(
                    instance,
                    destination=self._destination,
                    lossless=delivery.compression == "lossless" if delivery.compression else self._lossless,
                    accepted=accepts(instance),
                    link=link,
                    lane=self._lane,
                )

    def opened(self, instance: Instance) -> Opened:
        """The object in the form it goes out in, waited for. Raises `SpoolDamaged`."""
        coming = self._coming.get(instance.id)
        try:
            form = None if coming is None else coming.result(STAT_WAIT if self._lane is Lane.STAT else None)
        except TimeoutError:
            form = None
        if form is not None:
            with suppress(SpoolDamaged):  # it went for others meanwhile: it can be made again, and the object is here
                opened = Opened(form.instance, form.path)
                self._out.add(instance.id)
                return opened
        return Opened(instance, self._compressor.path_of(instance))

    def is_ready(self, instance: Instance) -> bool:
        """Whether `opened` would not wait."""
        coming = self._coming.get(instance.id)
        return coming is None or coming.done()

    def blames(self, instance: Instance, code: str) -> bool:
        """The destination did not take it: whether that may be its form's fault, so that it is sent once more as it
        came."""
        if instance.id not in self._out or not (code in _BROKEN_OFF or code[:2] in _NOT_UNDERSTOOD):
            return False
        self._out.discard(instance.id)
        self._coming[instance.id] = None
        self._compressor.doubt(instance, destination=self._destination, why=code)
        return True

    def took(self, instance: Instance) -> None:
        """The destination has it."""
        self._compressor.took(instance, destination=self._destination)

    def forget(self, instances: Collection[InstanceId]) -> None:
        """A batch is over: forms that nobody waits for may go, those of what it had made ready for the next after
        that."""
        self._compressor.let_go(self._early.union(instances))
        self._early = frozenset(self._coming).difference(instances)
        self._coming.clear()
        self._out.clear()
