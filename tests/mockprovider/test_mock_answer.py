import pytest

from mockprovider.answer import Ask, Stamp, Tool, Usage, compose, pieces, prompt_tokens
from mockprovider.behaviour import Behaviour

_WEATHER = Tool("weather", {"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}})
_TIME = Tool("time", {})


def test_the_answer_greets_and_repeats_the_user() -> None:
    """By default the reply names the provider and echoes the last user text, a word a piece."""
    answer = compose(Ask(model="m", text="good morning"), Behaviour(), "alpha")
    assert answer.text == "Hello from alpha. You said: good morning"
    assert answer.pieces == ("Hello ", "from ", "alpha. ", "You ", "said: ", "good ", "morning")
    assert answer.finish == "stop"


def test_usage_can_be_computed_by_hand() -> None:
    """Four bytes of prompt are a token, each piece is one, reasoning counts as completion."""
    ask = Ask(model="m", prompt_bytes=9)
    answer = compose(ask, Behaviour(text="one two", reasoning="a b c", cached_tokens=1), "x")
    assert answer.usage == Usage(prompt=3, completion=5, cached=1, reasoning=3)
    assert (answer.text, answer.thought) == ("one two", "a b c")
    assert [prompt_tokens(size) for size in (0, 1, 4, 5)] == [1, 1, 1, 2]


def test_usage_can_be_claimed_or_left_out() -> None:
    """A script may lie about usage or say nothing."""
    claimed = compose(Ask(model="m"), Behaviour(prompt_tokens=1000, completion_tokens=0), "x").usage
    assert claimed == Usage(1000, 0)
    assert compose(Ask(model="m"), Behaviour(omit_usage=True), "x").usage is None


@pytest.mark.parametrize(
    ("text", "tokens", "piece_bytes", "wanted"),
    [
        ("", None, None, ()),
        ("  ", None, None, ("  ",)),
        ("a b\nc", None, None, ("a ", "b\n", "c")),
        ("a b", 5, None, ("a ", "b ", "a ", "b ", "a ")),
        ("a b c", 2, None, ("a ", "b ")),
        ("a b", 0, None, ()),
        ("", 2, None, ("- ", "- ")),
        ("abcdefg", None, 3, ("abc", "def", "g")),
        ("ab", 3, 4, ("ab a", "b ab", " ab ")),
        ("", 2, 2, ("- ", "- ")),
        ("aé€😀", None, 3, ("aé", "€", "😀")),
        ("😀😀", 3, 2, ("😀", "😀", " ")),
    ],
)
def test_text_is_cut_into_pieces(
    text: str, tokens: int | None, piece_bytes: int | None, wanted: tuple[str, ...]
) -> None:
    """Words or sizes, as many as asked for, and a character is never split."""
    assert pieces(text, tokens, piece_bytes) == wanted


def test_a_huge_piece_comes_first() -> None:
    """`huge_bytes` is one piece of exactly that size."""
    answer = compose(Ask(model="m"), Behaviour(text="a b", huge_bytes=100_000), "x")
    assert [len(piece) for piece in answer.pieces] == [100_000, 2, 1]


@pytest.mark.parametrize(
    ("limit", "text", "finish"), [(2, "a b ", "length"), (3, "a b c", "stop"), (None, "a b c", "stop")]
)
def test_the_limit_of_the_request_is_obeyed(limit: int | None, text: str, finish: str) -> None:
    """A reply that is too long is cut and says so."""
    answer = compose(Ask(model="m", limit=limit), Behaviour(text="a b c"), "x")
    assert (answer.text, answer.finish) == (text, finish)


@pytest.mark.parametrize(
    ("ask", "behaviour", "names"),
    [
        (Ask(model="m", tools=[_WEATHER]), Behaviour(), []),
        (Ask(model="m", tools=[_WEATHER], text="please Use a Tool"), Behaviour(), ["weather"]),
        (Ask(model="m", tools=[_WEATHER, _TIME], choice="required"), Behaviour(), ["weather"]),
        (Ask(model="m", tools=[_WEATHER, _TIME], choice="=time"), Behaviour(), ["time"]),
        (Ask(model="m", tools=[_WEATHER, _TIME]), Behaviour(tool_calls=3), ["weather", "time", "weather"]),
        (Ask(model="m", tools=[_WEATHER], choice="required"), Behaviour(tool_calls=0), []),
        (Ask(model="m", tools=[_WEATHER], choice="none"), Behaviour(tool_calls=1), []),
        (Ask(model="m", tools=[_WEATHER], choice="required", after_tool=True), Behaviour(), []),
        (Ask(model="m", choice="required"), Behaviour(tool_calls=1), []),
    ],
)
def test_tools_are_called_when_request_or_script_says_so(
    ask: Ask, behaviour: Behaviour, names: list[str]
) -> None:
    """A forced choice, the words "use a tool" or the script make calls; a tool's result never does."""
    answer = compose(ask, behaviour, "x")
    assert [call.name for call in answer.calls] == names
    assert answer.finish == ("tool_calls" if names else "stop")
    assert bool(answer.text) != bool(names)


def test_arguments_fit_the_schema_and_come_in_pieces() -> None:
    """The arguments are JSON that fits the schema, or what the script says."""
    call = compose(Ask(model="m", tools=[_WEATHER], choice="required", text="Rome"), Behaviour(), "x").calls[
        0
    ]
    assert call.arguments == '{"city":"Rome","days":1}'
    assert len(call.pieces) > 1
    told = Behaviour(tool_calls=1, tool_arguments={"a": 1})
    assert compose(Ask(model="m", tools=[_WEATHER]), told, "x").calls[0].arguments == '{"a":1}'


def test_lifecycle_only_is_an_answer_without_content() -> None:
    """`empty: lifecycle` says nothing and calls nothing, but ends properly."""
    ask = Ask(model="m", tools=[_WEATHER], choice="required")
    answer = compose(ask, Behaviour(empty="lifecycle"), "x")
    assert (answer.pieces, answer.calls, answer.finish) == ((), (), "stop")


def test_ids_tell_replies_and_parts_apart() -> None:
    """An id depends on the seed, the reply's number and the part only."""
    ids = {
        Stamp(1).id("a"),
        Stamp(2).id("a"),
        Stamp(1, seed=1).id("a"),
        Stamp(1).id("a", 0),
        Stamp(1).id("a", 1),
    }
    assert len(ids) == 5
    assert Stamp(1).id("a") == Stamp(1).id("a")


def test_text_that_is_scripted_is_said_beside_calls() -> None:
    """Otherwise a call comes alone."""
    ask = Ask(model="m", tools=[_WEATHER], choice="required")
    assert compose(ask, Behaviour(text="one moment"), "x").text == "one moment"
    assert compose(ask, Behaviour(), "x").text == ""


@pytest.mark.parametrize(
    ("stops", "said", "stopped"),
    [
        ((), "one two three", None),
        (("four",), "one two three", None),
        (("two",), "one ", "two"),
        (("e t", "three"), "on", "e t"),
        (("three", "two"), "one ", "two"),
        (("one",), "", "one"),
    ],
)
def test_nothing_is_said_from_a_stop_sequence_on(
    stops: tuple[str, ...], said: str, stopped: str | None
) -> None:
    """The first that comes up, even across pieces."""
    answer = compose(Ask(model="m", stops=stops), Behaviour(text="one two three"), "x")
    assert (answer.text, answer.stopped, answer.finish) == (said, stopped, "stop")


def test_a_limit_before_the_stop_sequence_is_what_ends_it() -> None:
    """The reason to end is the one that came first."""
    answer = compose(Ask(model="m", stops=["three"], limit=1), Behaviour(text="one two three"), "x")
    assert (answer.text, answer.stopped, answer.finish) == ("one ", None, "length")


@pytest.mark.parametrize(
    ("images", "files", "words"),
    [(1, 0, " Saw 1 image."), (2, 1, " Saw 2 images and 1 file."), (0, 2, " Saw 2 files."), (0, 0, "hi")],
)
def test_the_echo_tells_what_was_seen(images: int, files: int, words: str) -> None:
    """Only if there was anything to see."""
    ask = Ask(model="m", text="hi", images=images, files=files)
    assert compose(ask, Behaviour(), "x").text.endswith(words)


def test_an_answer_in_a_format_fits_its_schema() -> None:
    """It is JSON, unless the script says something else."""
    ask = Ask(model="m", text="hi", schema={"type": "object", "properties": {"n": {"type": "integer"}}})
    assert compose(ask, Behaviour(), "x").text == '{"n":1}'
    assert compose(ask, Behaviour(text="no"), "x").text == "no"


def test_a_custom_tool_is_given_text() -> None:
    """The user's, or the script's."""
    ask = Ask(model="m", text="do it", tools=[Tool("c", {}, custom=True)], choice="required")
    (call,) = compose(ask, Behaviour(), "x").calls
    assert (call.custom, call.arguments) == (True, "do it")
    assert compose(ask, Behaviour(tool_input="a b"), "x").calls[0].pieces == ("a ", "b")


def test_a_refusal_is_said_instead_of_an_answer() -> None:
    """No text and no call beside it."""
    ask = Ask(model="m", tools=[_WEATHER], choice="required")
    answer = compose(ask, Behaviour(declined="I will not", text="x"), "x")
    assert (answer.refusal, answer.text, answer.calls) == (("I ", "will ", "not"), "", ())
    assert answer.usage is not None
    assert answer.usage.completion == 3


def test_functions_are_called_one_at_a_time() -> None:
    """The old way knows no parallel calls."""
    ask = Ask(model="m", tools=[_WEATHER, _TIME], choice="required", legacy=True)
    assert len(compose(ask, Behaviour(tool_calls=2), "x").calls) == 1
