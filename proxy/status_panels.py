"""The parts of the status page that show one thing each: models, failovers, limits, replicas."""

from collections.abc import Sequence

import htpy as h
from htpy import Element, Node

from proxy.drawing import BAD, OK, SHAPES, WARN, bar, clock, drawn, many, sign, span
from proxy.status import Failover, Holder, ModelSeen, Shape, Status, TargetSeen


def models(status: Status) -> Element:
    """Each model with its targets."""
    return h.section(aria_labelledby="models")[
        h.h2("#models", tabindex="-1")["Models"],
        h.div(".cards")[[_card(number, model) for number, model in enumerate(status.models)]],
        status.more_targets > 0
        and h.p(".more")[
            many(status.more_targets, "more target"),
            status.more_models > 0 and f", {many(status.more_models, 'more model')} among them,",
            " at ",
            h.a(href="/admin/targets")["/admin/targets"],
            ".",
        ],
    ]


def _card(number: int, model: ModelSeen) -> Element:
    count = model.count
    how = OK if model.takers == count else WARN if model.takers else BAD
    ranked = len({target.priority for target in model.targets}) > 1
    keyed = len({target.place for target in model.targets}) < len(model.targets)
    said = [model.strategy.replace("_", " "), f"{model.takers} of {count} take requests"]
    if model.waiting:
        said.append(f"{model.waiting} waiting")
    return h.article(class_=f"card {how}", aria_labelledby=f"m{number}")[
        h.h3(id=f"m{number}")[sign(how), h.span[model.alias]],
        h.p(".said")[" · ".join(said)],
        h.table[
            h.caption(".unseen")[f"Targets of {model.alias}"],
            h.thead[
                h.tr[
                    h.th(scope="col")["Target"],
                    h.th(".number", scope="col")["In flight"],
                    h.th(".number", scope="col")["Latency"],
                    h.th(".number", scope="col")["Share"],
                ]
            ],
            h.tbody[[_target(target, ranked=ranked, keyed=keyed) for target in model.targets]],
        ],
        model.more > 0 and h.p(".more")[f"{model.more} more, of which {model.more_takers} take requests."],
    ]


def _target(target: TargetSeen, *, ranked: bool, keyed: bool) -> Element:
    """Its key is named where there are several."""
    how, shape = SHAPES[target.shape]
    if target.spared:
        how = WARN
    here = f"{target.here}/{target.limit}" if target.limit is not None else str(target.here)
    return h.tr[
        h.th(scope="row")[
            h.span(".name", title=target.id)[
                target.place, keyed and h.small[target.id.removeprefix(target.place)]
            ],
            h.span(class_=f"state {how}")[drawn(shape), _state(target)],
            h.span(".note")[_note(target, ranked=ranked)],
        ],
        h.td(".number")[
            here, target.elsewhere > 0 and h.small(title="on other replicas")[f" +{target.elsewhere}"]
        ],
        h.td(".number")[_latency(target)],
        h.td(".number")["—" if target.share is None else [f"{target.share:.0%}", bar(target.share)]],
    ]


def _state(target: TargetSeen) -> str:
    lasts = f" for {span(target.lasts)}" if target.lasts else ""
    return f"{target.shape}{lasts}{', tried all the same' if target.spared else ''}"


def _note(target: TargetSeen, *, ranked: bool) -> str:
    said = [f"priority {target.priority}"] if ranked else []
    if target.trouble and target.shape is not Shape.READY:
        said.append(f"last error: {target.trouble}")
    return " · ".join(said)


def _latency(target: TargetSeen) -> Node:
    """To the first content of streams, and whole answers where there were no streams."""
    if target.first_content is not None:
        return span(target.first_content)
    return "—" if target.whole is None else span(target.whole)


# What has happened, what is left, who is there.


def failovers(recent: Sequence[Failover]) -> Element:
    """What went wrong lately, and how it ended."""
    return h.section(".panel", aria_labelledby="failovers")[
        h.h2("#failovers")["Recent failovers"],
        h.p(".said")["Requests that needed more than one try, or failed. The newest first."],
        h.ol(".failovers")[[_failover(one) for one in recent]]
        if recent
        else h.p(".none")["None on this replica."],
    ]


def _failover(one: Failover) -> Element:
    how, said = (OK, "rescued") if one.rescued else (BAD, f"{one.outcome} {one.status or ''}".rstrip())
    steps = one.path.split(" > ")
    return h.li(id=one.request_id)[
        h.p(".what")[
            h.a(href=f"/admin/decisions/{one.request_id}", aria_label=f"Why: {one.request_id}")[
                clock(one.at)
            ],
            h.span(class_=f"state {how}")[sign(how), said],
            h.strong[one.model or "no model"],
            h.span["for ", one.client or "nobody"],
            h.span(".note")[span(one.took)],
        ],
        h.p(".path")[
            [
                h.span(".step")[number > 0 and h.span(".arrow")[" > "], step]
                for number, step in enumerate(steps)
            ]
        ],
    ]


def limits(status: Status) -> Element:
    """What is left to whom."""
    rows = [_limit(limit) for limit in status.limits]
    return h.section(".panel", aria_labelledby="limits")[
        h.h2("#limits")["Limits"],
        _table(
            "What clients, models and keys have left, as this replica was told last",
            ("Whose", "", "Left"),
            rows,
        )
        if rows
        else h.p(".none")["Nothing is limited."],
        status.more_limits > 0 and h.p(".more")[many(status.more_limits, "more limit"), " not shown."],
    ]


def _limit(limit: Holder) -> Element:
    how = BAD if limit.reached else WARN if limit.left < 0.2 else OK
    refused = f"{many(limit.refused, 'refusal')} so far" if limit.refused else ""
    return h.tr[
        h.th(scope="row")[
            h.span(".name")[h.small[limit.kind, " "], limit.name],
            h.span(".note")[limit.reached and h.span(".state.bad")[sign(BAD), "reached"], refused],
        ],
        h.td(".dimension")[h.span[f"{limit.limit:,}"], " ", h.small[limit.dimension]],
        h.td(".number")[f"{limit.left:.0%}", bar(limit.left, how)],
    ]


def replicas(status: Status) -> Element:
    """Who lives, and whether they agree."""
    mine, few = (status.version, status.config_hash), reckoned(status)
    rows = [
        h.tr[
            h.th(scope="row")[
                h.code[one.id],
                one.id == status.replica and h.span(".here")["this one"],
                (one.version, one.config_hash) != mine and h.span(".state.warn")[sign(WARN), "differs"],
            ],
            h.td[h.code[one.version]],
            h.td[h.code[one.config_hash[:12]]],
            h.td(".number")[str(one.in_flight)],
        ]
        for one in status.members
    ]
    more = max(status.more_members, status.live - len(status.members))
    return h.section(".panel", aria_labelledby="replicas")[
        h.h2("#replicas")["Replicas"],
        h.p(".said")[
            live(status),
            " expected" if status.expected is not None else "",
            " live",
            status.mixed and ", and they differ",
            few and [", ", few],
            ".",
        ],
        _table("Replicas that live", ("Name", "Version", "Config", "In flight"), rows),
        more > 0 and h.p(".more")[many(more, "more replica"), " not shown."],
    ]


def live(status: Status) -> str:
    """How many replicas do; of how many, where that was said."""
    return f"{status.live} of {status.expected}" if status.expected is not None else str(status.live)


def reckoned(status: Status) -> Element | None:
    """By how many limits are divided while the store is away: the most there may be, which are not always."""
    if status.reckoned <= status.live:
        return None
    return h.small(title="redis.min_replicas: while the store is away")[
        f"limits reckon with {status.reckoned}"
    ]


def _table(caption: str, names: Sequence[str], rows: Sequence[Element]) -> Element:
    """The last column holds numbers."""
    heads = [
        h.th(class_="number" if name is names[-1] else None, scope="col")[name or h.span(".unseen")["Limit"]]
        for name in names
    ]
    return h.table[h.caption(".unseen")[caption], h.thead[h.tr[heads]], h.tbody[rows]]
