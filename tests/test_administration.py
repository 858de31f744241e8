"""Tests of `proxy.administration`: what operators ask and order, through the application of their port."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from fakes.chats import reply, request
from fakes.configs import CLIENT_KEY, MODEL, Tree, config
from fakes.providers import Answer
from fakes.scenes import Scene
from fakes.virtual_loop import run
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from test_inquiries import Bus
from test_ledger import BYTES
from test_rehearsal import effects, rehearsal

from metrics.instruments import Instruments
from proxy import administration, operations, telling
from proxy.administration import NOTHING_KEPT, Administration
from proxy.decision import Decision
from proxy.explanation import Explanation
from proxy.health import Effect, Report
from proxy.inquiries import LARGEST, Inquiries, Silence
from proxy.ledger import ERAS
from proxy.rehearsal import viewed
from proxy.replaying import replayed
from proxy.replicas import About
from proxy.snapshot import snapshot
from proxy.targets import Target
from proxy.tasks import Tasks
from proxy.tenants import Tenants
from proxy.wire.envelope import encode
from proxy.wire.model import Endpoint
from ratelimit.scope import Limits

KEYS = ("sk-provider-one-0001", "sk-provider-two-0002")
GOOD = Answer([reply()])
BUSY = Answer([], 503)
Json = dict[str, Any]


class Line(Inquiries):
    """A line to other replicas, on which somebody has answered already."""

    def __init__(self, heard: bytes | Silence) -> None:
        self._said = heard
        self.asked: list[tuple[str, bytes]] = []

    async def ask(self, name: str, question: bytes) -> bytes | Silence:
        """Note it."""
        self.asked.append((name, question))
        return self._said


class Desk:
    """An operations port over a scene."""

    def __init__(self, scene: Scene, line: Inquiries | None = None, name: str = "0123456789ab") -> None:
        self.scene = scene
        scene.ledger.name = name
        self.administration = Administration(
            scene.fleet, scene.limiter, scene.ledger, rehearsal(scene), lambda: line
        )

        async def members() -> tuple[About, ...]:
            return ()

        async def prepare() -> None:
            return None

        watched = operations.Watched(Instruments(CollectorRegistry(), "1"), members, prepare)
        self.app = operations.operations_app(lambda: True, watched)
        self.administration.attach(self.app)

    async def raw(
        self, method: str, path: str, body: bytes | AsyncIterator[bytes] = b"", **headers: str
    ) -> httpx.Response:
        """One request."""
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, content=body, headers=headers)

    async def get(self, path: str) -> Json:
        """What is there."""
        answer = await self.raw("GET", path)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    async def refused(self, method: str, path: str, body: bytes = b"") -> tuple[int, str]:
        """Why not."""
        answer = await self.raw(method, path, body)
        assert answer.status_code >= 400
        return answer.status_code, answer.json()["error"]["message"]


def limited(**rest: Any) -> Any:
    """Two providers with a limit, one model."""
    first: Tree = {
        "base_url": "http://a.test/v1",
        "api_keys": [KEYS[0]],
        "limits": {"requests_per_minute": 60, "concurrency": 5},
    }
    second: Tree = {
        "base_url": "http://b.test/v1",
        "api_keys": [KEYS[1]],
        "headers": {"x-team": "hidden-header-1"},
    }
    return config({"a": first, "b": second}, **rest)


def scene_of(**rest: Any) -> Scene:
    """A scene of that."""
    return Scene(limited(**rest), {"a": [BUSY], "b": [GOOD]})


def test_targets_are_listed_with_what_their_keys_have_left() -> None:
    """Those of keys without limits have no such list."""

    async def main() -> Json:
        scene = scene_of()
        await scene.ask(request())
        return await Desk(scene).get("/admin/targets")

    found = run(main())
    assert found["replica"] == "replica"
    first, second = found["targets"]
    assert (first["model"], first["ready"], second["limits"]) == (MODEL, True, [])
    (limit,) = first["limits"]
    assert limit["limit"].startswith("key a@")
    assert (limit["requests_per_minute"], limit["concurrency"]) == (60, 5)
    assert limit["said"]["requests"]["remaining"] == 59
    assert first["troubles"] == [{"kind": "status_503", "count": 1, "ago": 0.0}]


def test_limits_while_the_store_is_away() -> None:
    """Figures are told, and not what is left."""

    class Away:
        """A limiter that cannot ask."""

        away = 1

        async def peek(self, limits: Limits) -> None:
            """Nobody knows."""

    async def main() -> tuple[Json, Json]:
        desk = Desk(scene_of(client={"limits": {"requests_per_minute": 5}}))
        limiter: Any = Away()
        object.__setattr__(desk.administration, "limiter", limiter)
        return await desk.get("/admin/limits/dev"), await desk.get("/admin/targets")

    limits, targets = run(main())
    assert limits["known"] is False
    assert limits["limits"][0]["requests_per_minute"] == 5
    assert "said" not in limits["limits"][0]
    assert "said" not in targets["targets"][0]["limits"][0]


@pytest.mark.parametrize("spell", ["id", "label", "quoted"])
def test_a_target_is_drained_and_comes_back(spell: str) -> None:
    """By its id, also percent-encoded, or with all others of its label."""

    async def main() -> list[Any]:
        scene = scene_of()
        desk, target = Desk(scene), scene.targets[0]
        name = {
            "id": target.id,
            "label": target.label,
            "quoted": target.id.replace("/", "%2F").replace("@", "%40"),
        }
        found: list[Any] = []
        for order in ("drain", "restore", "reset"):
            answer = await desk.raw("POST", f"/admin/targets/{name[spell]}/{order}")
            still = {target.id: [target.id]} if order == "drain" else {}
            assert answer.json() == {"order": order, "targets": [target.id], "with": [], "still": still}
            found.append((await desk.get("/admin/targets"))["targets"][0].get("drained", False))
        return found

    assert run(main()) == [True, False, False]


def test_a_reset_forgets_what_is_known() -> None:
    """Of that target alone."""

    async def main() -> tuple[bool, bool]:
        scene = scene_of()
        for number in (0, 1):
            scene.teach(*[Report(Effect.FAILURE)] * 8, number=number)
        await Desk(scene).raw("POST", f"/admin/targets/{scene.targets[0].id}/reset")
        return scene.health(0).open_until == 0, scene.health(1).open_until == 0

    assert run(main()) == (True, False)


def test_an_order_is_a_line_of_the_log() -> None:
    """Who sent a target away, and when, is asked later."""

    async def main() -> str:
        scene = scene_of()
        target = scene.targets[0].id
        await Desk(scene).raw("POST", f"/admin/targets/{target}/drain")
        return target

    with capture_logs() as lines:
        target = run(main())
    assert [line for line in lines if line["event"] == "ordered"] == [
        {
            "event": "ordered",
            "log_level": "info",
            "order": "drain",
            "targets": [target],
            "with": [],
            "still": {target: [target]},
            "by": "127.0.0.1",
        }
    ]


WAY = Report(Effect.FAILURE, way=True)
REFUSED = Report(Effect.QUARANTINE_KEY)


def shut_out() -> tuple[Desk, Target]:
    """A target that is kept away by its own name, its key and its origin."""
    scene = scene_of()
    scene.teach(*[Report(Effect.FAILURE)] * 5, *[WAY] * 5, REFUSED)
    return Desk(scene), scene.targets[0]


@pytest.mark.parametrize(
    ("asked", "taken", "hint"),
    [
        ("", [], "`reset?with=key&with=origin` also forgets what is held against its key and its origin"),
        ("?with=key", ["key"], "`reset?with=origin` also forgets what is held against its origin, for all"),
        ("?with=origin", ["origin"], "`reset?with=key` also forgets what is held against its key, for all"),
        ("?with=key&with=origin", ["key", "origin"], None),
        ("?with=origin&with=key&with=key", ["key", "origin"], None),
    ],
)
def test_a_reset_takes_in_what_is_shared(asked: str, taken: list[str], hint: str | None) -> None:
    """As far as it is told to; the answer names that, what still keeps it away, and the way to lift it."""

    async def main() -> None:
        desk, target = shut_out()
        shared = {"key": target.key_id, "origin": target.origin}
        path = f"/admin/targets/{target.id}/reset"
        told = (await desk.raw("POST", path + asked)).json()
        reset = sorted(shared[what] for what in taken)
        left = sorted(set(shared.values()) - set(reset))
        assert (told["targets"], told["with"]) == ([target.id], reset)
        assert told["still"] == ({target.id: left} if left else {})
        assert told.get("hint", "").startswith(hint or "")
        assert ("hint" in told) is (hint is not None)
        assert bool(desk.scene.fleet.standing(target).until) is bool(left)

    run(main())


def test_a_reset_with_what_is_shared_is_for_all_of_its_targets() -> None:
    """The key that was refused serves another model again; what is held against that model alone stays."""

    async def main() -> None:
        entries = [{"provider": "a", "model": name} for name in ("one", "two", "three")]
        scene = Scene(limited(models={MODEL: {"providers": entries}}), {"a": [GOOD]})
        scene.teach(REFUSED)
        scene.teach(Report(Effect.QUARANTINE_MODEL), number=2)
        first, second, third = scene.targets
        ready = [bool(scene.fleet.standing(target).until) for target in scene.targets]
        assert ready == [True, True, True]
        told = (await Desk(scene).raw("POST", f"/admin/targets/{first.label}/reset?with=key")).json()
        assert (told["targets"], told["with"], told["still"]) == ([first.id], [first.key_id], {})
        found = [scene.fleet.standing(target).until for target in (first, second)]
        assert (found, scene.fleet.standing(third).until > 0) == ([0, 0], True)

    run(main())


def test_the_keys_of_a_label_are_each_reset_once() -> None:
    """Their one origin too: an epoch that began twice would forget what came between."""

    async def main() -> list[int]:
        scene = Scene(config({"a": 3}), {"a": [GOOD]})
        path = "/admin/targets/a/a-model/reset?with=key&with=origin"
        told = (await Desk(scene).raw("POST", path)).json()
        first = scene.targets[0]
        assert told["with"] == sorted({first.origin, *(target.key_id for target in scene.targets)})
        return [scene.fleet.health.records[name].reset_at - scene.fleet.now() for name in told["with"]]

    assert run(main()) == [0, 0, 0, 0]


@pytest.mark.parametrize(("order", "said"), [("restore", True), ("drain", False)])
def test_who_wants_a_target_back_is_told_how(order: str, said: bool) -> None:
    """And who wants it away is not."""

    async def main() -> None:
        desk, target = shut_out()
        told = (await desk.raw("POST", f"/admin/targets/{target.id}/{order}")).json()
        assert told["still"] == {target.id: sorted((target.id, target.origin, target.key_id))}
        assert ("hint" in told) is said

    run(main())


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("reset?with=model", "`with` is one of key, origin."),
        ("reset?with=", "`with` is one of key, origin."),
        ("reset?with", "`with` is one of key, origin."),
        ("reset?with=KEY", "`with` is one of key, origin."),
        ("reset?with=key,origin", "`with` is one of key, origin."),
        ("reset?with=key&with=x", "`with` is one of key, origin."),
        (f"reset?with={'x' * 5000}", "`with` is one of key, origin."),
        ("reset?with=%ff%00", "`with` is one of key, origin."),
        ("drain?with=key", "`with` is for `reset` alone."),
        ("restore?with=origin", "`with` is for `reset` alone."),
    ],
)
def test_what_cannot_be_taken_in(path: str, said: str) -> None:
    """Is refused as a whole, and changes nothing."""

    async def main() -> None:
        desk, target = shut_out()
        before = effects(desk.scene)
        assert await desk.refused("POST", f"/admin/targets/{target.id}/{path}") == (400, said)
        assert effects(desk.scene) == before

    run(main())


def test_all_of_a_label_are_ordered_at_once() -> None:
    """Whatever their keys and the models that they serve."""

    async def main() -> list[str]:
        scene = Scene(config({"a": 3}), {"a": [GOOD]})
        answer = await Desk(scene).raw("POST", "/admin/targets/a/a-model/drain")
        drained = [target.id for target in scene.targets if scene.fleet.standing(target).drained]
        assert sorted(drained) == sorted(answer.json()["targets"])
        return drained

    assert len(run(main())) == 3


def test_what_clients_address_directly_can_be_drained() -> None:
    """All models of a provider that nobody has configured stand under one name."""

    async def main() -> list[str]:
        scene = Scene(config({"a": 2}), {"a": [GOOD]})
        answer = await Desk(scene).raw("POST", "/admin/targets/a/*/drain")
        found: list[str] = answer.json()["targets"]
        return found

    assert [name.partition("@")[0] for name in run(main())] == ["a/*", "a/*"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/admin/targets/nobody/drain", "There is no target 'nobody'"),
        (
            "/admin/targets/a/a-model/destroy",
            "A target can be told to drain, restore, reset; not to destroy.",
        ),
        ("/admin/targets//drain", "There is no target ''"),
        ("/admin/targets/%00%ff%22%3Cscript%3E/drain", "There is no target '"),
        (f"/admin/targets/{'x' * 5000}/drain", "There is no target 'xxx"),
        (f"/admin/targets/x/{'y' * 5000}", "A target can be told to drain"),
        ("/admin/targets/..%2f..%2f/drain", "There is no target '../../'"),
        ("/admin/targets/%ED%A0%80/drain", "There is no target '"),
    ],
)
def test_orders_that_mean_nothing(path: str, said: str) -> None:
    """Are refused in a few words, however they are written, and change nothing."""

    async def main() -> None:
        scene = scene_of()
        before = effects(scene)
        status, message = await Desk(scene).refused("POST", path)
        assert (status, message[: len(said)]) == (404, said)
        assert len(message) < 400
        assert effects(scene) == before

    run(main())


def test_a_client_s_limits() -> None:
    """Its own and those for single models, with what is left."""

    async def main() -> tuple[Json, Json]:
        clients = [
            {
                "name": "de v:1",
                "keys": [CLIENT_KEY],
                "models": ["*"],
                "limits": {"tokens_per_minute": 1000},
                "model_limits": {MODEL: {"requests_per_minute": 10}},
            },
            {"name": "free", "keys": ["sk-free-000000000"], "models": ["*"]},
        ]
        scene = scene_of(clients=clients)
        await scene.ask(request())
        desk = Desk(scene)
        return await desk.get("/admin/limits/de%20v:1"), await desk.get("/admin/limits/free")

    found, free = run(main())
    assert (found["client"], found["known"]) == ("de v:1", True)
    assert [one["limit"] for one in found["limits"]] == ["client de v:1", f"client de v:1, model {MODEL}"]
    assert found["limits"][1]["said"]["requests"] == {
        "limit": 10,
        "remaining": 9,
        "reset": 6.0,
        "drains": 60.0,
    }
    assert free == {"client": "free", "limits": [], "known": True}


def test_clients_that_are_none() -> None:
    """Are told who there is, up to a number."""

    async def main() -> None:
        desk = Desk(scene_of())
        assert await desk.refused("GET", "/admin/limits/nobody") == (
            404,
            "There is no client 'nobody'; clients are dev.",
        )
        assert (await desk.refused("GET", "/admin/limits/"))[0] == 400
        assert (await desk.refused("GET", f"/admin/limits/{'x' * 4000}%ff%00"))[0] == 404
        many = [{"name": f"c{n}", "keys": [f"sk-client-{n:08d}"], "models": ["*"]} for n in range(30)]
        status, said = await Desk(scene_of(clients=many)).refused("POST", "/admin/explain", request())
        assert status == 400
        asks = (
            "It hangs on who asks: name the client (`client=NAME`, or `--client NAME`); clients are c0, c1,"
        )
        assert said.startswith(asks)
        assert said.endswith("c19 and 10 more.")
        nobody = Scene(limited(clients=[]), {})
        assert (await Desk(nobody).refused("GET", "/admin/limits/x"))[1].endswith("clients are none.")

    run(main())


async def explain(desk: Desk, body: bytes, query: str = "", **headers: str) -> Explanation:
    """What is foretold."""
    answer = await desk.raw("POST", f"/admin/explain{query}", body, **headers)
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=Explanation)


def test_explain_tells_what_would_become_of_a_request() -> None:
    """And leaves nothing behind, and sends nothing."""

    async def main() -> None:
        scene = scene_of(client={"limits": {"requests_per_minute": 60, "burst": 1}})
        desk, before = Desk(scene), effects(scene)
        for _ in range(3):
            found = await explain(desk, request())
            assert (
                found.summary == "would go to a/a-model; if that fails, b/b-model, then b/b-model once more"
            )
            assert found.agrees
            assert found.limits[0].said is not None
            assert found.limits[0].said.admitted
        assert effects(scene) == before
        await scene.ask(request())
        found = await explain(desk, request())
        assert found.summary == "would be refused: 429 rate_limit_exceeded"
        assert found.answer["error"]["code"] == "rate_limit_exceeded"

    run(main())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"messages": []}, Endpoint.CHAT),
        ({"messages": [], "max_tokens": 5}, Endpoint.CHAT),
        ({"messages": [], "max_tokens": 5, "system": "x"}, Endpoint.MESSAGES),
        ({"messages": [], "max_tokens": 5, "stop_sequences": ["x"]}, Endpoint.MESSAGES),
        ({"messages": [], "max_tokens": 5, "thinking": {"type": "disabled"}}, Endpoint.MESSAGES),
        ({"messages": [], "system": "x"}, Endpoint.CHAT),
        ({"input": "x"}, Endpoint.RESPONSES),
    ],
)
def test_the_endpoint_is_guessed_from_the_fields(fields: Json, expected: Endpoint) -> None:
    """Unless it is said."""

    async def main() -> None:
        desk = Desk(scene_of())
        body = json.dumps({"model": MODEL, **fields}).encode()
        assert (await explain(desk, body)).endpoint == expected
        for named in ("chat", "responses", "messages", "embeddings"):
            assert (await explain(desk, body, f"?client=dev&endpoint={named}")).endpoint == named

    run(main())


@pytest.mark.parametrize(
    ("fields", "query", "guessed"),
    [
        ({"messages": [], "max_tokens": 5}, "", True),
        ({"messages": [], "max_tokens": 5, "temperature": 1}, "", True),
        ({"messages": [], "max_tokens": 5}, "?client=dev&endpoint=chat", False),
        ({"messages": [], "max_tokens": 5, "n": 1}, "", False),
        ({"messages": []}, "", False),
        ({"messages": [], "max_tokens": 5, "system": "x"}, "", False),
    ],
)
def test_what_could_be_either_is_said_to_be_guessed(fields: Json, query: str, guessed: bool) -> None:
    """The plainest body of Messages is one of Chat as well."""

    async def main() -> None:
        body = json.dumps({"model": MODEL, **fields}).encode()
        assert (await explain(Desk(scene_of()), body, *([query] if query else []))).guessed is guessed

    run(main())


def test_explain_heeds_what_a_client_would_send() -> None:
    """Of its headers, what may be strict; no key, for the operator's is none of a client."""

    async def main() -> None:
        spoken: Tree = {"base_url": "http://b.test", "api_keys": [KEYS[1]], "dialects": ["messages"]}
        desk = Desk(Scene(config({"b": spoken}), {"b": [GOOD]}))
        assert (await explain(desk, request(seed=5))).candidates[0].lost != ()
        strict = await explain(desk, request(seed=5), **{"x-apex-strict": "1", "authorization": "Bearer x"})
        assert strict.summary == "would be refused: 400 unsupported_parameter"

    run(main())


@pytest.mark.parametrize(
    ("body", "query", "status", "said"),
    [
        (b"", "", 400, "The request body is empty"),
        (b"no", "", 400, "The request body is not valid JSON"),
        (b"[]", "", 400, "The request body must be a JSON object."),
        (b"[" * 100_000, "", 400, "The request body is nested deeper"),
        (b"\xff\xfe", "", 400, "The request body is not valid UTF-8"),
        (b'{"model": "\\ud800"}', "", 400, "The request body is not valid JSON"),
        (request(), "?endpoint=models", 400, "`endpoint` is one of chat, embeddings, responses, messages."),
        (request(), "?endpoint=%ff%00", 400, "`endpoint` is one of"),
        (request(), "?client=nobody", 404, "There is no client 'nobody'"),
        (request(), "?client=%ff%22", 404, "There is no client '"),
        (request(), "?client=", 400, "It hangs on who asks"),
        (b'{"model": "small", "x": "' + b"x" * 3_000_000 + b'"}', "", 413, "The request body is larger than"),
    ],
)
def test_what_cannot_be_explained(body: bytes, query: str, status: int, said: str) -> None:
    """Is refused like any request; nothing that is larger than a request may be is read."""

    async def main() -> None:
        desk = Desk(scene_of(bounds={"body": "2MiB"}))
        found = await desk.refused("POST", f"/admin/explain{query}", body)
        assert (found[0], found[1][: len(said)]) == (status, said)

    run(main())


def test_a_body_without_a_length_is_bounded_too() -> None:
    """Not more of it is read than a request may be long."""
    read: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            read.append(1)
            yield b"x" * 100_000

    async def main() -> int:
        desk = Desk(scene_of(bounds={"body": "1MiB"}))
        return (await desk.raw("POST", "/admin/explain", endless())).status_code

    assert run(main()) == 413
    assert len(read) < 20


def test_what_would_be_refused_is_explained() -> None:
    """A body that says no model, or an odd one, is a request as well."""

    async def main() -> None:
        desk = Desk(scene_of())
        assert (await explain(desk, b"{}")).summary == "would be refused: 400 missing_required_parameter"
        assert (await explain(desk, b'{"model": 5}')).summary == "would be refused: 400 invalid_type"
        odd = await explain(desk, request("\x00\u2028" * 500, n=10**19, max_tokens=10**18))
        assert odd.summary == "would be refused: 404 model_not_found"
        assert (await explain(desk, request(n=10**19, max_tokens=10**18))).expected <= 2**53

    run(main())


@settings(max_examples=100, deadline=None)
@given(
    body=BYTES, endpoint=st.sampled_from(["", "&endpoint=chat", "&endpoint=responses", "&endpoint=messages"])
)
def test_whatever_is_asked_it_is_explained_or_refused(body: bytes, endpoint: str) -> None:
    """To targets of any dialect, in words as well; nothing is left behind."""

    async def main() -> None:
        spoken: Tree = {"base_url": "http://b.test", "api_keys": [KEYS[1]], "dialects": ["messages"]}
        odd: Tree = {"base_url": "http://c.test", "api_keys": ["c1"], "dialects": ["responses"]}
        made = config({"b": spoken, "c": odd, "a": 1}, client={"allow_direct": True})
        scene = Scene(made, {})
        before = effects(scene)
        answer = await Desk(scene).raw("POST", f"/admin/explain?client=dev{endpoint}", body)
        assert answer.status_code in (200, 400)
        if answer.status_code == 200:
            assert telling.explanation(msgspec.json.decode(answer.content, type=Explanation))
        assert effects(scene) == before

    run(main())


def test_decisions_are_listed_newest_first() -> None:
    """A few unless more are asked for."""

    async def main() -> None:
        scene = scene_of()
        for number in range(70):
            await scene.ask(request(MODEL if number % 2 else f"none{number}"))
        desk = Desk(scene)
        found = await desk.get("/admin/decisions")
        assert (found["replica"], len(found["decisions"])) == ("replica", 50)
        ids = [record.request_id for record in reversed(scene.records)]
        assert [one["request_id"] for one in found["decisions"]] == ids[:50]
        first, second = found["decisions"][:2]
        assert (first["model"], first["client"], first["outcome"], first["status"]) == (
            MODEL,
            "dev",
            "completed",
            200,
        )
        assert first["path"].startswith("b/b-model@")
        assert first["path"].endswith(" ok")
        assert (second["status"], second["path"]) == (404, "404 model_not_found")
        for limit, count in (("0", 0), ("3", 3), ("999999999", 70), ("00000003", 3)):
            assert len((await desk.get(f"/admin/decisions?limit={limit}"))["decisions"]) == count
        for limit in ("", "-1", "1e9", "x", "1" * 10, "%D9%A3%D9%A3x"):
            assert await desk.refused("GET", f"/admin/decisions?limit={limit}") == (
                400,
                "`limit` is a whole number.",
            )

    run(main())


def test_an_empty_list_is_one() -> None:
    """In both forms."""

    async def main() -> None:
        desk = Desk(scene_of())
        assert await desk.get("/admin/decisions") == {"replica": "replica", "decisions": []}
        assert (await desk.raw("GET", "/admin/decisions?format=lines")).content == b""

    run(main())


def test_lines_are_what_replay_wants() -> None:
    """Whole decisions, with all that they depended on, but for those whose configuration is gone."""

    async def main() -> None:
        scene = scene_of()
        await scene.ask(request())
        for number in range(ERAS):
            fresh = limited(retry={"attempts": number + 1})
            scene.fleet.renew(snapshot(fresh, Tenants(fresh.clients, b"pepper"), 1))
            await scene.ask(request())
        desk = Desk(scene)
        answer = await desk.raw("GET", "/admin/decisions?format=lines&limit=100")
        assert answer.headers["content-type"] == "application/x-ndjson"
        read = [msgspec.json.decode(line, type=Decision) for line in answer.content.splitlines()]
        assert len(read) == ERAS
        kept = [one.decision for one in scene.ledger.latest()]
        assert [encode(one) for one in read] == [encode(one) for one in kept[:ERAS]]
        assert encode(replayed(read[0], viewed(limited(retry={"attempts": ERAS})))) == encode(read[0])
        listed = (await desk.get("/admin/decisions"))["decisions"]
        assert (len(listed), listed[-1]["path"]) == (ERAS + 1, "200")

    run(main())


def test_only_so_many_lists_are_on_their_way_at_one_time() -> None:
    """A reader that does not read keeps its place for a while, and not for ever."""

    async def nothing(*_: object) -> Any:
        await asyncio.Event().wait()

    async def main() -> None:
        scene = scene_of()
        await scene.ask(request())
        desk, tasks = Desk(scene), Tasks()
        asked = {"type": "http", "method": "GET", "path": "/admin/decisions", "query_string": b""}
        for _ in range(administration.READERS):
            scope = {**asked, "headers": [(b"host", b"localhost")]}
            tasks.spawn(desk.app(scope, nothing, nothing), "reader")
        await asyncio.sleep(1)
        for form in ("", "?format=lines"):
            status, said = await desk.refused("GET", f"/admin/decisions{form}")
            assert (status, said) == (503, "As many read decisions as may.")
        await asyncio.sleep(administration.LONG)
        for _ in range(2 * administration.READERS):
            assert len((await desk.get("/admin/decisions"))["decisions"]) == 1

    run(main())


def test_a_long_list_lets_others_have_their_turn() -> None:
    """It comes in pieces, and what is decided meanwhile does no harm."""

    async def main() -> None:
        scene = scene_of()
        for _ in range(200):
            await scene.ask(request("none"))
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1
                await scene.ask(request("other"))

        task = scene.tasks.spawn(other(), "other")
        answer = await Desk(scene).raw("GET", "/admin/decisions?limit=1000")
        task.cancel()
        assert turns > 5
        found = [one["request_id"] for one in answer.json()["decisions"]]
        assert len(found) == len(set(found)) >= 200

    run(main())


def test_why_a_request_went_where_it_went() -> None:
    """Of this replica."""

    async def main() -> None:
        scene = scene_of()
        await scene.ask(request())
        line = Line(Silence.NOBODY)
        for desk in (Desk(scene), Desk(scene, line)):
            answer = await desk.raw("GET", f"/admin/decisions/{scene.last.request_id}")
            assert answer.headers["content-type"] == "application/json"
            found = msgspec.json.decode(answer.content, type=Explanation)
            assert (found.request_id, found.agrees) == (scene.last.request_id, True)
            assert found.replica == "0123456789ab"
            assert [step.outcome for step in found.steps] == ["status_503", "ok"]
        assert line.asked == []

    run(main())


def test_a_decision_whose_configuration_is_gone_has_an_outline() -> None:
    """It is told as far as it is known, in the same form."""

    async def main() -> None:
        scene = scene_of()
        await scene.ask(request())
        old = scene.last.request_id
        for number in range(ERAS):
            fresh = limited(retry={"attempts": number + 1})
            scene.fleet.renew(snapshot(fresh, Tenants(fresh.clients, b"pepper"), 1))
            await scene.ask(request())
        answer = await Desk(scene).raw("GET", f"/admin/decisions/{old}")
        found = msgspec.json.decode(answer.content, type=Explanation)
        assert (found.request_id, found.summary, found.agrees) == (old, "completed (200)", False)

    run(main())


OTHER = "req_" + "f" * 24


@pytest.mark.parametrize(
    ("heard", "status", "said"),
    [
        (Silence.AWAY, 503, "Replica ffffffffffff decided that, and Redis, over which it is asked, is away."),
        (Silence.NOBODY, 503, "Replica ffffffffffff decided that, and does not answer: it may be gone."),
        (Silence.BUSY, 503, "Too much is asked of other replicas at the moment."),
        (Silence.UNKNOWN, 404, NOTHING_KEPT),
    ],
)
def test_a_replica_that_does_not_say(heard: Silence, status: int, said: str) -> None:
    """Each silence is another one."""

    async def main() -> None:
        line = Line(heard)
        assert await Desk(scene_of(), line).refused("GET", f"/admin/decisions/{OTHER}") == (status, said)
        assert line.asked == [("f" * 12, OTHER.encode())]

    run(main())


def test_what_another_replica_says_is_passed_on() -> None:
    """It is an explanation already."""

    async def main() -> None:
        line = Line(zlib.compress(b'{"request_id": "x"}'))
        answer = await Desk(scene_of(), line).raw("GET", f"/admin/decisions/{OTHER}")
        assert (answer.status_code, answer.content) == (200, b'{"request_id": "x"}')

    run(main())


@pytest.mark.parametrize(
    "heard", [b"", b'{"x": 1}', zlib.compress(b"x" * 100)[:-5], zlib.compress(b"x" * 10**7)]
)
def test_what_none_of_this_version_says_is_nothing(heard: bytes) -> None:
    """Words in the open, half an answer, one without end."""

    async def main() -> int:
        return (await Desk(scene_of(), Line(heard)).refused("GET", f"/admin/decisions/{OTHER}"))[0]

    assert run(main()) == 404


def test_a_decision_is_the_same_whoever_is_asked() -> None:
    """Over a line of letters, also where hundreds of targets were left out."""

    async def main() -> None:
        scene = Scene(config({"a": 300}, retry={"attempts": 5}), {"a": [Answer([], 404)]})
        for number in range(290):
            scene.teach(Report(Effect.BACK_OFF, 60.0), number=number)
        await scene.ask(request())
        path, bus = f"/admin/decisions/{scene.last.request_id}", Bus()
        desk = Desk(scene)
        own = (await desk.raw("GET", path)).content
        assert len(own) > LARGEST
        answers = {scene.ledger.name: desk.administration.answer, "other": lambda _: None}
        lines = [Inquiries(bus, name, scene.clock, scene.tasks, told) for name, told in answers.items()]
        for line in lines:
            line.start()
        assert (await Desk(scene_of(), lines[1], name="f" * 12).raw("GET", path)).content == own

    run(main())


def test_a_replica_that_is_alone_knows_nobody_else() -> None:
    """Nor does anybody know of what it does not keep."""

    async def main() -> None:
        desk = Desk(scene_of())
        assert (await desk.refused("GET", f"/admin/decisions/{OTHER}"))[0] == 503
        own = "req_0123456789ab" + "0" * 12
        status, said = await desk.refused("GET", f"/admin/decisions/{own}")
        assert status == 404
        assert all(word in said for word in ("401", "token count", "list", "stored response", "too old"))

    run(main())


@pytest.mark.parametrize("wrong", ["x", "req_", "req_" + "g" * 24, "req_" + "A" * 24, "%ff%00", "x" * 5000])
def test_what_is_no_id(wrong: str) -> None:
    """Is asked of nobody."""

    async def main() -> None:
        line = Line(Silence.NOBODY)
        status, said = await Desk(scene_of(), line).refused("GET", f"/admin/decisions/{wrong}")
        assert (status, said) == (400, "That is no id of a request: `req_` and 24 hex digits.")
        assert line.asked == []

    run(main())


@pytest.mark.parametrize("question", [b"", b"\xff", b"req_0123456789ab\xff", OTHER.encode(), b"x" * 100_000])
def test_what_other_replicas_may_ask(question: bytes) -> None:
    """Whatever it is, it has no answer and does no harm."""

    async def main() -> bytes | None:
        return Desk(scene_of()).administration.answer(question)

    assert run(main()) is None


def test_what_another_replica_asks_is_answered_in_the_same_words() -> None:
    """Whomever an operator asks."""

    async def main() -> None:
        scene = scene_of()
        await scene.ask(request())
        desk = Desk(scene)
        answer = await desk.raw("GET", f"/admin/decisions/{scene.last.request_id}")
        assert desk.administration.told(scene.last.request_id.encode()) == answer.content

    run(main())


def test_no_secret_is_in_any_answer() -> None:
    """No key of a client or a provider, no configured header, whatever is asked."""

    async def main() -> str:
        scene = scene_of(client={"limits": {"requests_per_minute": 60}, "allow_direct": True})
        await scene.ask(request())
        await scene.ask(request("direct#b"))
        desk = Desk(scene)
        said = []
        for method, path, body in (
            ("GET", "/admin/targets", b""),
            ("GET", "/admin/limits/dev", b""),
            ("GET", "/admin/decisions", b""),
            ("GET", "/admin/decisions?format=lines", b""),
            ("GET", f"/admin/decisions/{scene.last.request_id}", b""),
            ("POST", "/admin/explain", request()),
            ("POST", "/admin/explain", request("direct#b")),
            ("POST", "/admin/explain", request("nothing")),
            ("POST", f"/admin/targets/{scene.targets[0].id}/drain", b""),
            ("POST", f"/admin/targets/{scene.targets[0].id}/reset?with=key", b""),
            ("POST", f"/admin/targets/{scene.targets[0].id}/reset?with={KEYS[0]}", b""),
            ("POST", f"/admin/targets/{KEYS[0][3:]}/drain", b""),
        ):
            answer = await desk.raw(method, path, body)
            said.append(answer.text + str(answer.headers))
        return "".join(said[:-1])

    text = run(main())
    secrets = (*KEYS, CLIENT_KEY, "hidden-header-1", "a.test", "b.test")
    assert [secret for secret in secrets if secret in text] == []


def test_other_methods_are_not_there() -> None:
    """And what is beside the routes is not found."""

    async def main() -> None:
        desk = Desk(scene_of())
        asked = {
            "GET /admin/explain": 405,
            "POST /admin/targets": 405,
            "DELETE /admin/decisions": 405,
            "GET /admin/targets/a/drain": 405,
            "GET /admin/nothing": 404,
        }
        for one, status in asked.items():
            method, path = one.split()
            assert (await desk.raw(method, path)).status_code == status, one

    run(main())
