"""The operations port of a replica, put together: what is measured, what operators see, ask and order."""

import dataclasses
from collections.abc import Awaitable, Callable, Sequence

from fastapi import FastAPI

from metrics.instruments import Instruments
from metrics.record import Record
from proxy.administration import Administration
from proxy.config.settings import Config
from proxy.display import Display
from proxy.exporting import Traces
from proxy.inquiries import Inquiries
from proxy.ledger import Ledger
from proxy.link import Link
from proxy.operations import Watched, operations_app
from proxy.rehearsal import Rehearsal, Stock
from proxy.replicas import About
from proxy.survey import StatusParts, Survey
from proxy.tasks import Tasks
from proxy.vitals import Organs, Vitals


@dataclasses.dataclass(frozen=True, slots=True)
class Backstage:
    """What of a replica operators get to see; made by `app`. `watching` are told of each request's end."""

    organs: Organs
    stock: Stock
    ledger: Ledger
    instruments: Instruments
    traces: Traces | None
    members: Callable[[], Awaitable[Sequence[About]]]
    link: Link | None
    tasks: Tasks
    watching: list[Callable[[Record], None]]


@dataclasses.dataclass(frozen=True, slots=True)
class Console:
    """The application of the port, and the line to the other replicas' consoles where there is one."""

    app: FastAPI
    administration: Administration
    inquiries: Inquiries | None
    display: Display

    def start(self) -> None:
        """Hear what other replicas ask."""
        if self.inquiries is not None:
            self.inquiries.start()

    def stop(self) -> None:
        """End what would go on for as long as somebody watches."""
        self.display.close()


def console(seen: Backstage, config: Config) -> Console:
    """The console of one replica."""
    vitals = Vitals(seen.organs)
    seen.instruments.read(vitals.read)
    if seen.traces is not None:
        seen.instruments.read(seen.traces.read)
    survey = Survey(StatusParts(seen.organs, seen.instruments, seen.ledger, seen.members))
    seen.watching.append(survey.note)
    display = Display(survey, seen.organs.clock, seen.tasks)
    token = config.operations.token
    app = operations_app(
        seen.organs.ready,
        Watched(seen.instruments, seen.members, vitals.prepare),
        token.get_secret_value() if token is not None else None,
        display.login,
    )
    display.attach(app)
    asking: list[Inquiries] = []
    administration = Administration(
        fleet=seen.organs.fleet,
        limiter=seen.organs.limiter,
        ledger=seen.ledger,
        rehearsal=Rehearsal(seen.stock),
        inquiries=lambda: asking[0] if asking else None,
    )
    administration.attach(app)
    if seen.link is None:
        return Console(app, administration, None, display)
    clock, name = seen.organs.clock, seen.ledger.name
    asking.append(Inquiries(seen.link, name, clock, seen.tasks, administration.answer))
    return Console(app, administration, asking[0], display)
