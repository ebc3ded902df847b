"""The pages for people: `/`, and one study hop by hop.

What is promised: the first line is the sentence of `gateway status`; the rest is what to do, how old the worklists
are, what waits and what became of the last studies. No name, no id of a patient and no UID is on `/`: a study is
named by our own id and its time. Nothing of a peer's is markup: the templates escape all they are given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import partial
from importlib.resources import files
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from gateway.domain import mpps, order_notice
from gateway.domain.issues import step
from gateway.domain.model import InstanceState
from gateway.domain.overview import Mood, next_steps, sentence
from gateway.domain.study import Standing as StudyStanding
from gateway.domain.words import admission, age, images, printable, reason_of
from gateway.roles.console.books import Books
from gateway.spool import studies

ALARMS_SHOWN: Final = 4
STRANGERS_SHOWN: Final = 5
SCANNERS_SHOWN: Final = 8
SHORT_ID: Final = 6
"""The last digits of our ids differ most."""
MOODS: Final = {Mood.WELL: "All is well", Mood.WAITING: "Waiting", Mood.PERSON: "Needs a person"}
STANDINGS: Final = {
    StudyStanding.SAFE: "Safe",
    StudyStanding.ON_ITS_WAY: "On its way",
    StudyStanding.PERSON: "Needs a person",
}
_FILES: Final = {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the box stands, as the head of every page says it."""

    site: str
    box: str
    zone: tzinfo


class Pages:
    """The templates, and what they are filled with."""

    def __init__(self, place: Place, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self._place = place
        self._templates = Environment(
            loader=PackageLoader("gateway.roles.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=lambda value: printable(value) if type(value) is str else value,
        )
        self._templates.filters |= {
            "images": images,
            "moment": self._moment,
            "reason": reason_of,
            "admission": lambda ae: _command(admission(ae)) if admission(ae) else "",
            "number": lambda count: f"{count:,}",
            "counted": lambda count, noun: f"{count:,} {noun}{'' if count == 1 else 's'}",
            "megabytes": lambda size: f"{size / 1e6:,.1f} MB",
            "gigabytes": lambda size: f"{size / 1e9:,.0f} GB",
            "short": lambda id_: id_[-SHORT_ID:],
            "commands": _commands,
        }
        self._templates.globals |= {
            "moods": MOODS,
            "standings": STANDINGS,
            "step": step,
            "mpps_reason": mpps.reason_of,
            "orders_reason": order_notice.reason_of,
            "InstanceState": InstanceState,
        }

    def show(self, template: str, *, status: int = 200, at: datetime | None = None, **values: object) -> HTMLResponse:
        """One page as it stands at that time, or now."""
        now = at or self._now()

        def old(when: datetime) -> str:
            return age(when, now)

        page = self._templates.get_template(template)
        return HTMLResponse(page.render(place=self._place, now=now, old=old, **values), status_code=status)

    def fault(self, status: int, title: str, detail: str) -> HTMLResponse:
        """A page that says what is wrong."""
        return self.show("fault.html", status=status, title=title, detail=detail)

    def _moment(self, when: datetime | None) -> str:
        """The time of day in the site's zone, with the date where it is another day's."""
        if when is None:
            return "-"
        local, today = when.astimezone(self._place.zone), self._now().astimezone(self._place.zone).date()
        return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M}"


def _commands(text: str) -> Markup:
    """A sentence with what stands between backticks set as a command."""
    parts = printable(text).split("`")
    return Markup().join(_command(part) if number % 2 else escape(part) for number, part in enumerate(parts))


def _command(words: str) -> Markup:
    """Lines end between words, not at the hyphens of an option."""
    spans = Markup(" ").join(Markup("<span>{}</span>").format(word) for word in words.split(" "))
    return Markup("<code>{}</code>").format(spans)


def routes(books: Books, pages: Pages) -> APIRouter:
    """The pages over these books."""
    router = APIRouter(include_in_schema=False)
    assets = {name: files("gateway.roles.console").joinpath("static", name).read_bytes() for name in _FILES}

    @router.get("/")
    async def home() -> HTMLResponse:
        standing = await books.standing()
        overview = standing.overview
        return pages.show(
            "home.html",
            at=overview.now,
            overview=overview,
            sentence=sentence(overview),
            steps=next_steps(overview),
            studies=standing.studies,
            free_bytes=standing.free_bytes,
            alarms_shown=ALARMS_SHOWN,
            strangers_shown=STRANGERS_SHOWN,
            askers=sorted(standing.askers, key=lambda one: one.last_asked, reverse=True),
            scanners_shown=SCANNERS_SHOWN,
        )

    @router.get("/study/{key}")
    async def study(key: Annotated[str, Path(max_length=64)]) -> HTMLResponse:
        found = await books.read(partial(studies.hops, key=key))
        if found is None:
            return pages.fault(404, "No such study", "No image of that study was received; check the UID.")
        return pages.show("study.html", hops=found, study=found.study)

    @router.get("/static/{name}")
    async def static(name: str, request: Request) -> Response:
        if name not in _FILES:
            return pages.fault(404, "No such page", "There is nothing at this address.")
        return Response(assets[name], media_type=_FILES[name])

    return router
