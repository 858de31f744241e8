"""Tests of `proxy.status_page`: the whole page, its live part, and the form."""

import re

import msgspec
import pytest
from fakes.statuses import EJECTED, LIMIT, READY, STATUS, status

from proxy.replicas import About
from proxy.status import ModelSeen, Shape, Status, Store, Totals
from proxy.status_page import login, page, picture

HOSTILE = '"><script>alert(1)</script>'


def test_the_page_is_whole_without_scripts() -> None:
    """All of the picture is in it, and where news come from."""
    told = page(STATUS)
    assert told.startswith('<!doctype html><html lang="en">')
    assert picture(STATUS, 0) in told
    assert 'hx-sse:connect="/events"' in told
    assert 'name="viewport"' in told


def test_nothing_is_inline_and_nothing_is_from_elsewhere() -> None:
    """As the policy wants it."""
    told = page(status(models=(ModelSeen("small", "weighted", (READY, EJECTED)),)))
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:|https?://", told) == []
    assert re.findall(r"<script(?! src=\"/static/[a-z.-]+\"></script>)", told) == []


def test_the_extension_is_there_before_the_library_begins() -> None:
    """Deferred scripts would let it begin in between."""
    told = page(STATUS)
    assert told.index("htmx.min.js") < told.index("hx-sse.min.js")
    assert "defer" not in told


def test_pictures_take_turns() -> None:
    """So that the browser can tell one from the next, also where a watcher has missed one."""
    classes = [re.search('class="(turn-[^"]+)"', picture(STATUS, turn)) for turn in range(4)]
    assert [found and found[1] for found in classes] == ["turn-0", "turn-1", "turn-2", "turn-0"]


def test_it_says_since_when_it_would_be_stale() -> None:
    """The style sheet shows it when nothing follows."""
    told = picture(STATUS, 1)
    assert re.search('role="alert">.*no news since <time[^>]*>08:00:00 UTC</time>', told)


CROWD = tuple(
    ModelSeen(f"m{number}", "weighted", (msgspec.structs.replace(EJECTED, id=f"m{number}/x"),))
    for number in range(5)
)


@pytest.mark.parametrize(
    ("changed", "how", "said"),
    [
        (STATUS, "ok", "All is well with 1 target of 1 model."),
        (status(models=()), "ok", "No models are configured."),
        (
            status(models=(ModelSeen("small", "weighted", (READY, EJECTED)),)),
            "warn",
            "1 of 2 targets take no requests: 1 ejected.",
        ),
        (
            status(models=(ModelSeen("small", "weighted", (EJECTED,)),)),
            "bad",
            "No target of small takes requests.",
        ),
        (status(models=CROWD), "bad", "Nor does any target of 2 more models."),
        (status(ready=False), "warn", "This replica takes no new requests"),
        (status(store=Store.AWAY), "bad", "The shared store does not answer"),
        (status(reckoned=12), "ok", "All is well"),
        (status(expected=3), "warn", "2 of 3 expected replicas live."),
        (status(expected=None), "ok", "All is well"),
        (status(members=(STATUS.members[0], About("two", "2", "abc", 6))), "warn", "Replicas differ"),
        (
            status(limits=(msgspec.structs.replace(LIMIT, reached=True),)),
            "warn",
            "1 limit reached: client acme.",
        ),
        (
            status(limits=(msgspec.structs.replace(LIMIT, reached=True),) * 5),
            "warn",
            "client acme and 2 more.",
        ),
        (
            status(traffic=msgspec.structs.replace(STATUS.traffic, waiting=1)),
            "warn",
            "1 request waiting for a target.",
        ),
    ],
)
def test_the_verdict_says_what_is_wrong(changed: Status, how: str, said: str) -> None:
    """The worst of it gives it its look."""
    told = picture(changed, 0)
    verdict = told[told.index('class="verdict') : told.index("</section>")]
    assert verdict.startswith(f'class="verdict {how}"')
    assert said in verdict


def test_the_verdict_and_the_tiles_are_of_what_does_not_fit_as_well() -> None:
    """In both directions: what is shown may be all well, and what is not shown all out."""
    shown = (ModelSeen("small", "weighted", (READY,), 0, 199, 119),)
    total = Totals(300, 200, 120, dark=5, dark_names=("a", "b", "c"), out={Shape.EJECTED: 80})
    told = picture(status(models=shown, totals=total, more_targets=199), 0)
    assert "All is well" not in told
    assert "80 of 200 targets take no requests: 80 ejected." in told
    assert "No target of c takes requests." in told
    assert "Nor does any target of 2 more models." in told
    assert ">120 of 200<" in told
    one = status(models=shown, totals=Totals(300, 200, 120, dark=4, dark_names=("a", "b", "c")))
    assert "Nor does any target of 1 more model." in picture(one, 0)
    assert "199 more targets, 299 more models among them," in told
    well = status(models=shown, totals=Totals(300, 300, 300), more_targets=180)
    assert "All is well with 300 targets of 300 models." in picture(well, 0)


def test_limits_that_are_not_shown_count() -> None:
    """Only the first few are named."""
    told = picture(status(totals=Totals(1, 1, 1, reached=50, reached_names=("client a", "client b"))), 0)
    assert "50 limits reached: client a, client b and 48 more." in told


def test_fewer_replicas_than_limits_reckon_with_are_no_trouble() -> None:
    """A cluster that grows with its load has fewer most of the time."""
    told = picture(status(reckoned=12), 0)
    assert "limits reckon with 12" in told
    assert 'class="verdict ok"' in told
    assert "limits reckon" not in picture(status(reckoned=2), 0)


def test_who_has_logged_in_can_log_out() -> None:
    """Beside the live part, which is the same for all."""
    assert '<form class="leave" method="post" action="/logout">' in page(STATUS, True)
    assert "/logout" not in page(STATUS)


def test_a_full_house_is_said_until_there_is_a_picture() -> None:
    """What says it is within the part that is replaced."""
    told = page(STATUS, False, True)
    assert told.index('id="live"') < told.index("As many watch this replica as may.") < told.index("picture")
    assert "every 15s" in told
    assert "As many" not in page(STATUS)


def test_hostile_names_are_only_names() -> None:
    """In the head and in the verdict as well."""
    model = ModelSeen(HOSTILE, "weighted", (EJECTED,))
    limit = msgspec.structs.replace(LIMIT, name=HOSTILE, reached=True)
    told = page(
        status(models=(model,), limits=(limit,), replica=HOSTILE, version=HOSTILE, config_hash=HOSTILE)
    )
    assert HOSTILE not in told
    assert "alert(1)" in told
    assert told.count("<script") == 2


def test_the_form_tells_nothing() -> None:
    """But that a token was wrong."""
    told = login("p { color: red }", False)
    assert '<form method="post" action="/login">' in told
    assert "<style>p { color: red }</style>" in told
    assert "not the token" not in told
    assert "This is not the token." in login("", True)
    assert "<script" not in told
