from typing import Annotated

import pytest
from pydantic import BaseModel, ValidationError

from proxy.config import fields
from proxy.config.fields import (
    Body,
    ClientName,
    Dialects,
    DropParams,
    Headers,
    ModelName,
    Name,
    Origin,
    Port,
    RedisUrl,
    ServerUrl,
    Version,
    Wait,
    plural,
    with_kind,
    with_models,
)
from ratelimit.quota import LARGEST


class Holder(BaseModel):
    """One field of each type."""

    body: Body = {}
    client: ClientName = "c"
    dialects: Dialects = ("chat",)
    drop: DropParams = ()
    headers: Headers = {}
    model: ModelName = "m"
    name: Name = "n"
    origin: Origin = "*"
    port: Port = 1
    responses: ServerUrl | None = None
    redis: RedisUrl = "embedded"
    version: Annotated[Version, "as written"] = "1"
    wait: Wait = 1.0


GOOD = [
    ("body", {"a": [1, {"b": None}]}),
    ("client", "Team A, no. 1".replace(",", "")),
    ("dialects", "chat"),
    ("dialects", ["responses", "messages"]),
    ("drop", "service_tier"),
    ("headers", {"X-Org": "a b\tc", "cf-aig-authorization": "Bearer x"}),
    ("model", "org/model#tag:1"),
    ("name", "azure-east_2.a"),
    ("origin", "https://app.example.com:8443"),
    ("port", "8080"),
    ("port", 0),
    ("redis", "redis+sentinel://h1,h2/name"),
    ("redis", "unix:///run/redis.sock"),
    ("responses", "rediss://h:6380"),
    ("responses", None),
    ("version", "2025-04-01-preview"),
    ("wait", "5m"),
]

BAD = [
    ("body", {"model": "x"}, "fields other than `model`"),
    ("body", {"stream": True}, "fields other than `stream`"),
    ("client", "{tag}", "letters, digits, spaces"),
    ("client", "", "letters, digits, spaces"),
    ("dialects", [], "at least 1 item"),
    ("dialects", "chats", "'chat', 'responses' or 'messages'"),
    ("drop", ["model"], "fields other than `model`"),
    ("headers", {"a b": "x"}, "header names of"),
    ("headers", {"": "x"}, "header names of"),
    ("headers", {"Transfer-Encoding": "x"}, "headers other than `transfer-encoding`"),
    ("headers", {"Host": "x"}, "headers other than `host`"),
    ("headers", {"a": "canary\r\nb: c"}, "visible ASCII text for `a`"),
    ("headers", {"a": ""}, "visible ASCII text for `a`"),
    ("headers", {"a": "x", "A": "y"}, "each header once"),
    ("model", "a b", "1 to 256 visible"),
    ("model", "", "1 to 256 visible"),
    ("name", "a#b", "letters, digits"),
    ("name", "a/b", "letters, digits"),
    ("origin", "https://a.example/path", "an origin such as"),
    ("port", 65_536, "less than or equal to 65535"),
    ("redis", "http://canary", "embedded, or a URL"),
    ("redis", "redis://h:63790000", "between 1 and 65535"),
    ("redis", "redis://:can/ary@h", "in a password are written"),
    ("redis", "redis://h,h2", "one host"),
    ("responses", "embedded", "a URL with redis://"),
    ("responses", "redis://h/canary", "a database that is a number"),
    ("responses", "redis+sentinel://h", "the name of the service"),
    ("responses", "redis+cluster://h/3", "database 0"),
    ("responses", "redis://h?canary=", "no options but"),
    ("responses", "http://canary", "a URL with redis://"),
    ("version", "a&b=c", "match pattern"),
    ("wait", 0, "greater than 0"),
]


@pytest.mark.parametrize(("field", "value"), GOOD)
def test_good_values_pass(field: str, value: object) -> None:
    """Each type takes what its sentence allows."""
    Holder.model_validate({field: value})


@pytest.mark.parametrize(("field", "value", "said"), BAD)
def test_bad_values_are_refused_with_what_is_allowed(field: str, value: object, said: str) -> None:
    """Each type says what is allowed; its own sentence does not repeat the value."""
    with pytest.raises(ValidationError) as caught:
        Holder.model_validate({field: value})
    messages = [error["msg"] for error in caught.value.errors()]
    assert any(said in message for message in messages)
    assert "canary" not in str(messages)


def test_header_names_are_in_lower_case() -> None:
    """Headers compare without case, so one form is kept."""
    assert Holder.model_validate({"headers": {"X-Org": "A"}}).headers == {"x-org": "A"}


def test_dumps_hide_what_may_be_secret() -> None:
    """Headers, bodies and a password in a URL are not dumped."""
    holder = Holder.model_validate(
        {
            "headers": {"a": "canary"},
            "body": {"b": "canary"},
            "redis": "redis://:canary@h:6379",
            "responses": "redis://u:canary@h:6379",
        }
    )
    assert "canary" not in holder.model_dump_json()
    assert holder.model_dump()["redis"] == "redis://***@h:6379"


def test_a_single_key_is_a_list_of_one() -> None:
    """The short form is spelled out; both forms together are an error; other data passes."""
    assert plural({"key": "a", "b": 1}, "key", "keys") == {"keys": ["a"], "b": 1}
    assert plural({"keys": ["a"]}, "key", "keys") == {"keys": ["a"]}
    assert plural("text", "key", "keys") == "text"
    with pytest.raises(ValueError, match="either `key` or `keys`, not both"):
        plural({"key": "a", "keys": []}, "key", "keys")


@pytest.mark.parametrize(
    ("data", "kind", "base_url", "dialects"),
    [
        (
            {"base_url": "https://api.openai.com/v1"},
            "openai",
            "https://api.openai.com/v1",
            ("chat", "responses"),
        ),
        ({"base_url": "http://127.0.0.1/v1"}, "generic", "http://127.0.0.1/v1", ("chat",)),
        ({"kind": "azure", "base_url": "https://h"}, "azure", "https://h", ("chat", "responses")),
        ({"kind": "mistral"}, "mistral", "https://api.mistral.ai/v1", ("chat",)),
        ({"kind": "openai", "dialects": ["chat"]}, "openai", "https://api.openai.com/v1", ["chat"]),
        ({}, "generic", None, ("chat",)),
        ({"base_url": 5}, "generic", 5, ("chat",)),
    ],
)
def test_a_provider_is_filled_in_by_its_kind(
    data: dict[str, object], kind: str, base_url: object, dialects: object
) -> None:
    """Kind follows from the host, address and dialects from the kind; what is written stays."""
    full = with_kind(data)
    assert isinstance(full, dict)
    assert (full["kind"], full.get("base_url"), full["dialects"]) == (kind, base_url, dialects)


def test_what_is_no_provider_is_left_to_its_type() -> None:
    """An unknown kind leads to one complaint, not to a second one about its address."""
    assert with_kind("text") == "text"
    assert with_kind({"kind": "nobody"}) == {"kind": "nobody", "base_url": "https://unknown"}


def test_entries_ask_for_their_alias() -> None:
    """An entry without `model` gets the alias; data of another shape passes as it is."""
    data = {"models": {"m": {"providers": [{"provider": "a"}, {"model": "x"}, "odd"]}, "n": 5, "o": {}}}
    assert with_models(data) == {
        "models": {
            "m": {"providers": [{"model": "m", "provider": "a"}, {"model": "x"}, "odd"]},
            "n": 5,
            "o": {},
        }
    }
    assert with_models({"models": []}) == {"models": []}
    assert with_models(None) is None


def test_a_limit_is_what_buckets_can_hold() -> None:
    """The figure stands twice, so that reading a configuration stays light."""
    assert fields.MOST_ALLOWED == LARGEST
