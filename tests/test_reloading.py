"""Tests of `proxy.reloading`: a configuration is taken whole, or refused with all that is wrong."""

import asyncio
import threading

import httpx
import pytest
from fastapi import FastAPI, Response
from structlog.testing import capture_logs

from proxy.config import config_hash
from proxy.config.problems import ConfigError, Problem
from proxy.config.settings import Config
from proxy.errors import Refusal
from proxy.reloading import PATH, Reloading, ReloadParts
from proxy.snapshot import Snapshot, snapshot
from proxy.tenants import Tenants

OLD = Config.model_validate({"retry": {"attempts": 1}})
NEW = Config.model_validate({"retry": {"attempts": 2}})
BAD = ConfigError([Problem("one", "is wrong", ""), Problem("two", "is wrong", "", "mend it")], "apex.yaml")


class Replica:
    """What a reload is about: a configuration that runs, and one that is written."""

    def __init__(self, written: Config | ConfigError | None) -> None:
        self.written = written
        self.running = self._prepare(OLD)
        self.readers: list[threading.Thread] = []
        reread = self._reread if written is not None else None
        self.reloading = Reloading(ReloadParts(reread, lambda: self.running, self._prepare, self._take))

    def _reread(self) -> tuple[Config, str]:
        self.readers.append(threading.current_thread())
        if isinstance(self.written, ConfigError):
            raise self.written
        assert self.written is not None
        return self.written, "apex.yaml"

    def _prepare(self, config: Config) -> Snapshot:
        return snapshot(config, Tenants((), b"pepper"), 7)

    def _take(self, fresh: Snapshot) -> None:
        self.running = fresh


def reloaded(replica: Replica) -> bool:
    """What a reload says."""
    return asyncio.run(replica.reloading.reload())


def test_what_is_written_is_taken() -> None:
    """And it is said which was replaced by which."""
    replica = Replica(NEW)
    with capture_logs() as lines:
        assert reloaded(replica)
    assert replica.running.config is NEW
    assert replica.reloading.outcomes == {"taken": 1, "refused": 0}
    [line] = lines
    assert (line["event"], line["was"], line["config_hash"]) == (
        "reloaded",
        config_hash(OLD),
        config_hash(NEW),
    )


def test_the_same_is_no_change() -> None:
    """It is taken all the same: nobody can tell."""
    assert not reloaded(Replica(OLD.model_copy()))


def test_reading_holds_nobody_up() -> None:
    """A large file takes its time in a thread."""
    replica = Replica(NEW)
    reloaded(replica)
    assert replica.readers != [threading.main_thread()]


def test_what_is_wrong_is_told_and_the_old_one_stays() -> None:
    """Every error, in the log and to whoever asked."""
    replica = Replica(BAD)
    with capture_logs() as lines, pytest.raises(ConfigError):
        reloaded(replica)
    assert replica.running.config is OLD
    [line] = lines
    assert (line["event"], line["source"]) == ("reload_refused", "apex.yaml")
    assert line["errors"] == ["one: is wrong", "two: is wrong; mend it"]
    assert replica.reloading.outcomes == {"taken": 0, "refused": 1}


def test_what_is_fixed_is_refused() -> None:
    """Whoever reads the configuration, and however."""
    replica = Replica(Config.model_validate({"listen": {"port": 9000}}))
    with pytest.raises(ConfigError, match=r"^listen\.port: found 9000; allowed: 8080, .*, or restart$"):
        reloaded(replica)
    assert replica.running.config is OLD


def test_without_anything_to_read_it_is_refused() -> None:
    """As in a process that made its configuration itself."""
    replica = Replica(None)
    assert not replica.reloading.possible
    assert Replica(NEW).reloading.possible
    with pytest.raises(ConfigError, match="was not read from anywhere"):
        reloaded(replica)


def test_one_at_a_time() -> None:
    """Who asks meanwhile is answered with what is written by then."""
    replica = Replica(NEW)

    async def main() -> list[bool]:
        return list(await asyncio.gather(*(replica.reloading.reload() for _ in range(3))))

    assert asyncio.run(main()) == [True, False, False]


def asked(replica: Replica) -> httpx.Response:
    """The answer to a request to reload."""
    app = FastAPI()

    async def told(_request: object, refusal: Exception) -> Response:
        assert isinstance(refusal, Refusal)
        return Response(refusal.message, refusal.status)

    app.add_exception_handler(Refusal, told)
    replica.reloading.attach(app)

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://operations") as client:
            return await client.post(PATH)

    return asyncio.run(main())


def test_the_route_says_what_runs_now() -> None:
    """Its hash, which every replica should have."""
    answer = asked(Replica(NEW))
    assert answer.json() == {"changed": True, "config_hash": config_hash(NEW)}


def test_the_route_refuses_in_the_words_of_check() -> None:
    """One head line, and a line for each error."""
    answer = asked(Replica(BAD))
    assert answer.status_code == 422
    assert answer.text == "apex.yaml has 2 errors:\n  one: is wrong\n  two: is wrong; mend it"
