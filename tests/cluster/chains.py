"""Stored responses over a cluster: chains that outlive providers and keys, background runs, isolation."""

import asyncio
import contextlib
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai
from ensemble import Config, replicas
from figures import Check
from harness import Mock, Serve, fetch
from openai.resources.responses import Responses
from providers import Script, play
from stores import Store, standalone
from traffic import CHAT, key_of

TOOL: dict[str, Any] = {
    "type": "function",
    "name": "look_up",
    "description": "Looks something up.",
    "parameters": {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]},
    "strict": False,
}
TURNS = 5
PAUSE = 0.1
"""Seconds between two events of a response that runs in the background."""


def configured(store: Store, providers: Mapping[str, Mapping[str, object]], *clients: str) -> Config:
    """One model over `providers`, the first one first."""
    entries = [
        {"provider": name, "priority": place + 1, "model": f"{name}-model"}
        for place, name in enumerate(providers)
    ]
    return {
        "listen": {"port": 0},
        "operations": {"port": 0},
        "redis": {"url": f"redis://127.0.0.1:{store.port}"},
        "clients": [{"name": name, "key": key_of(name)} for name in clients or ("app",)],
        "providers": dict(providers),
        "models": {CHAT: {"providers": entries}},
        "drain_timeout": 1,
    }


def client(replica: Serve, name: str = "app") -> openai.OpenAI:
    """The official SDK before one replica, to be closed by whoever made it: a collector would complain."""
    return openai.OpenAI(
        base_url=f"http://127.0.0.1:{replica.port}/v1", api_key=key_of(name), max_retries=0, timeout=30.0
    )


def bodies(mock: Mock) -> list[dict[str, Any]]:
    """What a provider was sent, in order."""
    told = fetch(mock.port, "/_mock/requests?last=100")["requests"]
    return [json.loads(one["body"]) for one in told if one["method"] == "POST"]


@dataclass(frozen=True, slots=True)
class Chain:
    """Turns that completed; requests whose provider was sent all that was said before; who answered."""

    completed: int
    whole: int
    answered: Sequence[str]

    def checks(self) -> list[Check]:
        """See `Figures`."""
        return [
            Check("turns completed", str(self.completed), f"= {TURNS}", self.completed == TURNS),
            Check(
                "requests with the whole history", str(self.whole), f"= {2 * TURNS}", self.whole == 2 * TURNS
            ),
            Check(
                "answered by",
                " ".join(self.answered),
                "the second provider from turn 3",
                [name.partition("/")[0] for name in self.answered]
                == ["first"] * 2 + ["second"] * (TURNS - 2),
            ),
        ]


def chain() -> Chain:
    """Five turns with tool calls: a provider dies after two, another replica goes on, a key is removed."""
    with standalone() as store, Mock(_CALLS, "first") as first, Mock(_CALLS, "second") as second:
        accounts = {
            "first": {
                "kind": "openai",
                "base_url": f"http://127.0.0.1:{first.port}/v1",
                "api_key": "sk-first-key-1",
                "dialects": ["chat"],
            },
            "second": {
                "kind": "anthropic",
                "base_url": f"http://127.0.0.1:{second.port}",
                "api_keys": ["sk-second-key-1", "sk-second-key-2"],
            },
        }
        with replicas(configured(store, accounts), 2) as running:
            talk = _Talk()
            talk.turn(running[0])
            talk.turn(running[0])
            sent = bodies(first)
            first.signal(signal.SIGKILL)
            first.ended()
            talk.turn(running[1])
            talk.turn(running[1])
        accounts["second"]["api_keys"] = ["sk-second-key-2"]
        with replicas(configured(store, accounts), 1) as (rotated,):
            talk.turn(rotated)
        sent += bodies(second)
    whole = sum(is_whole(number, body) for number, body in enumerate(sent, 1))
    return Chain(talk.completed, whole, talk.answered)


_CALLS: Script = {"default": {"tool_calls": 1, "tool_arguments": {"what": "it"}}}


class _Talk:
    """A conversation: each turn is a question, answered with a call, and its result, answered in words."""

    def __init__(self) -> None:
        self.completed = 0
        self.answered: list[str] = []
        self._last: str | None = None

    def turn(self, replica: Serve) -> None:
        """The next turn, over one replica."""
        number = len(self.answered) + 1
        asked = self._say(replica, {"role": "user", "content": f"question {number}"})
        call = next(item for item in asked.output if item.type == "function_call")
        result = {"type": "function_call_output", "call_id": call.call_id, "output": f"result {number}"}
        told = self._say(replica, result)
        self.completed += asked.status == told.status == "completed" and bool(told.output_text)

    def _say(self, replica: Serve, item: Mapping[str, Any]) -> Any:
        with client(replica) as asking:
            raw = asking.responses.with_raw_response.create(
                model=CHAT,
                input=[item],  # type: ignore[list-item]  # the SDK wants its own class of dictionary
                tools=[TOOL],  # type: ignore[list-item]  # likewise
                previous_response_id=self._last,
            )
        response = raw.parse()
        self._last = response.id
        if item.get("role"):
            self.answered.append(raw.headers["x-apex-target"])
        return response


def is_whole(number: int, body: Mapping[str, Any]) -> bool:
    """Whether the body of the request of this number holds all that was said up to it, once, in order."""
    text = json.dumps(body["messages"])
    said = [what for turn in range(1, number // 2 + 2) for what in (f"question {turn}", f"result {turn}")][
        :number
    ]
    places = [text.find(f'"{what}"') for what in said]
    once = all(text.count(f'"{what}"') == 1 for what in said)
    return once and places == sorted(places) and len(_calls(body)) == number // 2


def _calls(body: Mapping[str, Any]) -> list[Any]:
    """The tool calls in a body of either dialect."""
    found: list[Any] = []
    for message in body["messages"]:
        found += message.get("tool_calls") or []
        if isinstance(message["content"], list):
            found += [part for part in message["content"] if part.get("type") == "tool_use"]
    return found


@dataclass(frozen=True, slots=True)
class Background:
    """A response made on one replica and read on others, and one whose replica was killed."""

    events: int
    lost: int
    doubled: int
    polled: str
    failed_after: float
    last_event: str
    finished_elsewhere: int

    def checks(self) -> list[Check]:
        """See `Figures`."""
        return [
            Check("events read on another replica", str(self.events), "> 20", self.events > 20),
            Check("lost over a reader's disconnect", str(self.lost), "= 0", self.lost == 0),
            Check("doubled over it", str(self.doubled), "= 0", self.doubled == 0),
            Check("polled on another replica", self.polled, "completed", self.polled == "completed"),
            Check(
                "failed after its replica was killed",
                f"{self.failed_after:.1f} s",
                "<= 30 s",
                self.failed_after <= 30.0,
            ),
            Check("its last event", self.last_event, "response.failed", self.last_event == "response.failed"),
            Check(
                "others it has finished meanwhile",
                str(self.finished_elsewhere),
                "= 1",
                self.finished_elsewhere == 1,
            ),
        ]


_SLOW: Script = {"default": {"tokens": 40, "delay_events_s": PAUSE}}


def background() -> Background:
    """Begun on the first of three replicas, read on the others; then the first is killed."""
    with standalone() as store, Mock(_SLOW, "slow") as mock:
        account = {"base_url": f"http://127.0.0.1:{mock.port}/v1", "api_key": "sk-slow-key-1"}
        with replicas(configured(store, {"slow": account}), 3) as running, contextlib.ExitStack() as asking:
            one, two, three = (asking.enter_context(client(replica)).responses for replica in running)
            made = one.create(model=CHAT, input="go", background=True)
            numbers = _read(two, made.id, -1, 12)
            numbers += _read(three, made.id, numbers[-1], None)
            polled = two.retrieve(made.id).status or ""
            play(mock, {"default": {"tokens": 400, "delay_events_s": PAUSE}})
            doomed = one.create(model=CHAT, input="go", background=True)
            other = three.create(model=CHAT, input="go", background=True)
            time.sleep(1.0)
            running[0].signal(signal.SIGKILL)
            killed = time.monotonic()
            while (found := two.retrieve(doomed.id)).status == "in_progress":
                time.sleep(0.25)
                assert time.monotonic() - killed < 60.0, "in_progress for ever"
            failed_after = time.monotonic() - killed
            assert found.status == "failed", found
            last = _events(three, doomed.id, -1)[-1]
            two.cancel(other.id)
            ended = two.retrieve(other.id).status
    return Background(
        events=len(numbers),
        lost=len(set(range(max(numbers) + 1)) - set(numbers)),
        doubled=len(numbers) - len(set(numbers)),
        polled=polled,
        failed_after=failed_after,
        last_event=last,
        finished_elsewhere=int(ended == "cancelled"),
    )


def _read(replica: Responses, id_: str, after: int, most: int | None) -> list[int]:
    """Sequence numbers of events, until the end or so many of them."""
    numbers: list[int] = []
    after_it: Any = {"starting_after": after} if after >= 0 else {}
    with replica.retrieve(id_, stream=True, **after_it) as stream:
        for event in stream:
            numbers.append(event.sequence_number)
            if most is not None and len(numbers) >= most:
                break
    return numbers


def _events(replica: Responses, id_: str, after: int) -> list[str]:
    with replica.retrieve(id_, stream=True) as stream:
        return [event.type for event in stream if event.sequence_number > after]


@dataclass(frozen=True, slots=True)
class Away:
    """What is answered while Redis is away, and what of it is there when it is back."""

    answered: int
    deferred: int
    unreadable: int
    found: int
    of: int

    def checks(self) -> list[Check]:
        """See `Figures`."""
        return [
            Check(
                "answered while Redis is away", str(self.answered), f"= {self.of}", self.answered == self.of
            ),
            Check("said to be deferred", str(self.deferred), f"= {self.of}", self.deferred == self.of),
            Check("503 on another replica", str(self.unreadable), f"= {self.of}", self.unreadable == self.of),
            Check("there when it is back", str(self.found), f"= {self.of}", self.found == self.of),
        ]


def away(count: int = 20) -> Away:
    """Responses made while Redis is away."""
    with standalone() as store, Mock({"default": {"tokens": 3}}, "well") as mock:
        account = {"base_url": f"http://127.0.0.1:{mock.port}/v1", "api_key": "sk-well-key-1"}
        with replicas(configured(store, {"well": account}), 2) as running, contextlib.ExitStack() as asking:
            one, two = (asking.enter_context(client(replica)).responses for replica in running)
            store.kill()
            time.sleep(1.0)
            raws = [
                one.with_raw_response.create(model=CHAT, input=f"number {number}") for number in range(count)
            ]
            made = [raw.parse() for raw in raws]
            refused = sum(_refused(two, response.id) for response in made)
            store.restart_empty()
            found = 0
            for response in made:
                found += _found_within(two, response.id, 15.0)
    return Away(
        answered=sum(response.status == "completed" for response in made),
        deferred=sum(raw.headers.get("x-apex-store") == "deferred" for raw in raws),
        unreadable=refused,
        found=found,
        of=count,
    )


def _refused(replica: Responses, id_: str) -> bool:
    try:
        replica.retrieve(id_)
    except openai.InternalServerError as error:
        return error.status_code == 503
    return False


def _found_within(replica: Responses, id_: str, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(openai.APIStatusError):
            replica.retrieve(id_)
            return True
        time.sleep(0.2)
    return False


@dataclass(frozen=True, slots=True)
class Probes:
    """Requests of one client for another's responses."""

    sent: int
    hits: int
    statuses: Mapping[int, int]
    still_there: int
    of: int

    def checks(self) -> list[Check]:
        """See `Figures`."""
        return [
            Check("probes", str(self.sent), "", self.sent > 0),
            Check("hits", str(self.hits), "= 0", self.hits == 0),
            Check(
                "statuses", str(dict(self.statuses)), "404 and 400 alone", set(self.statuses) <= {400, 404}
            ),
            Check(
                "responses still there for their owner",
                str(self.still_there),
                f"= {self.of}",
                self.still_there == self.of,
            ),
        ]


def probes(count: int = 100_000) -> Probes:
    """A client tries the ids of another in every way there is, and made-up ones, on three replicas."""
    with standalone() as store, Mock({"default": {"tokens": 3}}, "well") as mock:
        account = {"base_url": f"http://127.0.0.1:{mock.port}/v1", "api_key": "sk-well-key-1"}
        config = configured(store, {"well": account}, "owner", "thief")
        with replicas(config, 3) as running, contextlib.ExitStack() as asking:
            owner = [asking.enter_context(client(replica, "owner")).responses for replica in running]
            made = [
                at.create(model=CHAT, input="mine", background=background)
                for at in owner
                for background in (False, True)
            ]
            ids = [response.id for response in made]
            statuses = asyncio.run(_probe([replica.port for replica in running], ids, count))
            there = sum(owner[0].retrieve(id_).status == "completed" for id_ in ids)
    hits = sum(times for status, times in statuses.items() if status < 400)
    return Probes(sum(statuses.values()), hits, statuses, there, len(ids))


async def _probe(ports: Sequence[int], ids: Sequence[str], count: int) -> Counter[int]:
    """The statuses of so many probes, from 16 clients at once."""
    draw = random.Random(5)
    headers = {"authorization": f"Bearer {key_of('thief')}"}
    work = iter([_one(ports, ids, draw) for _ in range(count)])
    statuses: Counter[int] = Counter()

    async def probe(session: aiohttp.ClientSession) -> None:
        for method, url, body in work:
            async with session.request(method, url, json=body) as answer:
                await answer.read()
                statuses[answer.status] += 1

    async with aiohttp.ClientSession(headers=headers) as session:
        await asyncio.gather(*(probe(session) for _ in range(16)))
    return statuses


def _one(ports: Sequence[int], ids: Sequence[str], draw: random.Random) -> tuple[str, str, object]:
    id_ = draw.choice(ids) if draw.random() < 0.8 else f"resp_{draw.getrandbits(96):024x}"
    base = f"http://127.0.0.1:{draw.choice(ports)}/v1/responses"
    following = {"model": CHAT, "input": "theirs", "previous_response_id": id_, "store": False}
    ways: list[tuple[str, str, object]] = [
        ("GET", f"{base}/{id_}", None),
        ("DELETE", f"{base}/{id_}", None),
        ("POST", f"{base}/{id_}/cancel", None),
        ("GET", f"{base}/{id_}/input_items", None),
        ("GET", f"{base}/{id_}?stream=true", None),
        ("POST", base, following),
    ]
    return draw.choice(ways)
