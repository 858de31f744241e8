import json
from typing import Any

import msgspec
import pytest
from fakes import speech
from fakes.configs import Tree, config
from fakes.exchanges import HEAD, opened

from proxy import passages
from proxy.errors import Refusal
from proxy.exchange import Exchange, Way
from proxy.targets import Target, models
from proxy.wire import seals
from proxy.wire.bypass import Bypass
from proxy.wire.conversation import Seal
from proxy.wire.model import Dialect, Endpoint

CHAT, RESPONSES, MESSAGES = Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.MESSAGES
TOP_K = {"quirks": {"top_k": True}}
BODIES = {CHAT: speech.chat, RESPONSES: speech.responses, MESSAGES: speech.messages}


def asked(
    endpoint: Endpoint, *dialects: str, body: Tree | None = None, strict: bool = False, **rest: Any
) -> Exchange:
    """A request to one target that speaks `dialects`; `rest` is configuration."""
    made = config({"a": {"api_keys": ["a1"], "dialects": dialects, **rest.pop("provider", {})}}, **rest)
    sent = {**(body or BODIES[endpoint]()), "model": "small"}
    return opened(made, json.dumps(sent).encode(), endpoint, msgspec.structs.replace(HEAD, strict=strict))


def prompt(_exchange: Exchange, _target: Target) -> int:
    """What every prompt is expected to take."""
    return 77


def way(exchange: Exchange) -> Way:
    """The way to the one target."""
    assert exchange.model is not None
    return passages.way(exchange, exchange.model.targets[0], prompt)


def refused(exchange: Exchange) -> Refusal:
    """Why there is no way."""
    with pytest.raises(Refusal) as caught:
        way(exchange)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES, MESSAGES])
def test_a_body_passes_where_its_dialect_is_spoken(endpoint: Endpoint) -> None:
    """Whatever else is spoken there; what nobody knows of it passes too."""
    body = {**BODIES[endpoint](), "unheard_of": [1]}
    exchange = asked(endpoint, "messages", "responses", "chat", body=body)
    found = way(exchange)
    assert (found.endpoint, found.native) == (endpoint, True)
    assert isinstance(found.passage, Bypass)
    assert found.passage.losses is None
    assert json.loads(found.passage.request())["unheard_of"] == [1]
    assert exchange.conversation is None


@pytest.mark.parametrize(
    ("endpoint", "dialects", "taken"),
    [
        (CHAT, ("responses", "messages"), RESPONSES),
        (CHAT, ("messages",), MESSAGES),
        (RESPONSES, ("messages", "chat"), CHAT),
        (RESPONSES, ("messages",), MESSAGES),
        (MESSAGES, ("chat", "responses"), RESPONSES),
        (MESSAGES, ("chat",), CHAT),
    ],
)
def test_another_dialect_is_spoken_else(
    endpoint: Endpoint, dialects: tuple[str, ...], taken: Endpoint
) -> None:
    """The best that the target speaks, in whichever order that was written."""
    found = way(asked(endpoint, *dialects))
    assert (found.endpoint, found.native) == (taken, False)


def test_a_dialect_that_loses_nothing_goes_before_a_better_one() -> None:
    """Responses has no `seed`, Messages neither; but Chat has one."""
    body = speech.messages(top_k=5)
    assert (
        way(asked(MESSAGES, "chat", "responses", provider={"quirks": {"top_k": True}})).endpoint is RESPONSES
    )
    found = way(asked(MESSAGES, "chat", "responses", body=body, provider={"quirks": {"top_k": True}}))
    assert found.endpoint is CHAT


def test_where_all_lose_something_the_best_is_taken() -> None:
    """And says what."""
    found = way(asked(CHAT, "responses", "messages", body=speech.chat(seed=5)))
    assert found.endpoint is RESPONSES
    assert found.passage.losses is not None
    assert found.passage.losses.header() == "dropped=seed"


def test_a_dialect_that_cannot_say_it_is_left_out() -> None:
    """Audio can be said in Chat, and in no other."""
    audio = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    body = speech.responses(speech.user([audio]))
    with_audio = {"quirks": {"audio": True}}
    assert way(asked(RESPONSES, "messages", "chat", body=body, provider=with_audio)).endpoint is CHAT
    assert refused(asked(RESPONSES, "messages", body=body, provider=with_audio)).code == "unsupported_value"


def test_the_best_dialects_reason_is_told() -> None:
    """Where none can say it."""
    refusal = refused(asked(CHAT, "messages", "responses", body=speech.chat(n=2)))
    assert refusal.param == "n"


SEED = speech.chat(seed=5)
SEARCH = speech.responses(tools=[{"type": "web_search"}])


@pytest.mark.parametrize(
    ("header", "setting", "strict"),
    [(False, False, False), (True, False, True), (False, True, True), (True, True, True)],
)
def test_nothing_is_lost_where_that_was_asked_for(header: bool, setting: bool, strict: bool) -> None:
    """By the client's header or the operator's setting."""
    exchange = asked(CHAT, "messages", body=SEED, strict=header, translation={"strict": setting})
    if strict:
        assert refused(exchange).param == "seed"
    else:
        assert not way(exchange).native


def test_nothing_is_lost_on_a_way_without_translation() -> None:
    """Being strict costs nothing there."""
    assert way(asked(CHAT, "chat", body=SEED, strict=True)).native


OURS = seals.pack(Seal(Dialect.RESPONSES, "gpt-5", "{}"))
REPEATED = [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": OURS}]},
    {"role": "user", "content": "q"},
]


def test_what_is_taken_out_of_a_body_that_passes_is_lost() -> None:
    """Thinking of another dialect: told, or refused before anybody is asked."""
    found = way(asked(MESSAGES, "messages", body=speech.messages(messages=REPEATED)))
    assert found.native
    assert found.passage.losses is not None
    assert found.passage.losses.header() == "dropped=thinking"
    assert refused(asked(MESSAGES, "messages", body=speech.messages(messages=REPEATED), strict=True)).param


def test_fields_that_nobody_knows_are_lost_in_every_dialect() -> None:
    """So they are no reason to prefer one."""
    found = way(asked(CHAT, "responses", "messages", body=speech.chat(unheard_of=1)))
    assert found.endpoint is RESPONSES
    assert found.passage.losses is not None
    assert found.passage.losses.header() == "dropped=unheard_of"
    wordy = speech.messages(unheard_of=1, top_k=5)
    assert way(asked(MESSAGES, "chat", "responses", body=wordy, provider=TOP_K)).endpoint is CHAT
    wordy = speech.messages(unheard_of=1)
    assert way(asked(MESSAGES, "chat", "responses", body=wordy, provider=TOP_K)).endpoint is RESPONSES


def test_tools_of_a_vendor_are_refused_or_left_out() -> None:
    """As the operator says; the answer says that they are missing."""
    assert refused(asked(RESPONSES, "chat", body=SEARCH)).param == "tools.web_search"
    found = way(asked(RESPONSES, "chat", body=SEARCH, translation={"drop_hosted_tools": True}))
    assert found.passage.losses is not None
    assert found.passage.losses.header() == "dropped=tools.web_search"


def test_a_body_is_decoded_once() -> None:
    """However many targets are tried."""
    exchange = asked(CHAT, "messages")
    way(exchange)
    first = exchange.conversation
    way(exchange)
    assert first is exchange.conversation is not None


def test_a_body_that_cannot_be_read_names_its_field() -> None:
    """It is the client's to mend, whoever is asked."""
    assert (
        refused(asked(CHAT, "messages", body={"messages": [{"role": "nobody"}]})).param == "messages[0].role"
    )


def test_the_prompts_tokens_are_said_before_the_provider_says_them() -> None:
    """A stream of Messages begins with them, when a chat provider has not counted yet."""
    stream = way(asked(MESSAGES, "chat", body=speech.messages(stream=True))).passage.stream()
    began = stream.feed(b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n')
    assert b'"input_tokens":77' in began


def test_who_serves_what() -> None:
    """Everything is translated but embeddings, which exist in one dialect alone."""
    accounts = {name: {"api_keys": ["k1"], "dialects": [name]} for name in ("chat", "messages")}
    model = models(config(accounts))["small"]
    for endpoint in (CHAT, RESPONSES, MESSAGES):
        assert passages.serving(model, endpoint) is model
    served = passages.serving(model, Endpoint.EMBEDDINGS)
    assert [target.provider for target in served.targets] == ["chat"]
