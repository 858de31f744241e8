import msgspec
import pytest

from proxy.errors import Fault, FaultKind, Said
from proxy.hearsay import COMPARED, LONGEST, heard

TARGET = "m3/gpt-4o-mini"


def fields(content: str, **more: object) -> dict[str, msgspec.Raw]:
    """A request that says `content`."""
    body = {"model": "small", "messages": [{"role": "user", "content": content}], **more}
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}


def told(message: str, content: str = "", *, code: str | None = None, param: str | None = None) -> str:
    """What is kept of `message`, the answer to a request that said `content`."""
    fault = Fault(FaultKind.STATUS, "it failed", status=400, said=Said(message, code=code, param=param))
    return heard(fault, fields(content), TARGET)


@pytest.mark.parametrize(
    ("message", "code", "kept"),
    [
        (
            "The model `gpt-4o-mini` does not exist or you do not have access to it.",
            "model_not_found",
            "The model `gpt-4o-mini` does not exist or you do not have access to it.; model_not_found",
        ),
        ("Incorrect API key provided: [redacted].", None, "Incorrect API key provided: [redacted]."),
        ("Rate limit reached: 30000, used 29731.", "429", "Rate limit reached: 30000, used 29731.; 429"),
        ("Busy\n\tnow\x1b[2J", None, "Busy now [2J"),
        ("overloaded", "overloaded", "overloaded"),
    ],
)
def test_what_the_provider_says_is_kept(message: str, code: str | None, kept: str) -> None:
    """Its message, and the words of its error, on one line."""
    assert told(message, "What is the model of your API key?", code=code) == kept


@pytest.mark.parametrize(
    ("content", "message", "kept"),
    [
        ("my pin is hunter2", "Invalid value: 'my pin is hunter2'.", "Invalid value: '… is …'."),
        ("CANARY-words", "canary-words: not allowed", "…: not allowed"),
        ("a canary sings", "xcanaryx is invalid", "… is invalid"),
        ("a canary sings", "Invalid: 'a canar", "Invalid: 'a …"),
        ("Grüße an Zoë", "Unknown: Grüße an Zoë", "Unknown: … an …"),
        ("密码是一二三", "错误密码是一二", "…"),
        ("line\ncanary", "Invalid: line\\ncanary", "Invalid: …"),
        ("\N{BIRD}", "Invalid: \N{BIRD}", "Invalid: …"),
        ("code 73491", "Invalid: 73491, at 12", "Invalid: …, at 12"),
    ],
)
def test_what_stands_in_the_request_is_left_out(content: str, message: str, kept: str) -> None:
    """However it is cut, and in whatever letters."""
    assert told(message, content) == kept


def test_escapes_of_the_request_hide_nothing() -> None:
    """Clients may write any character as an escape, and JSON within JSON once more."""
    raw = {"input": msgspec.Raw(b'"\\u0063anary \\\\u0066inch \\ud83d\\udc26"')}
    fault = Fault(FaultKind.STATUS, "", status=500, said=Said("Invalid: canary, finch, \N{BIRD}"))
    assert heard(fault, raw, TARGET) == "Invalid: …"


def test_codes_and_parameters_quote_no_more_than_messages() -> None:
    """A tool's name may be said as a parameter."""
    found = told("Invalid tool.", "canary", code="canary_code", param="tools[0].canary")
    assert found == "Invalid tool.; …_code; tools[0].…"


def test_of_a_long_request_only_plain_words_are_kept() -> None:
    """Nobody looks for what was quoted of it."""
    said = told("The model gpt-4o-mini has a limit of 9000 pineapples", "x" * COMPARED)
    assert said == "The model gpt-4o-mini has a limit of …"


def test_so_many_words_are_looked_for_and_no_more() -> None:
    """Who answers with what takes long to look for is told without the rest."""
    said = told(" ".join(f"{'pineapple' * 2}{number:03}" for number in range(30)))
    assert said.startswith("pineapplepineapple000 pineapplepineapple001 ")
    assert said.endswith(" …")
    assert "pineapple009" not in said


def test_it_is_bounded() -> None:
    """As one short line of a log."""
    kept = told("limit of tokens " * 100)
    assert (len(kept), kept[-1]) == (LONGEST, "…")


def test_where_a_provider_has_said_nothing() -> None:
    """What broke on the way is told; of a status its number is enough, and stands elsewhere."""
    refused = Fault(FaultKind.TLS, "the certificate was refused")
    assert heard(refused, fields(""), TARGET) == "the certificate was refused"
    assert heard(Fault(FaultKind.STATUS, "it answered", status=503), fields(""), TARGET) == ""
