"""Real replicas on one Redis, under loads that two cores carry: what they ask of it, stretch by stretch.

Replicas are added one by one. Each stretch lasts whole periods of what replicas do by themselves, so that a
count is not off by where it began. Requests are counted; what they cost does not depend on how fast they go.
"""

import contextlib
import http.client
import json
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
import samples
from asking import await_answer
from capacity_meter import PUBLISHED, Meter
from capacity_model import RENEWAL, Load
from openloop import Load as OpenLoop
from openloop import Plan, request_of
from proxies import counted
from running import Command, Side, free_port, started
from sides import ROOT, Bench
from store import Store

from proxy.replicas import EVERY, KEYS

LIMITED, HELD, KEPT, REFUSED = "limited", "held", "kept", "refused"
"""Models: limited everywhere; the same as slow streams; stored; refused. The latter two: for the client."""

SCOPES = 3
"""Of a request for `LIMITED` or `HELD`: its client, its model, its provider's key."""

SLOW, FAST, STORED = 40.0, 120.0, 30.0
"""Requests a second over all replicas."""

STREAMS = 60
"""Leases held open."""

REFUSING, ROUNDS = 8, 3
"""Targets that back off for a second, after a 429 of their provider; how often each does."""

LISTS = 20.0
"""How often a second an operator asks for the members."""

SETTLED = 1.0
"""Seconds before the end of a stretch in which nothing is asked any more."""

LONG_IDLE, IDLE = 8.0, 6.0
"""Seconds without requests; longer with one replica and two, for there a single poll more is much."""

ATTEMPTS = 3
"""How often a stretch is tried: one in which Redis answered too late for a replica says nothing."""

MEMBERS = "/admin/replicas"

MISSES = ("apex_redis_errors_total", "apex_redis_refused_total", "apex_redis_late_total")
RECOVERY = 4.0
"""Seconds after which Redis decides again."""

PAUSE = 0.3
LATE = 0.2
"""Seconds that a stretch may take longer."""

_AGED = RENEWAL + 0.4
_RENEWED = RENEWAL + 0.05  # a limiter looks at what is due four times a second
_PLENTY = {"requests_per_minute": 100_000_000, "tokens_per_minute": 1_000_000_000, "concurrency": 100_000}
_TEXT = "The quick brown fox, it is said, once jumped over a very lazy dog. " * 12


class FailedError(Exception):
    """Requests failed: the run says nothing."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One stretch of one run: what the load was in a mean second, and what Redis did in all of it."""

    name: str
    seconds: float
    load: Load
    measured: Mapping[str, float]


class Rig:
    """The store, the provider, and the replicas that run so far."""

    def __init__(self, stack: contextlib.ExitStack, bench: Bench, store: Store) -> None:
        self._stack = stack
        self._bench = bench
        self._store = store
        self._provider = _provider(stack, bench)
        self._urls: list[str] = []
        self._operations: list[int] = []
        self._logs: list[Path] = []
        self._known = 0.0
        self._meter = Meter(urlsplit(store.url).port or 0)
        stack.callback(self._meter.close)
        self._client: Any = redis.Redis(port=urlsplit(store.url).port or 0)

    def add(self) -> None:
        """Start one more replica."""
        port, operations = free_port(), free_port()
        file = self._bench.folder / f"replica-{port}.json"
        file.write_text(
            json.dumps(_config((port, operations), self._provider, self._store.url)), encoding="utf-8"
        )
        command = Command(
            [sys.executable, "-m", "proxy", "serve", "--config", str(file)],
            self._bench.core if len(self._urls) % 2 else self._bench.other,
            ROOT,
            {"PYTHONPATH": str(ROOT)},
            file.with_suffix(".log"),
        )
        self._stack.enter_context(started(command, port))
        self._urls.append(f"http://127.0.0.1:{port}/v1")
        self._operations.append(operations)
        self._logs.append(command.log)

    def stretches(self) -> Iterator[Stretch]:
        """Everything once, with the replicas that run now."""
        count = len(self._urls)
        self._ask_each()
        yield self._stretch("idle", IDLE if count > 2 else LONG_IDLE, lambda _: Load(count))
        chat = samples.chat_request(LIMITED, 1024)
        with self._streams():
            opened = time.monotonic()
            yield self._stretch(f"{SLOW:g} requests/s", 4.0, self._chats(chat, SLOW), calm=False)
            yield self._stretch(f"{FAST:g} requests/s", 5.5, self._chats(chat, FAST), calm=False)
            time.sleep(max(0.0, opened + _AGED - time.monotonic()))
            held, leases = SCOPES * count, SCOPES * STREAMS
            yield self._stretch("open streams", _RENEWED, lambda _: Load(count, held=held, leases=leases))
        time.sleep(1.0)
        yield self._stretch(f"{STORED:g} responses/s stored", 4.0, self._creates())
        yield self._stretch(f"{STORED:g} responses/s read", 4.0, self._reads())
        yield self._stretch("targets back off", 5.0, self._refusals())
        yield self._stretch(f"{LISTS:g} lists/s of members", 4.0, self._lists())

    def _stretch(
        self, name: str, seconds: float, work: Callable[[float], Load], *, calm: bool = True
    ) -> Stretch:
        """Do `work`, which is given its seconds, within the stretch.

        Where little else happens (`calm`) it begins between two signs of life, for one more would count.
        It is repeated where requests failed or a replica was answered too late; raises `FailedError` where
        that does not help.
        """
        said = "the machine is too busy"
        for _ in range(ATTEMPTS):
            self._recover()
            if calm:
                self._await_silence()
            before, began = self._meter.read(), time.monotonic()
            try:
                load = work(seconds)
            except FailedError as error:
                said = f"{error}; {self._complaint()}"
                continue
            time.sleep(max(0.0, began + seconds - time.monotonic()))
            passed = time.monotonic() - began
            measured = self._meter.read().since(before)
            time.sleep(PAUSE)
            load = replace(load, transitions=measured[PUBLISHED] / seconds)  # a change is published once
            if passed < seconds + LATE and self._missed() == self._known:
                return Stretch(name, seconds, load, measured)
        raise FailedError(f"{name}: {said}")

    def _complaint(self) -> str:
        """The last warning of any replica."""
        lines = [line for log in self._logs for line in log.read_text(encoding="utf-8").splitlines()]
        return next((line for line in reversed(lines) if '"level":"warning"' in line), "nobody says why")

    def _recover(self) -> None:
        """Wait until Redis decides again where calls were given up."""
        missed = self._missed()
        if missed != self._known:
            time.sleep(RECOVERY)
        self._known = missed

    def _missed(self) -> float:
        """Calls that replicas have given up, after which limits are decided without Redis for a while."""
        told = (_read(port, "/metrics") for port in self._operations)
        return sum(counted(text, name) for text in told for name in MISSES)

    def _await_silence(self) -> None:
        """Wait for the middle of the longest time in which no replica gives a sign of life."""
        now = time.time()
        spoke = [score / 1000 for _, score in self._client.zrange(KEYS[0], 0, -1, withscores=True)]
        time.sleep(pause_before_silence([now - at for at in spoke], EVERY))

    def _ask_each(self) -> None:
        """See that each answers, and let the newest settle in.

        One target backs off first, for until then health has no version, and polls are answered shorter. Each
        lists the members last, so that none does it by itself later.
        """
        if len(self._urls) == 1:
            _post(self._urls[0], "chat/completions", samples.chat_request(f"{REFUSED}-0", 1024), 429)
        body = samples.chat_request(LIMITED, 1024)
        for url in self._urls:
            await_answer(Side(url, f"{url}/chat/completions", None), body, self._bench.folder)
        time.sleep(1.5)
        for port in self._operations:
            _read(port, MEMBERS)

    def _chats(self, body: bytes, rate: float) -> Callable[[float], Load]:
        def work(seconds: float) -> Load:
            asked = self._ask(
                [request_of(f"{url}/chat/completions", body, []) for url in self._urls], rate, seconds
            )
            return Load(len(self._urls), scopes=asked * SCOPES / seconds)

        return work

    def _creates(self) -> Callable[[float], Load]:
        body = json.dumps({"model": KEPT, "input": _TEXT, "store": True}).encode()

        def work(seconds: float) -> Load:
            asked = self._ask(
                [request_of(f"{url}/responses", body, []) for url in self._urls], STORED, seconds
            )
            return Load(len(self._urls), scopes=asked / seconds, creates=asked / seconds)

        return work

    def _reads(self) -> Callable[[float], Load]:
        body = json.dumps({"model": KEPT, "input": _TEXT, "store": True}).encode()
        kept = json.loads(_post(self._urls[0], "responses", body, 200))["id"]
        time.sleep(0.3)

        def work(seconds: float) -> Load:
            asked = self._ask([_get(f"{url}/responses/{kept}") for url in self._urls], STORED, seconds)
            return Load(len(self._urls), reads=asked / seconds)

        return work

    def _lists(self) -> Callable[[float], Load]:
        requests = [_get(f"http://127.0.0.1:{port}{MEMBERS}") for port in self._operations]

        def work(seconds: float) -> Load:
            return Load(len(self._urls), listings=self._ask(requests, LISTS, seconds) / seconds)

        return work

    def _refusals(self) -> Callable[[float], Load]:
        def work(seconds: float) -> Load:
            count = REFUSING * ROUNDS
            pause = (seconds - SETTLED) / count
            began = time.monotonic()
            for number in range(count):
                url = self._urls[number % len(self._urls)]
                model = f"{REFUSED}-{number % REFUSING}"
                _post(url, "chat/completions", samples.chat_request(model, 1024), 429)
                time.sleep(max(0.0, began + pause * (number + 1) - time.monotonic()))
            return Load(len(self._urls), scopes=count / seconds)

        return work

    def _ask(self, requests: Sequence[tuple[tuple[str, int], bytes]], rate: float, seconds: float) -> int:
        """So many requests a second, spread over the replicas; how many were answered."""
        plan = Plan(rate / len(requests), seconds - SETTLED, 0.0)
        with ThreadPoolExecutor(len(requests)) as threads:
            seen = list(threads.map(lambda request: OpenLoop(*request).run(plan), requests))
        if failed := sum(one.failed for one in seen):
            raise FailedError(f"{failed} requests failed")
        return sum(one.all for one in seen)

    @contextlib.contextmanager
    def _streams(self) -> Iterator[None]:
        """Hold streams open on all replicas."""
        body = samples.chat_request(HELD, 1024, stream=True)
        opened: list[socket.socket] = []
        with contextlib.ExitStack() as stack:
            for number in range(STREAMS):
                address, request = request_of(
                    f"{self._urls[number % len(self._urls)]}/chat/completions", body, []
                )
                opened.append(stack.enter_context(socket.create_connection(address, 15.0)))
                opened[-1].sendall(request)
            if not all(stream.recv(4096).startswith(b"HTTP/1.1 200") for stream in opened):
                raise FailedError("a stream was not opened")
            yield


def pause_before_silence(ages: Sequence[float], period: float) -> float:
    """Seconds until the middle of the longest gap between what recurs, and was last so many seconds ago."""
    due = sorted(-age % period for age in ages)
    gaps = [(later - sooner, sooner) for sooner, later in zip(due, [*due[1:], due[0] + period], strict=True)]
    length, start = max(gaps)
    return (start + length / 2) % period


def _read(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10.0) as answer:
        text: str = answer.read().decode()
    return text


def _post(url: str, path: str, body: bytes, expected: int) -> bytes:
    parts = urlsplit(url)
    headers = {"authorization": f"Bearer {samples.KEY}", "content-type": "application/json"}
    with contextlib.closing(http.client.HTTPConnection(parts.netloc, timeout=30.0)) as connection:
        connection.request("POST", f"{parts.path}/{path}", body, headers)
        answer = connection.getresponse()
        told = answer.read()
    if answer.status != expected:
        raise FailedError(f"{path} was answered with {answer.status}: {told[:300]!r}")
    return told


def _get(url: str) -> tuple[tuple[str, int], bytes]:
    """Where something is read, and the request for it."""
    parts = urlsplit(url)
    lines = [
        f"GET {parts.path} HTTP/1.1",
        f"host: {parts.netloc}",
        f"authorization: Bearer {samples.KEY}",
    ]
    return (parts.hostname or "", parts.port or 0), ("\r\n".join(lines) + "\r\n\r\n").encode()


def _provider(stack: contextlib.ExitStack, bench: Bench) -> int:
    port = free_port()
    script = bench.folder / "provider.json"
    rules = [
        {"match": {"model": HELD}, "then": {"tokens": 60, "delay_events_s": 1.0}},
        {"match": {"model": f"{REFUSED}-*"}, "then": {"status": 429, "headers": {"retry-after": "1"}}},
    ]
    script.write_text(json.dumps({"rules": rules, "default": {"tokens": 100}}), encoding="utf-8")
    arguments = [sys.executable, "-m", "proxy", "mock", "--port", str(port), "--no-record"]
    arguments += ["--script", str(script)]
    command = Command(arguments, bench.other, ROOT, {}, bench.folder / "provider.log")
    stack.enter_context(started(command, port))
    return port


def _config(ports: tuple[int, int], provider: int, redis_url: str) -> dict[str, object]:
    where = {"base_url": f"http://127.0.0.1:{provider}/v1", "api_key": samples.KEY}
    one = {"kind": "generic", "dialects": ["chat", "responses"], **where}
    plain = partial(_model, "plain")
    return {
        "listen": {"host": "127.0.0.1", "port": ports[0]},
        "operations": {"port": ports[1]},
        "redis": {"url": redis_url},
        "clients": [{"name": "capacity", "key": samples.KEY, "limits": _PLENTY}],
        "providers": {"plain": one, "keyed": {**one, "limits": _PLENTY}},
        "models": {
            **{name: {**_model("keyed", name), "limits": _PLENTY} for name in (LIMITED, HELD)},
            **{name: plain(name) for name in (KEPT, *(f"{REFUSED}-{n}" for n in range(REFUSING)))},
        },
        "queue": {"max_wait": 0},
        "drain_grace": 0,
        "drain_timeout": 1,
    }


def _model(provider: str, name: str) -> dict[str, object]:
    return {"providers": [{"provider": provider, "model": name}]}
