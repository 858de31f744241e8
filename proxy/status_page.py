"""The status page as HTML. Everything that is told goes through htpy, which escapes it.

The page is whole without any script. Its live part, `picture`, is what the stream of events brings anew.
Three classes take turns on it, so that the style sheet can tell a picture that is not followed by another:
the browser itself calls it stale, whatever broke.
"""

import json
from collections.abc import Iterator
from typing import Final

import htpy as h
from htpy import Element, Node
from markupsafe import Markup

from proxy.drawing import BAD, OK, WARN, bar, clock, course, figure, many, sign
from proxy.status import Status, Store
from proxy.status_panels import failovers, limits, live, models, reckoned, replicas

_TITLE = "Apex AI Proxy"
_TURNS = 3

_TRIES = "load, every 15s"
"""When it begins to follow, if it does not yet."""

_FULL = "As many watch this replica as may. This page does not follow until one of them leaves."

_HTMX: Final = json.dumps(
    {
        "includeIndicatorCSS": False,
        "history": False,
        "extensions": "sse",
        "noSwap": [204, 304, "3xx", "4xx", "5xx"],
        "sse": {"reconnectMaxDelay": 4000},
    }
)


def page(status: Status, leave: bool = False, full: bool = False) -> str:  # noqa: FBT001, FBT002  (told by place)
    """The whole page; with a button to `leave`, or said to be one that is not followed: the house is `full`.

    It tries to follow now and then; the first picture takes the place of what says that it does not.
    """
    head = [
        h.meta(name="htmx-config", content=_HTMX),
        h.link(rel="icon", type="image/svg+xml", href="/static/icon.svg"),
        h.link(rel="stylesheet", href="/static/status.css"),
    ]
    live = h.div("#live", {"hx-sse:connect": "/events", "hx-trigger": _TRIES, "hx-swap": "innerMorph"})
    body = [
        h.a(".skip", href="#models")["To the models"],
        live[full and h.p(".full", role="note")[_FULL], _picture(status, 0)],
        leave and h.form(".leave", method="post", action="/logout")[h.button(type="submit")["Log out"]],
        h.script(src="/static/htmx.min.js"),  # deferred, it would begin without what comes next
        h.script(src="/static/hx-sse.min.js"),
    ]
    return _document(head, body)


def picture(status: Status, turn: int) -> str:
    """Its live part; `turn` counts them."""
    return str(h.fragment[_picture(status, turn)])


def login(style: str, wrong: bool) -> str:  # noqa: FBT001  (told by place)
    """The page for who has not said the token; it tells nothing else. `style` is the product's own."""
    field = h.input(
        "#token",
        type="password",
        name="token",
        required=True,
        autofocus=True,
        autocomplete="current-password",
        aria_describedby="wrong" if wrong else None,
    )
    form = h.form(method="post", action="/login")[
        h.label(for_="token")["Operations token"],
        field,
        h.button(type="submit")["Log in"],
        wrong and h.p("#wrong", role="alert")["This is not the token."],
    ]
    return _document(h.style[Markup(style)], h.main[h.h1[_TITLE], form])  # noqa: S704  (a file of the package)


def _document(head: Node, body: Node) -> str:
    return str(
        h.html(lang="en")[
            h.head[
                h.meta(charset="utf-8"),
                h.title[_TITLE],
                h.meta(name="viewport", content="width=device-width, initial-scale=1"),
                h.meta(name="color-scheme", content="light dark"),
                head,
            ],
            h.body[body],
        ]
    )


def _picture(status: Status, turn: int) -> Node:
    return h.div("#picture", class_=f"turn-{turn % _TURNS}")[
        _top(status),
        h.main[
            _verdict(status),
            _tiles(status),
            models(status),
            failovers(status.failovers),
            h.div(".columns")[limits(status), replicas(status)],
        ],
        h.footer[
            h.p[
                "Seen by replica ",
                h.code[status.replica],
                ". Requests, queues, failovers and what limits have left are its own; targets and replicas ",
                "are the cluster's.",
            ],
            h.nav(aria_label="Numbers")[
                h.a(href="/metrics")["Metrics"],
                h.a(href="/admin/targets")["Targets"],
                h.a(href="/admin/replicas")["Replicas"],
                h.a(href="/admin/decisions")["Decisions"],
            ],
        ],
    ]


def _top(status: Status) -> Element:
    moment = clock(status.at)
    return h.header[
        h.h1[_TITLE],
        h.p(".about")[
            h.span["replica ", h.code[status.replica]],
            h.span["version ", h.code[status.version]],
            h.span["config ", h.code[status.config_hash[:12]]],
        ],
        h.div(".fresh")[
            h.p(".live")[sign(OK), "as of ", moment],
            h.p(".stale", role="alert")[
                sign(BAD), h.span["no news since ", moment, ". ", h.a(href="/")["Load again"]]
            ],
        ],
    ]


# The first glance.


def _verdict(status: Status) -> Element:
    """The worst of it in one line each, or that there is nothing to say."""
    found = list(_troubles(status))
    worst = BAD if any(how == BAD for how, _ in found) else WARN if found else OK
    total = status.totals
    well = f"All is well with {many(total.targets, 'target')} of {many(total.models, 'model')}."
    if not total.targets:
        well = "No models are configured."
    return h.section(class_=f"verdict {worst}", role="status", aria_label="Verdict")[
        h.ul[
            [h.li(class_=how)[sign(how), h.span[said]] for how, said in found]
            or h.li(class_=OK)[sign(OK), h.span[well]]
        ]
    ]


def _troubles(status: Status) -> Iterator[tuple[str, str]]:
    if not status.ready:
        yield WARN, "This replica takes no new requests: it starts, or is on its way out."
    total = status.totals
    for alias in total.dark_names:
        yield BAD, f"No target of {alias} takes requests."
    if total.dark > len(total.dark_names):
        yield BAD, f"Nor does any target of {many(total.dark - len(total.dark_names), 'more model')}."
    if total.out:
        shapes = ", ".join(f"{count} {shape}" for shape, count in total.out.items())
        yield (
            WARN,
            f"{sum(total.out.values())} of {many(total.targets, 'target')} take no requests: {shapes}.",
        )
    if total.reached:
        more = total.reached - len(total.reached_names)
        others = f" and {more} more" if more else ""
        yield WARN, f"{many(total.reached, 'limit')} reached: {', '.join(total.reached_names)}{others}."
    if status.traffic.waiting:
        yield WARN, f"{many(status.traffic.waiting, 'request')} waiting for a target."
    if status.store is Store.AWAY:
        yield BAD, "The shared store does not answer: limits fall to each replica's share."
    if status.expected is not None and status.live < status.expected:
        yield WARN, f"{status.live} of {many(status.expected, 'expected replica')} live."
    if status.mixed:
        yield WARN, "Replicas differ in version or configuration."


def _tiles(status: Status) -> Element:
    traffic, total = status.traffic, status.totals
    share = bar(min(status.live / status.expected, 1.0)) if status.expected is not None else None
    return h.section(aria_labelledby="now")[
        h.h2("#now.unseen")["Now"],
        h.dl(".tiles")[
            _tile("Requests/s", figure(traffic.rate), course(traffic.course)),
            _tile("Failed", "—" if traffic.errors is None else f"{traffic.errors:.1%}"),
            _tile("In flight", str(traffic.in_flight)),
            _tile("Waiting", str(traffic.waiting)),
            _tile("Targets", f"{total.takers} of {total.targets}", bar(total.takers / max(total.targets, 1))),
            _tile("Replicas", live(status), [share, reckoned(status)]),
            _tile("Store", status.store.value),
        ],
    ]


def _tile(name: str, figure: str, more: Node = None) -> Element:
    return h.div[h.dt[name], h.dd[h.span(".figure")[figure], more]]
