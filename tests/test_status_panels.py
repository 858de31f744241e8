"""Tests of `proxy.status_panels`: models, failovers, limits and replicas as HTML."""

import re

import msgspec
from fakes.statuses import EJECTED, FAILOVER, LIMIT, READY, STATUS, status

from proxy.replicas import About
from proxy.status import ModelSeen, Shape
from proxy.status_panels import failovers, limits, models, replicas

HOSTILE = "<script>alert('x')</script>\"&"
ESCAPED = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&#34;&amp;"


def test_a_model_shows_its_targets() -> None:
    """How each stands and for how long, in words; what it has to do; its part."""
    told = str(models(status(models=(ModelSeen("small", "least_latency", (READY, EJECTED), 3),))))
    assert "<caption" in told
    assert "least latency · 1 of 2 take requests · 3 waiting" in told
    assert "ejected for 42 s" in told
    assert "last error: status_503, 3 s ago" in told
    assert ">250 ms<" in told
    assert ">75%<" in told
    assert 'title="a/small@0123456789">a/small<' in told


def test_keys_are_named_where_there_are_several() -> None:
    """Else they are noise."""
    other = msgspec.structs.replace(READY, id="a/small@ffffffffff", elsewhere=4, limit=8, whole=3.0)
    told = str(models(status(models=(ModelSeen("small", "weighted", (READY, other)),))))
    assert "<small>@0123456789</small>" in told
    assert "<small>@ffffffffff</small>" in told
    assert '2/8<small title="on other replicas"> +4</small>' in told


def test_priorities_are_told_where_they_differ() -> None:
    """And that a target is tried although it is out."""
    second = msgspec.structs.replace(EJECTED, priority=2, spared=True)
    told = str(models(status(models=(ModelSeen("small", "weighted", (READY, second)),))))
    assert "priority 2 · last error: status_503" in told
    assert "ejected for 42 s, tried all the same" in told
    assert "priority" not in str(models(STATUS))


def test_what_does_not_fit_is_said() -> None:
    """A page that shows a part says so."""
    crowd = status(more_targets=7, more_limits=1, more_members=2)
    assert "7 more targets" in str(models(crowd))
    assert "1 more limit" in str(limits(crowd))
    assert "2 more replicas" in str(replicas(crowd))


def test_failovers_lead_to_their_decisions() -> None:
    """Each with its way, how it ended, and for whom."""
    lost = msgspec.structs.replace(
        FAILOVER, request_id="req_1", rescued=False, outcome="failed", status=503, path="a status_503 > 503 x"
    )
    told = str(failovers((lost, FAILOVER)))
    assert told.index("failed 503") < told.index("rescued")
    assert 'href="/admin/decisions/req_1"' in told
    assert told.count("status_503") == 2
    assert "None on this replica." in str(failovers(()))


def test_limits_say_what_is_left() -> None:
    """One that is reached has the word, the sign and the colour."""
    reached = msgspec.structs.replace(LIMIT, name="tight", left=0.0, reached=True, refused=12)
    told = str(limits(status(limits=(reached, LIMIT))))
    assert "reached" in told
    assert "12 refusals so far" in told
    assert 'class="bar bad"' in told
    assert ">50%<" in told
    assert "600" in told
    assert "reached" not in str(limits(STATUS))
    assert "Nothing is limited." in str(limits(status(limits=())))


def test_replicas_that_differ_are_marked() -> None:
    """This one as well."""
    told = str(replicas(STATUS))
    assert told.count("this one") == 1
    assert "2 of 2 expected live." in told
    assert ">2 live." in str(replicas(status(expected=None)))
    mixed = str(replicas(status(members=(STATUS.members[0], About("two", "1.2.4", "abc", 6)))))
    assert mixed.count("differs") == 1
    assert "and they differ" in mixed


def test_replicas_that_limits_reckon_with_are_told_without_alarm() -> None:
    """Where they are more than live."""
    told = str(replicas(status(reckoned=12)))
    assert re.search(r"2 of 2 expected live, <small title=[^>]*>limits reckon with 12</small>\.", told)
    assert "warn" not in told
    assert "bad" not in told


def test_a_model_of_which_a_part_is_shown_says_so() -> None:
    """With those that are not shown it counts what it has."""
    told = str(models(status(models=(ModelSeen("small", "weighted", (EJECTED,), 0, 4, 3),))))
    assert "3 of 5 take requests" in told
    assert "4 more, of which 3 take requests." in told
    assert 'class="card warn"' in told
    assert "more models" not in told


def test_hostile_names_are_only_names() -> None:
    """Whoever made them up."""
    target = msgspec.structs.replace(EJECTED, id=f"{HOSTILE}@{HOSTILE}", trouble=HOSTILE)
    failover = msgspec.structs.replace(
        FAILOVER,
        model=HOSTILE,
        client=HOSTILE,
        path=HOSTILE,
        request_id=HOSTILE,
        outcome=HOSTILE,
        rescued=False,
    )
    crowd = status(
        models=(ModelSeen(HOSTILE, HOSTILE, (target, msgspec.structs.replace(target, shape=Shape.BUSY))),),
        limits=(msgspec.structs.replace(LIMIT, name=HOSTILE),),
        members=(About(HOSTILE, HOSTILE, HOSTILE, 5),),
    )
    drawn = (models(crowd), failovers((failover,)), limits(crowd), replicas(crowd))
    for told in map(str, drawn):
        assert "<script" not in told
        assert ESCAPED in told
