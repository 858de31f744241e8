"""Tests of `proxy.app`: a replica is put together so that one request shows in all its parts."""

import asyncio
import json
import random
from collections.abc import Callable, Mapping

import httpx
import pytest
from private_store import PrivateStore
from structlog.testing import capture_logs

from metrics.record import Record
from proxy.app import Replica, Surroundings, build
from proxy.clock import ManualClock, SystemClock
from proxy.config import config_hash
from proxy.config.settings import Config
from proxy.link import parse
from proxy.upstream import Call, Reply, Taker

KEY = "sk-client-0123"
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}


class Whole(Reply):
    """A reply that is all there."""

    def __init__(self, status: int, body: bytes) -> None:
        self._status = status
        self._parts = [body]

    @property
    def status(self) -> int:
        """The status."""
        return self._status

    @property
    def headers(self) -> Mapping[str, str]:
        """No headers."""
        return {}

    @property
    def resent(self) -> bool:
        """No pool, so never."""
        return False

    async def read(self) -> bytes:
        """The body, then its end."""
        return self._parts.pop() if self._parts else b""

    async def pour(self, taker: Taker) -> None:
        """It is all to be read."""

    def close(self) -> None:
        """Nothing to close."""


class Provider:
    """An upstream that answers every call alike and remembers them."""

    def __init__(self, status: int = 200, body: object = ANSWER) -> None:
        self.calls: list[Call] = []
        self.closed = False
        self._status = status
        self._body = json.dumps(body).encode()

    async def send(self, call: Call) -> Reply:
        """Answer."""
        self.calls.append(call)
        return Whole(self._status, self._body)

    async def close(self) -> None:
        """Remember that, too."""
        self.closed = True


def configured(**sections: object) -> Config:
    """One model at one provider with one key."""
    return Config.model_validate(
        {
            "clients": [{"name": "tests", "key": KEY}],
            "providers": {"local": {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk-provider-1"}},
            "models": {"chat": {"providers": [{"provider": "local", "model": "big"}]}},
            **sections,
        }
    )


async def ask(replica: Replica, key: str = KEY) -> httpx.Response:
    """A chat through the client port's application."""
    body = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}]}
    transport = httpx.ASGITransport(app=replica.client_app)
    async with httpx.AsyncClient(transport=transport, base_url="http://proxy") as client:
        return await client.post(
            "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
        )


def test_one_request_shows_everywhere() -> None:
    """It reaches the provider with the provider's key, and whoever watches, the metrics see its record."""

    async def main() -> None:
        provider = Provider()
        watched: list[Record] = []
        surroundings = Surroundings(SystemClock(), random.Random(1), {}, watch=watched.append)
        replica = Replica(configured(), surroundings, provider)
        answer = await ask(replica)
        assert answer.json() == ANSWER
        assert answer.headers["x-apex-target"] == "local/big"
        call = provider.calls[0]
        assert call.url == "http://127.0.0.1:9/v1/chat/completions"
        assert dict(call.headers)["authorization"] == "Bearer sk-provider-1"
        assert json.loads(call.body)["model"] == "big"
        assert [(record.client, record.model, record.outcome) for record in watched] == [
            ("tests", "chat", "completed")
        ]
        assert watched[0].request_id == answer.headers["x-request-id"]
        assert b'model="chat"' in replica.instruments.render()[0]
        await replica.close()
        assert provider.closed

    asyncio.run(main())


def test_a_refused_request_is_recorded_as_well() -> None:
    """Nobody's request leaves no trace."""

    async def main() -> None:
        watched: list[Record] = []
        surroundings = Surroundings(ManualClock(), random.Random(1), {}, watch=watched.append)
        provider = Provider()
        replica = Replica(configured(), surroundings, provider)
        assert (await ask(replica, "sk-unknown")).status_code == 401
        assert (watched[0].outcome, watched[0].error, watched[0].client) == ("refused", "invalid_api_key", "")
        assert provider.calls == []
        await replica.close()

    asyncio.run(main())


def test_open_to_all_needs_no_key() -> None:
    """Only when the operator has said so."""

    async def main() -> None:
        config = configured(clients=[])
        for open_to_all, status in ((True, 200), (False, 401)):
            surroundings = Surroundings(ManualClock(), random.Random(1), {}, open_to_all=open_to_all)
            replica = Replica(config, surroundings, Provider())
            assert (await ask(replica, "sk-anybody")).status_code == status
            await replica.close()

    asyncio.run(main())


@pytest.mark.parametrize("origins", [None, ["https://app.example.com"]])
def test_cors_is_off_unless_configured(origins: list[str] | None) -> None:
    """The section alone switches it on."""

    async def main() -> int:
        config = configured(cors={"origins": origins} if origins else None)
        replica = Replica(config, Surroundings(ManualClock(), random.Random(1), {}), Provider())
        transport = httpx.ASGITransport(app=replica.client_app)
        headers = {"origin": "https://app.example.com", "access-control-request-method": "POST"}
        async with httpx.AsyncClient(transport=transport, base_url="http://proxy") as client:
            status = (await client.options("/v1/models", headers=headers)).status_code
        await replica.close()
        return status

    assert asyncio.run(main()) == (204 if origins else 401)


def test_a_new_replica_does_nothing_and_can_be_closed() -> None:
    """Built is not started: no task, no connection, not ready; `build` brings the real transport."""

    async def main() -> None:
        replica = build(configured(), Surroundings(ManualClock(), random.Random(1), {}))
        assert len(replica.tasks) == 0
        assert not replica.ready
        assert replica.fleet.snapshot.created == 1_800_000_000
        assert list(replica.fleet.snapshot.models) == ["chat"]
        await replica.close()

    asyncio.run(main())


async def until(holds: Callable[[], object]) -> None:
    """Give the loop turns until `holds`."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0.01)


def sharing(url: str, seed: int) -> Replica:
    """One of several replicas on a store, with a client that may ask three times a minute."""
    limits = {"requests_per_minute": 1, "burst": 3}
    config = configured(redis={"url": url}, clients=[{"name": "tests", "key": KEY, "limits": limits}])
    return Replica(config, Surroundings(SystemClock(), random.Random(seed), {}), Provider(), parse(url))


@pytest.mark.process
def test_replicas_on_one_store() -> None:
    """They know of each other, count as one, and one that is closed has said goodbye."""

    async def main(url: str) -> None:
        first, second = sharing(url, 1), sharing(url, 2)
        await first.start()
        await second.start()
        assert first.replicas is not None
        assert second.replicas is not None
        await until(lambda: second.replicas and second.replicas.live == 2)
        members = await first.replicas.ask()
        assert {member.id for member in members} == {first.name, second.name}
        assert len({member.config_hash for member in members}) == 1
        statuses = [(await ask(replica)).status_code for replica in (first, second) * 3]
        assert statuses == [200, 200, 200, 429, 429, 429]
        await second.close()
        assert [member.id for member in await first.replicas.ask()] == [first.name]
        await first.close()

    with PrivateStore() as store:
        asyncio.run(main(store.url))


@pytest.mark.process
def test_replicas_on_one_store_share_what_they_learn() -> None:
    """A provider that asked one of them for time is not called by the other, nor by one that starts later."""

    async def main(url: str) -> None:
        config = configured(redis={"url": url}, health={"back_off": "60s"}, queue={"max_wait": 0})
        providers = [Provider(429, {"error": {"message": "Slow down."}}) for _ in range(3)]
        first, second, third = (
            Replica(config, Surroundings(SystemClock(), random.Random(seed), {}), provider, parse(url))
            for seed, provider in enumerate(providers)
        )
        await first.start()
        await second.start()
        assert (await ask(first)).status_code == 429
        await until(lambda: second.fleet.health.records)
        await third.start()
        for other in (second, third):
            answer = await ask(other)
            assert (answer.status_code, answer.headers["x-apex-attempts"]) == (429, "0")
            assert 25 <= int(answer.headers["retry-after"]) <= 60
        assert [len(provider.calls) for provider in providers] == [1, 0, 0]
        for replica in (first, second, third):
            await replica.close()

    with PrivateStore() as store:
        asyncio.run(main(store.url))


@pytest.mark.process
def test_a_store_that_comes_back_empty_is_told_what_it_had() -> None:
    """No second burst; nobody gets a 5xx; and the log says what happened, without an address's secrets."""

    async def main(store: PrivateStore) -> None:
        replica = sharing(store.url, 1)
        await replica.start()
        assert replica.link is not None
        statuses = [(await ask(replica)).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        with capture_logs() as logs:
            store.kill()
            await until(lambda: replica.link and not replica.link.available)
            assert (await ask(replica)).status_code == 429
            store.start()
            await until(lambda: replica.link and replica.link.available)
            await until(lambda: replica.limiter.away == 0)
            assert (await ask(replica)).status_code == 429
        assert {line["event"] for line in logs} == {"redis"}
        assert logs[-1]["available"] is True
        await replica.close()

    with PrivateStore() as store:
        asyncio.run(main(store))


@pytest.mark.process
def test_a_store_that_is_away_does_not_keep_a_replica_from_starting() -> None:
    """It serves with its share, and ends in order."""

    async def main() -> None:
        replica = sharing("unix:///nowhere/at/all.sock", 1)
        await replica.start()
        assert (await ask(replica)).status_code == 429  # a share begins empty
        await replica.close()

    asyncio.run(main())


def test_an_embedded_store_that_nobody_started_is_none() -> None:
    """Limits hold in this process then, and Redis is not looked for."""

    async def main() -> None:
        replica = build(configured(), Surroundings(ManualClock(), random.Random(1), {}))
        assert replica.link is None
        assert replica.replicas is None
        await replica.start()
        await replica.close()

    asyncio.run(main())


class Rewritten:
    """A configuration that can be written anew, as a replica reads it."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def __call__(self) -> tuple[Config, str]:
        """As it is written now."""
        return self.config, "apex.yaml"

    def replica(self, provider: Provider, *, open_to_all: bool = False) -> Replica:
        """A replica that began with it."""
        surroundings = Surroundings(SystemClock(), random.Random(1), {}, open_to_all=open_to_all, reread=self)
        return Replica(self.config, surroundings, provider)


def test_a_reload_is_for_the_next_request() -> None:
    """Clients, keys, models and addresses are the new ones; the replica is the same."""

    async def main() -> None:
        provider, written = Provider(), Rewritten(configured())
        replica = written.replica(provider)
        before = replica.fleet.snapshot
        assert (await ask(replica)).status_code == 200
        written.config = configured(
            clients=[{"name": "others", "key": "sk-another-client"}],
            providers={"local": {"base_url": "http://127.0.0.1:7/v1", "api_key": "sk-provider-2"}},
        )
        assert await replica.reloading.reload()
        assert (await ask(replica)).status_code == 401
        assert (await ask(replica, "sk-another-client")).status_code == 200
        assert [call.url.split("/")[2] for call in provider.calls] == ["127.0.0.1:9", "127.0.0.1:7"]
        assert dict(provider.calls[1].headers)["authorization"] == "Bearer sk-provider-2"
        assert replica.fleet.snapshot.created == before.created
        assert before.tenants.of(KEY.encode()) is not None  # whoever began with it goes on with it
        await replica.close()

    asyncio.run(main())


def test_whoever_keeps_a_part_of_a_configuration_is_told() -> None:
    """Bounds, queue, retries and pages; and what is told of providers holds no secret, old or new."""

    async def main() -> None:
        said = {
            "error": {"message": "no sk-provider-1 and no sk-provider-2", "type": "invalid_request_error"}
        }
        written = Rewritten(configured())
        replica = written.replica(Provider(400, said))
        told: list[Config] = []
        replica.on_renewal(told.append)
        written.config = configured(
            providers={"local": {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk-provider-2"}},
            queue={"max_length": 7},
            overload={"max_in_flight": 5},
            retry={"budget": 0.5},
            cors={"origins": ["*"]},
        )
        await replica.reloading.reload()
        assert told == [written.config]
        assert replica.waiting.settings is written.config.queue
        assert replica.guard.bounds is written.config.overload
        answer = (await ask(replica)).json()["error"]["message"]
        assert "sk-provider" not in answer
        transport = httpx.ASGITransport(app=replica.client_app)
        async with httpx.AsyncClient(transport=transport, base_url="http://proxy") as client:
            page = await client.get("/v1/models", headers={"origin": "https://any.example"})
        assert page.headers["access-control-allow-origin"] == "*"
        await replica.close()

    asyncio.run(main())


def test_a_stored_response_follows_the_rules_of_the_moment() -> None:
    """Its store goes by other bounds and keys after a reload; the replicas' list knows at once."""

    async def main() -> None:
        with PrivateStore() as store:
            settings = {"redis": {"url": store.url}}
            written = Rewritten(configured(**settings))
            surroundings = Surroundings(SystemClock(), random.Random(1), {}, reread=written)
            replica = Replica(written.config, surroundings, Provider(), parse(store.url))
            await replica.start()
            written.config = configured(**settings, responses={"ttl": "1d"})
            await replica.reloading.reload()
            assert replica.shelf is not None
            assert replica.shelf.store.rules.settings.ttl == 86_400
            wanted = config_hash(written.config)
            assert replica.replicas is not None
            assert [member.config_hash for member in await replica.replicas.ask()] == [wanted]
            await replica.close()

    asyncio.run(main())


@pytest.mark.parametrize("open_to_all", [True, False])
def test_who_may_call_without_a_key_depends_on_whether_there_are_clients(open_to_all: bool) -> None:
    """Everybody, where that was wished and there are none; nobody as soon as there is one."""

    async def main() -> list[int]:
        written = Rewritten(configured(clients=[]))
        replica = written.replica(Provider(), open_to_all=open_to_all)
        seen = [(await ask(replica, "")).status_code]
        written.config = configured()
        await replica.reloading.reload()
        seen += [(await ask(replica, "")).status_code, (await ask(replica)).status_code]
        await replica.close()
        return seen

    assert asyncio.run(main()) == [200 if open_to_all else 401, 401, 200]


def test_only_operators_reload() -> None:
    """Where there is a token, it is asked for here as everywhere on their port."""

    async def main() -> list[int]:
        written = Rewritten(configured(operations={"token": "sk-operators-0"}))
        replica = written.replica(Provider())
        transport = httpx.ASGITransport(app=replica.operations_app)
        async with httpx.AsyncClient(transport=transport, base_url="http://operations") as client:
            bearer = {"authorization": "Bearer sk-operators-0"}
            statuses = [
                (await client.post("/admin/reload")).status_code,
                (await client.get("/admin/reload", headers=bearer)).status_code,
                (await client.post("/admin/reload", headers=bearer)).status_code,
            ]
        await replica.close()
        return statuses

    assert asyncio.run(main()) == [401, 405, 200]
