import pytest
from pydantic import ValidationError

from proxy.config.problems import (
    ConfigError,
    Fault,
    Problem,
    Text,
    faults,
    nearest,
    secret,
    section_at,
    shown,
    written,
)
from proxy.config.resilience import TimeoutOverrides
from proxy.config.settings import ApiKey, Config, Entry, Limits


def found(data: object, text: Text | None = None) -> list[Fault]:
    """The faults of some data."""
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(data)
    return faults(caught.value, data, text or Text(), Config)


def test_a_problem_is_one_line() -> None:
    """Path, line, finding, what is allowed and how to mend stand in one line."""
    problem = Problem("a.b", "5", "text", "put it in quotes", line=7)
    assert str(problem) == "a.b (line 7): found 5; allowed: text; put it in quotes"
    assert str(Problem("", "x", "y")) == "the file: found x; allowed: y"
    assert str(Problem("", "x", "y", line=2)) == "line 2: found x; allowed: y"
    assert str(Problem("a", "it is not set", "", line=2)) == "a (line 2): it is not set"


def test_an_error_carries_all_its_problems() -> None:
    """The text of the error is one line for each problem."""
    error = ConfigError(iter([Problem("a", "x", "y"), Problem("b", "x", "y")]), "f")
    assert len(error.problems) == 2
    assert str(error).splitlines() == [str(problem) for problem in error.problems]
    assert error.source == "f"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("models", "gpt-4o-mini", "providers", 1, "weight"), "models.gpt-4o-mini.providers[1].weight"),
        (("models", "gpt-4.1"), 'models["gpt-4.1"]'),
        (("a/b",), '["a/b"]'),
        ((), ""),
        (("providers", "url:redis://:hunter2@h"), 'providers["url:***"]'),
        (
            ("providers", "p", "headers", "authorization:hunter2", 0),
            'providers.p.headers["authorization:***"][0]',
        ),
        (("models", "llama3:8b"), 'models["llama3:8b"]'),
        (("clients", 0, "model_limits", "ft:a:b"), 'clients[0].model_limits["ft:a:b"]'),
        (("models", "api_key:hunter2"), 'models["api_key:***"]'),
        (("models", "http://u:hunter2@h"), 'models["http:***"]'),
    ],
)
def test_paths_are_written_as_one_reads_them(path: tuple[str | int, ...], text: str) -> None:
    """Names with other characters stand in quotes; what stands behind a colon may be a secret."""
    assert written(path) == text


def test_renamed_paths_have_no_line() -> None:
    """What does not stand in the file is called by its source, and has no line there."""
    text = Text(lines={("a",): 3, ("a", "b"): 4}, names={"a.b": "$VARIABLE", "c": "OTHER"})
    assert text.problem(Fault(("a", "b"), "x", "y")) == Problem("$VARIABLE", "x", "y")
    assert text.problem(Fault(("a", "d", 0), "x", "y")) == Problem("a.d[0]", "x", "y", line=3)
    assert text.problem(Fault(("c", "d", 0), "x", "y")) == Problem("OTHER.d[0]", "x", "y")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", '"a"'),
        ("x" * 70, '"' + "x" * 57 + '..."'),
        ("https://u:p@h/v1", '"https://***@h/v1"'),
        ("https://h?key=x", '"https://h?***"'),
        ("https://:pa/ss@h:x", '"https://***@h:x"'),
        ("https://u:p@q@h/a\n?k\ny", '"https://***@h/a\\n?***"'),
        ("openai api_key:hunter2 x", '"openai api_key:***"'),
        ("5s\nTOKEN = hunter2", '"5s\\nTOKEN =***"'),
        ("llama3:8b", '"llama3:8b"'),
        (5, "5"),
        (True, "true"),
        (None, "nothing"),
        ({"a": 1}, "a mapping"),
        ([], "an empty list"),
        ({}, "an empty mapping"),
        ((1,), "a list"),
    ],
)
def test_values_are_shown_in_few_words(value: object, text: str) -> None:
    """Containers are not unfolded, and URLs lose what may be secret; so does text that a key slipped into."""
    assert shown(value) == text


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        (("clients", 0, "keys", 1), True),
        (("providers", "p", "api_key"), True),
        (("providers", "p", "headers", "x"), True),
        (("redis", "url"), True),
        (("redis", "responses_url"), True),
        (("redis", "connections"), False),
        (("operations", "token"), True),
        (("providers", "p", "api_keys", 0, "limits", "burst"), False),
        (("providers", "p", "base_url"), False),
        ((), False),
    ],
)
def test_secret_places_are_known(path: tuple[str | int, ...], hidden: bool) -> None:
    """Keys, tokens, headers, bodies and Redis URLs may hold secrets; limits of a key do not."""
    assert secret(path) is hidden


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("operations", "token", "hunter2"),
        ("operations", "token", "hunter2 hunter2"),
        ("operations", "token", 7162534),
        ("redis", "url", "http://:hunter2/s@host:x"),
        ("redis", "url", "redis:/user:hunter2"),
        ("redis", "responses_url", "http://:hunter2/s@host:x"),
        ("redis", "responses_url", "redis:/user:hunter2"),
        ("redis", "responses_url", 7162534),
    ],
)
def test_no_secret_is_shown_wherever_it_is_refused(section: str, name: str, value: object) -> None:
    """Too short, with a space, a number without quotes, a URL with a slip in it."""
    [fault] = found({section: {name: value}})
    assert fault.path == (section, name)
    assert fault.found == ("***" if isinstance(value, str) else "a number")


@pytest.mark.parametrize(
    ("url", "shown_as"),
    [
        ("ftp://user:hunter2@h/v1", '"ftp://***@h/v1"'),
        ("ftp://h:70/v1?key=hunter2", '"ftp://h:70/v1?***"'),
        ("ftp://:hunter2/s@host:x", "***"),
        ("https:/user:hunter2", "***"),
        ("api.example.com/v1", '"api.example.com/v1"'),
        ("ftp://:name.example.com/d/:model/x", '"ftp://:name.example.com/d/:model/x"'),
    ],
)
def test_of_a_url_that_cannot_be_read_nothing_is_shown(url: str, shown_as: str) -> None:
    """Nobody knows where in it a password stands."""
    [fault] = found({"providers": {"p": {"base_url": url}}})
    assert fault.found == shown_as
    text = Text(templates={("providers", "p", "base_url"): url + "${X}"})
    [fault] = found({"providers": {"p": {"base_url": url}}}, text)
    assert "hunter2" not in fault.found


def test_the_nearest_word_is_suggested() -> None:
    """A slip of the finger finds its word; something else finds none."""
    assert nearest("prot", ["host", "port"]) == "did you mean `port`?"
    assert not nearest("zzz", ["host", "port"])


@pytest.mark.parametrize(
    ("path", "section"),
    [
        ((), Config),
        (("models", "m", "providers", 0), Entry),
        (("providers", "p", "api_keys", 3), ApiKey),
        (("clients", 0, "model_limits", "m"), Limits),
        (("models", "m", "timeouts"), TimeoutOverrides),
        (("listen", "port"), None),
        (("listen", "port", "deeper"), None),
        (("models", "m", "providers", 0, "name"), None),
        (("nothing", "there"), None),
    ],
)
def test_paths_lead_into_sections(path: tuple[str | int, ...], section: type | None) -> None:
    """A path is followed through lists, mappings and optional sections."""
    assert section_at(Config, path) is section


CASES: list[tuple[object, Fault]] = [
    (
        {"listen": {"prot": 1}},
        Fault(
            ("listen", "prot"),
            "the unknown key `prot`",
            "host, port, keep_alive, workers",
            "did you mean `port`?",
        ),
    ),
    (
        {"retry": {"zzz": "canary"}},
        Fault(("retry", "zzz"), "the unknown key `zzz`", "attempts, budget", "remove it"),
    ),
    (
        {"retry": {"attempts:canary": 3}},
        Fault(
            ("retry", "attempts:canary"),
            "the unknown key `attempts:***`",
            "attempts, budget",
            "put a space after the colon",
        ),
    ),
    (
        {"clients": [{"key": "12345678"}]},
        Fault(
            ("clients", 0, "name"), "nothing", "its name in logs and metrics; each name once", "add `name:`"
        ),
    ),
    ({"clients": "canary"}, Fault(("clients",), "text", "a list", "or leave it out")),
    (
        {"providers": {"p": "canary"}},
        Fault(("providers", "p"), "text", "a mapping of keys to values", ""),
    ),
    (
        {"providers": {"p": {"base_url": "http://h"}}, "models": {"m": {"providers": ["p"]}}},
        Fault(
            ("models", "m", "providers", 0), "text", "a mapping of keys to values", "write `{provider: p}`"
        ),
    ),
    (
        {"models": {"m": {"providers": ["canary"]}}},
        Fault(
            ("models", "m", "providers", 0), "text", "a mapping of keys to values", "write `{provider: NAME}`"
        ),
    ),
    (
        {"clients": [{"name": "a", "key": 12345678}]},
        Fault(("clients", 0, "key"), "a number", "text", "put it in quotes"),
    ),
    (
        {"clients": [{"name": "a", "keys": "canary"}]},
        Fault(("clients", 0, "keys"), "***", "a key of at least 8 characters", ""),
    ),
    (
        {"clients": [{"name": "a", "keys": ["12345678", ""]}]},
        Fault(
            ("clients", 0, "keys", 1),
            "empty text",
            "a key of visible ASCII characters without spaces, not empty",
            "",
        ),
    ),
    (
        {"clients": [{"name": True, "key": "12345678"}]},
        Fault(("clients", 0, "name"), "true", "text", "put it in quotes"),
    ),
    (
        {"log": {"level": "inof"}},
        Fault(("log", "level"), '"inof"', "one of debug, info, warning or error", "did you mean `info`?"),
    ),
    (
        {"log": {"level": 5}},
        Fault(("log", "level"), "5", "one of debug, info, warning or error", "or leave it out"),
    ),
    ({"listen": {"port": "x"}}, Fault(("listen", "port"), '"x"', "a whole number", "or leave it out")),
    ({"listen": {"port": -1}}, Fault(("listen", "port"), "-1", "at least 0", "or leave it out")),
    (
        {"redis": {"embedded_memory": "1MB"}},
        Fault(("redis", "embedded_memory"), '"1MB"', "at least 16MiB", "or leave it out"),
    ),
    (
        {"responses": {"max_size": "1GiB"}},
        Fault(("responses", "max_size"), '"1GiB"', "at most 64MiB", "or leave it out"),
    ),
    (
        {"models": {"m": {"providers": [{"provider": "p", "weight": 1e9}]}}},
        Fault(
            ("models", "m", "providers", 0, "weight"), "1000000000.0", "at most 1000000", "or leave it out"
        ),
    ),
    (
        {"models": {"m": {"providers": []}}},
        Fault(("models", "m", "providers"), "an empty list", "at least 1 item", ""),
    ),
    (
        {"models": {"m": {"providers": [{"provider": "p", "weight": 0}]}}},
        Fault(("models", "m", "providers", 0, "weight"), "0", "more than 0", "or leave it out"),
    ),
    (
        {"providers": {"a#b:canary": {"base_url": "http://h"}}},
        Fault(
            ("providers", "a#b:canary"),
            'the name "a#b:***"',
            "letters, digits, `.`, `_` and `-`, at most 64, beginning with a letter or digit",
            "choose another name",
        ),
    ),
    (
        {"timeouts": {"idle": "5x"}},
        Fault(
            ("timeouts", "idle"),
            '"5x"',
            "a number of seconds, or text such as 500ms, 2s, 5m, 1h (units: ms, s, m, h, d)",
            "or leave it out",
        ),
    ),
    (
        {"providers": {"p": {"base_url": "http://h", "api_version": ""}}},
        Fault(
            ("providers", "p", "api_version"), '""', "letters, digits, `.`, `_` and `-`", "or leave it out"
        ),
    ),
    ([1], Fault((), "a list", "a mapping of keys to values", "")),
    (
        {"redis": {"embedded_dir": 5}},
        Fault(("redis", "embedded_dir"), "5", "the path of a folder", "or leave it out"),
    ),
]


@pytest.mark.parametrize(("data", "fault"), CASES)
def test_each_complaint_is_said_in_our_words(data: object, fault: Fault) -> None:
    """One mistake is one fault, with finding, allowed and mending; secrets are masked."""
    assert found(data) == [fault]


def test_a_provider_that_bears_the_name_of_a_kind_may_be_one() -> None:
    """Which is shorter than an address; `generic` has none either."""
    for name, mend in (
        ("openai", "add `base_url:`, or `kind: openai`"),
        ("generic", "add `base_url:`"),
        ("mine", "add `base_url:`"),
    ):
        [fault] = found({"providers": {name: {"api_key": "canary-canary"}}})
        assert (fault.path, fault.mend) == (("providers", name, "base_url"), mend)


def test_what_nobody_foresaw_is_said_in_pydantics_words() -> None:
    """A type of error without a sentence of ours keeps the library's."""
    [fault] = found({"cors": {"origins": {"a": 1}, "max_age": 1}, "listen": {"port": 10**400}})[:1]
    assert fault.allowed


def test_a_list_with_a_bad_item_is_not_too_short_as_well() -> None:
    """Two bad keys are two faults, not three."""
    assert [fault.path for fault in found({"clients": [{"name": "a", "keys": ["x", "y"]}]})] == [
        ("clients", 0, "keys", 0),
        ("clients", 0, "keys", 1),
    ]


def test_a_template_is_shown_in_place_of_its_value() -> None:
    """What a variable held is not shown; how it was written is, unless that may be a secret too."""
    text = Text(
        templates={
            ("listen", "port"): "${PORT}",
            ("clients", 0, "keys", 0): "${KEY}",
            ("clients", 0, "keys", 1): "canary${KEY}",
        }
    )
    data = {"listen": {"port": "canary"}, "clients": [{"name": "a", "keys": ["", "canary x"]}]}
    assert [fault.found for fault in found(data, text)] == ['"${PORT}"', '"${KEY}" (which is empty)', "***"]
