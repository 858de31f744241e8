import json
import re
from typing import Any

import pytest
from fakes.chats import request
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refusal
from proxy.wire import envelope

DEPTH = 16


def weight_of(body: bytes) -> int:
    """What `body` counts as."""
    steps = envelope.weighing(body)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return int(end.value)


def refused(body: bytes) -> Refusal:
    """The refusal that `body` is answered with."""
    with pytest.raises(Refusal) as caught:
        envelope.read(body, DEPTH)
    return caught.value


TEXTS = st.text(alphabet='a"\\[]{}ü', max_size=8)
VALUES = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=25,
)


def test_an_envelope_holds_what_routing_needs() -> None:
    """The model, the stream flag, usage wanted, choices and the output cap are read from the top level."""
    body = request(
        "m", stream=True, n=2, max_tokens=9, max_completion_tokens=7, stream_options={"include_usage": True}
    )
    seen = envelope.read(body, DEPTH)
    assert (seen.model, seen.stream, seen.size) == ("m", True, len(body))
    assert (seen.wants_usage, seen.choices, seen.max_output) == (True, 2, 7)
    assert "Hi" not in repr(seen)


@pytest.mark.parametrize(
    ("fields", "wanted", "choices", "most"),
    [
        ({}, False, 1, None),
        ({"stream_options": {"include_usage": True}, "stream": False}, False, 1, None),
        ({"stream_options": {"include_usage": 1}, "stream": True}, False, 1, None),
        ({"stream_options": {}, "stream": True}, False, 1, None),
        ({"stream_options": None, "stream": True}, False, 1, None),
        ({"stream": True}, False, 1, None),
        ({"stream": None, "n": "2", "max_tokens": -1}, False, 1, None),
        ({"n": True, "max_tokens": 12}, False, 1, 12),
        ({"max_output_tokens": 30}, False, 1, 30),
        ({"max_output_tokens": "30"}, False, 1, None),
    ],
)
def test_odd_values_are_left_to_the_provider(
    fields: dict[str, Any], wanted: bool, choices: int, most: int | None
) -> None:
    """What is only read in passing and makes no sense counts as not given."""
    seen = envelope.read(request(**fields), DEPTH)
    assert (seen.wants_usage, seen.choices, seen.max_output) == (wanted, choices, most)


def test_numbers_beyond_all_measure_are_left_to_the_provider() -> None:
    """What the grammar allows and no float holds is passed on unread."""
    body = b'{"model": "m", "stream": true, "n": 1e999, "stream_options": {"include_usage": 1e999}}'
    seen = envelope.read(body, DEPTH)
    assert (seen.choices, seen.wants_usage) == (1, False)
    assert envelope.encode(seen.fields["n"]) == b"1e999"


@pytest.mark.parametrize(
    ("body", "says", "param", "code"),
    [
        (b"", "empty", None, None),
        (b'{"model": "\xff"}', "UTF-8 at byte 11", None, None),
        (b"[" * 10_000, "deeper than 16", None, None),
        (b"[]", "JSON object", None, None),
        (b'"text"', "JSON object", None, None),
        (b"{", "not valid JSON", None, None),
        (b'{"model": "m"} x', "not valid JSON", None, None),
        (b"{}", "must provide a model", "model", "missing_required_parameter"),
        (b'{"model": 5}', "must be a string", "model", "invalid_type"),
        (b'{"model": "\\ud800"}', "not valid JSON", None, None),
        (b'{"model": ""}', "must not be empty", "model", "invalid_value"),
        (b'{"model": "a", "model": "b"}', "more than once", "model", "duplicate_parameter"),
        (b'{"model": "a", "stream": "yes"}', "'stream' must be a boolean", "stream", "invalid_type"),
    ],
)
def test_what_a_body_must_be(body: bytes, says: str, param: str | None, code: str | None) -> None:
    """Every body that cannot be read is a 400 that says what is wrong with it, and never a crash."""
    refusal = refused(body)
    assert refusal.status == 400
    assert says in refusal.message
    assert (refusal.param, refusal.code) == (param, code)


def object_of(count: int) -> bytes:
    """A body of so many fields."""
    return b'{"model":"a",%b}' % b",".join(b'"%d":1' % number for number in range(count - 1))


@pytest.mark.parametrize("padding", [b"", b" " * envelope.PIECE])
def test_fields_are_bounded(padding: bytes) -> None:
    """A thousand are taken as they are, one more is refused; what is deeper down is not counted."""
    whole = envelope.decode(padding + object_of(envelope.FIELDS), DEPTH)
    assert len(whole) == envelope.FIELDS
    assert {type(name) for name in whole} == {str}
    assert refused(padding + object_of(envelope.FIELDS + 1)).message == (
        "The request body has more than 1000 top-level fields."
    )
    inner = object_of(2 * envelope.FIELDS)
    assert envelope.read(padding + b'{"model":"a","metadata":%b}' % inner, DEPTH).model == "a"


def test_a_million_fields_are_not_decoded() -> None:
    """The first that is too many ends it: what is wrong behind it is not seen."""
    assert "1000 top-level" in refused(object_of(20_000) + b"!").message
    twice = b'{"model":"a",%b"x":2}' % (b'"x":1,' * 40_000)
    assert "1000 top-level" in refused(twice).message


@pytest.mark.parametrize(
    ("body", "says"),
    [(b"[]", "JSON object"), (b'{"model": "m"} x', "not valid JSON"), (b'{"\\ud800": 1}', "not valid JSON")],
)
def test_a_long_body_is_refused_in_the_same_words(body: bytes, says: str) -> None:
    """As a short one."""
    assert refused(b" " * envelope.PIECE + body).message.startswith(refused(body).message[:37])
    assert says in refused(body).message


def test_a_model_named_again_deeper_down_is_no_duplicate() -> None:
    """Only the top level counts; beyond it `model` is somebody else's field."""
    assert envelope.read(b'{"model": "a", "metadata": {"model": "b"}}', DEPTH).model == "a"


def test_many_models_deeper_down_are_no_duplicate() -> None:
    """Beside numbers of any length, and in texts, they are counted and not read."""
    digits = b"9" * 5_000
    body = b'{"model":"a","n":%b,"x":[{"model":%b}],"y":{"model":"\\"model\\""}}' % (digits, digits)
    assert envelope.read(body, DEPTH).model == "a"
    assert refused(body[:-1] + b',"model":"b"}').code == "duplicate_parameter"


MILLIONS = 16 * 1024 * 1024 // 2
TOP = b'{"model":"a","x":'


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("inner", "says"),
    [
        (b"[" + b"[],{}," * (MILLIONS // 3) + b"0]", "too intricate"),
        (b"[" + b'[],"[",' * (MILLIONS // 4) + b"0]", "too intricate"),
        (b"[" * MILLIONS + b"]" * MILLIONS, "deeper than 16"),
        (b"[" * 14 + b"[]," * 100_000 + b"0" + b"]" * 14, None),
        (b"[" * 15 + b"[]," * 100_000 + b"0" + b"]" * 15, "deeper than 16"),
        (b'["' + b"[{" * (MILLIONS - 1_000) + b'"]', None),
        (b"[" + b'"","x",' * (MILLIONS // 4) + b"0]", None),
    ],
    ids=["pairs", "pairs and texts", "deep", "wide", "wide and deep", "text", "texts"],
)
def test_bodies_made_of_brackets(inner: bytes, says: str | None) -> None:
    """Sixteen megabytes of structure are refused or taken at once; what is in texts costs nothing."""
    body = TOP + inner + b"}"
    if says is None:
        assert envelope.read(body, DEPTH).model == "a"
    else:
        assert says in refused(body).message


PIECES = 3 * envelope.PIECE


@pytest.mark.parametrize("depth", [DEPTH, DEPTH + 1])
def test_depth_is_seen_across_pieces(depth: int) -> None:
    """What opens in one piece and goes on in another counts together."""
    inner = depth - 1
    half = inner // 2
    text = b'"[' + b'a\\"' * (PIECES // 3) + b'"'
    body = TOP + b"[" * half + text + b"," + b"[" * (inner - half) + text + b"]" * inner + b"}"
    if depth == DEPTH:
        assert envelope.read(body, DEPTH).model == "a"
    else:
        assert "deeper than 16" in refused(body).message


@pytest.mark.parametrize("at", [0, 1, 2, 3, envelope.PIECE, PIECES - 4])
def test_a_long_text_is_utf8_all_over(at: int) -> None:
    """Characters that a piece cuts are whole; the byte that is none is named wherever it is."""
    text = b"." * (at % 4) + "\u20ac".encode() * (PIECES // 3)
    body = TOP + b'"%b"}' % text
    assert envelope.read(body, DEPTH).model == "a"
    where = len(TOP) + 1 + at
    broken = body[:where] + b"\xff" + body[where + 1 :]
    said = re.search(r"at byte (\d+)", refused(broken).message)
    assert said is not None
    assert where - 3 < int(said[1]) <= where
    assert "UTF-8" in refused(body[:-3]).message


def test_only_long_bodies_are_read_in_steps() -> None:
    """Others may have a turn between two of them, and the envelope comes last."""
    assert len(list(envelope.reading(request("m"), DEPTH))) == 1
    *steps, seen = envelope.reading(TOP + b'"%b"}' % (b"[" * PIECES), DEPTH)
    assert steps == [None] * 5
    assert seen is not None


LONG = b'"' + b"x" * 10_000 + b'"'


@pytest.mark.parametrize(
    ("body", "twice"),
    [
        (b'{"model":"a","x":%b}' % LONG, False),
        (b' {\n "model" : "a" ,\t"x" : %b } \r\n' % LONG, False),
        (b'{"x":%b,"model":"a","y":{"model":"b"}}' % LONG, False),
        (b'{"m\\u006f":1,"model":"a","x":%b,"y":{"model":"b"}}' % LONG, False),
        (b'{"model":"a","n":12,"x":%b,"n":1,"y":{"model":"b"}}' % LONG, False),
        (b'{"model":"a","x":%b,"model":"a"}' % LONG, True),
        (b'{"model":"b","x":%b,"model":"a"}' % LONG, True),
        (b'{"model":"a","model":"a","x":%b}' % LONG, True),
        (b'{"model":"a","x":%b,"y":{},"model" : "ab"}' % LONG, True),
        (b'{"model":"a","x":%b,"n":1,"n":12,"model":"b"}' % LONG, True),
        (b'{"model":"a","x":"%b"}' % (b"x" * PIECES), False),
        (b'{"model":"b","x":"%b","model":"a","x":"%by"}' % (b"x" * PIECES, b"x" * PIECES), True),
    ],
)
def test_the_model_of_a_long_body_is_given_once(body: bytes, twice: bool) -> None:
    """However it is written, and beside whatever else is double."""
    if twice:
        assert refused(body).code == "duplicate_parameter"
    else:
        assert envelope.read(body, DEPTH).model == "a"


def test_a_duplicate_behind_an_escape_does_no_harm() -> None:
    """What is routed by is what is sent: one `model`, whichever it was, and no second one beside it."""
    seen = envelope.read(b'{"model": "a", "mod\\u0065l": "b"}', DEPTH)
    assert (seen.model, list(seen.fields)) == ("b", ["model"])


def test_values_travel_byte_for_byte() -> None:
    """Numbers keep their digits and objects their order and spaces."""
    fields = envelope.decode(b'{"a":1.10, "b": {"z":1,  "a":2}, "c": 12345678901234567890}', DEPTH)
    assert envelope.encode(fields) == b'{"a":1.10,"b":{"z":1,  "a":2},"c":12345678901234567890}'


@given(st.dictionaries(TEXTS, VALUES))
def test_a_long_body_is_written_as_the_encoder_would(values: dict[str, Any]) -> None:
    """Whatever its fields are named and hold, and where there are none."""
    fields = envelope.decode(json.dumps(values).encode(), 64)
    assert envelope.body_of(fields) == envelope.encode(fields)


def test_a_file_weighs_little_whatever_its_size() -> None:
    """What a prompt costs has little to do with how large its pictures are."""
    picture = "data:image/png;base64," + "A" * 100_000
    body = json.dumps({"model": "m", "messages": [{"content": [{"image_url": {"url": picture}}] * 2}]})
    seen = envelope.read(body.encode(), 64)
    assert seen.size == len(body)
    assert 2 * envelope.FILE < seen.weight < 2 * envelope.FILE + 300
    assert envelope.read(b'{"model": "m"}', 64).weight == 14


PLAIN_FILE = re.compile(rb";base64,[A-Za-z0-9+/_=-]+")
WEIGHED = st.lists(
    st.sampled_from([b";", b";base64,", b"A" * 255, b"b/" * 128, b"=" * 300, b" ", b'"', b";" * 70])
)


@given(WEIGHED)
def test_a_body_weighs_what_one_expression_says(parts: list[bytes]) -> None:
    """Files are found one by one, behind many semicolons too, and end where base64 ends."""
    body = b"".join(parts)
    files = [len(found) for found in PLAIN_FILE.findall(body)]
    assert weight_of(body) == len(body) - sum(files) + envelope.FILE * len(files)


@pytest.mark.parametrize("more", [0, 1, envelope.PIECE - 1, envelope.PIECE, 2 * envelope.PIECE + 5])
def test_a_large_file_is_weighed_to_its_end(more: int) -> None:
    """In pieces, and what follows it counts in full."""
    file = b";base64," + b"A" * (256 + more)
    assert weight_of(file) == envelope.FILE
    assert weight_of(b"..%b$$AA" % file) == envelope.FILE + 6


class Watched(bytes):
    """A body that knows how many bytes were taken out of it."""

    taken = 0

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        self.taken += len(part)
        return part


@pytest.mark.parametrize("letters", [256, 257, 1_300, 5_000, 30_000])
def test_no_file_costs_much_more_than_its_size(letters: int) -> None:
    """Beside many others, whose bytes are not looked at again and again."""
    file = b";base64," + b"A" * letters + b"."
    count = 16 * envelope.PIECE // len(file)
    body = Watched(file * count)
    assert weight_of(body) == count * (envelope.FILE + 1)
    assert body.taken <= 5 * len(body)


@pytest.mark.parametrize(
    ("part", "most"),
    [
        (b";base64,", 256),
        (b";base64,A.", 256),
        (b";base64," + b"A" * 257 + b".", 256),
        (b";base64," + b"A" * 5_000 + b".", 27),
        (b";base64," + b"A" * 3 * envelope.PIECE + b".", 1),
    ],
    ids=["none", "least", "small", "more", "large"],
)
def test_others_have_a_turn_among_many_files(part: bytes, most: int) -> None:
    """After some hundreds of files, or a piece of them."""
    count = 8 * 256
    steps = len(list(envelope.weighing(part * count)))
    assert count // most <= steps <= 6 * count // most + 1


@pytest.mark.parametrize("at", range(envelope.PIECE * 8 - 9, envelope.PIECE * 8 + 2))
def test_a_file_is_found_far_away(at: int) -> None:
    """Behind many semicolons, wherever the search pauses; others have a turn then."""
    semicolons = b";" * 65
    body = semicolons + b"." * (at - len(semicolons)) + b";base64,AAAA" + b"." * envelope.PIECE * 8
    assert weight_of(body) == len(body) - 12 + envelope.FILE
    assert len(list(envelope.weighing(body))) == 2
