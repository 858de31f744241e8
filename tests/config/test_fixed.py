import pytest

from proxy.config import ConfigError, fixed, load
from proxy.config.problems import Fault
from proxy.config.settings import Config

BEFORE = fixed.held(Config())
MEND = "put it back, or restart"
SLIP = "did you mean `attempts`?"


@pytest.mark.parametrize(
    ("section", "field", "value", "found", "allowed"),
    [
        ("listen", "host", "0.0.0.0", '"0.0.0.0"', '"127.0.0.1"'),
        ("listen", "port", 1, "1", "8080"),
        ("listen", "keep_alive", 7, "7.0", "120.0"),
        ("listen", "workers", 3, "3", "1"),
        ("operations", "port", 1, "1", "9090"),
        ("redis", "min_replicas", 3, "3", "1"),
        ("redis", "embedded_dir", "/x", '"/x"', "nothing"),
        ("log", "format", "json", '"json"', '"auto"'),
        ("traces", "sample", 0.5, "0.5", "1.0"),
    ],
)
def test_what_is_fixed_is_told_with_both_values(
    section: str, field: str, value: object, found: str, allowed: str
) -> None:
    """As it is written now, and as it was when the process began."""
    [fault] = fixed.faults(BEFORE, {section: {field: value}})
    assert fault == Fault((section, field), found, f"{allowed}, as this replica was started", MEND)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("operations", "token", "sk-canary-0123"),
        ("redis", "url", "redis://:canary@host"),
        ("redis", "responses_url", "redis://:canary@host"),
        ("traces", "endpoint", "http://canary"),
    ],
)
def test_what_may_be_a_secret_is_not_shown(section: str, field: str, value: object) -> None:
    """Neither the new one nor the old one."""
    for before, after in (({}, {field: value}), ({field: value}, {})):
        kept = fixed.held(Config.model_validate({section: before}))
        [fault] = fixed.faults(kept, {section: after})
        assert fault.path == (section, field)
        assert (fault.found, fault.allowed) == ("another value", "the one this replica was started with")


def test_everything_else_may_change() -> None:
    """Whatever a request is decided by."""
    other = {
        "clients": [{"name": "new", "key": "sk-client-0123"}],
        "providers": {"a": {"base_url": "http://a.test/v1"}},
        "bounds": {"body": "1MiB"},
        "responses": {"ttl": "1d"},
        "drain_grace": 0,
        "log": {"level": "error"},
    }
    assert list(fixed.faults(BEFORE, other)) == []
    assert list(fixed.faults(BEFORE, dict(Config.model_validate(other)))) == []


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        ({"listen": {"prot": 1, "port": 2}}, [("listen", "port")]),
        ({"listen": {"port": "x", "host": "::1"}}, [("listen", "host")]),
        ({"listen": {"prot": 1}}, []),
        ({"listen": "canary", "operations": None}, []),
        ([], []),
    ],
)
def test_what_else_is_wrong_does_not_hide_it(data: object, paths: list[tuple[str, str]]) -> None:
    """Where a section is refused, each of its settings is looked at that can be read."""
    assert [fault.path for fault in fixed.faults(BEFORE, data)] == paths


def test_a_file_is_read_against_what_runs() -> None:
    """All that is wrong with it in one go, each by its line."""
    text = "listen:\n  port: 9000\nretry:\n  attemps: 2\nredis: {url: 'redis://:canary@h'}\n"
    with pytest.raises(ConfigError) as caught:
        load(text, {}, kept=BEFORE)
    told = [str(problem) for problem in caught.value.problems]
    assert told[1:] == [
        f"listen.port (line 2): found 9000; allowed: 8080, as this replica was started; {MEND}",
        "retry.attemps (line 4): found the unknown key `attemps`; allowed: attempts, budget; " + SLIP,
        f"redis.url (line 5): found another value; allowed: the one this replica was started with; {MEND}",
    ]
    assert told[0].startswith("models: found no model")
