import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import Config, ConfigError, config_hash, discover, find, load, load_environment, read

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "apex.yaml"

SMALL = """
clients:
  - {name: dev, keys: ["${KEY}"]}
providers:
  local: {base_url: "http://127.0.0.1:8000/v1", api_key: provider-key}
models:
  m: {providers: [{provider: local}]}
"""
ENV = {"KEY": "client-key"}


def problems(text: str, env: dict[str, str] | None = None) -> list[str]:
    """The problems of a text, one line each."""
    with pytest.raises(ConfigError) as caught:
        load(text, env or ENV)
    return [str(problem) for problem in caught.value.problems]


def settled(text: str) -> bool:
    """Whether a text loads, or is refused with problems."""
    try:
        load(text, {})
    except ConfigError as error:
        return bool(error.problems)
    return True


def test_a_file_becomes_the_tree() -> None:
    """Values, variables and defaults are where the tree says."""
    config = load(SMALL, ENV)
    assert config.clients[0].keys[0].get_secret_value() == "client-key"
    assert config.providers["local"].kind == "generic"
    assert config.models["m"].providers[0].model == "m"
    assert config.listen.port == 8080


def test_the_example_loads_and_shows_every_section() -> None:
    """The shipped example is valid once its variables are set, and names every top-level setting."""
    text = EXAMPLE.read_text(encoding="utf-8")
    names = set(re.findall(r"\$\{(\w+)\}", re.sub(r"#.*", "", text)))
    config = load(text, {name: f"sk-{name}" for name in names})
    assert config.model_fields_set == set(Config.model_fields)
    assert {provider.kind for provider in config.providers.values()} >= {
        "openai",
        "azure",
        "anthropic",
        "generic",
    }
    missing = problems(text, {"APEX_DEV_KEY": "12345678"})
    assert len(missing) == len(names) - 1


def test_the_example_shows_defaults() -> None:
    """Where the example says a value is the default, it is."""
    text = EXAMPLE.read_text(encoding="utf-8")
    names = re.findall(r"\$\{(\w+)\}", text)
    config = load(text, {name: f"sk-{name}" for name in names})
    for name in (
        "listen",
        "operations",
        "redis",
        "timeouts",
        "bounds",
        "retry",
        "health",
        "adaptive_concurrency",
        "queue",
        "responses",
        "translation",
        "overload",
        "drain_grace",
        "drain_timeout",
        "log",
    ):
        assert getattr(config, name) == getattr(Config(), name), name


FIVE = """\
listen: {prot: 8080}
clients:
  - {name: dev, key: canary}
providers:
  azure: {kind: azure, api_key: "${AZURE_KEY}", name: r}
models:
  gpt-4o-mini:
    providers:
      - {provider: azur, model: gpt-4o-mini, weight: 3}
      - {provider: azure, weight: -1}
"""


EXPECTED = """
listen.prot (line 1): found the unknown key `prot`; allowed: host, port, keep_alive, \
workers; did you mean `port`?
clients[0].key (line 3): found ***; allowed: a key of at least 8 characters
providers.azure.api_key (line 5): the variable `AZURE_KEY` is not set
models.gpt-4o-mini.providers[0].provider (line 9): found "azur", which is no provider; allowed: a name from \
`providers` (azure); did you mean `azure`?
models.gpt-4o-mini.providers[1].weight (line 10): found -1; allowed: more than 0; or leave it out
"""


def test_five_mistakes_are_five_problems() -> None:
    """Every mistake is told at once, in the order of the file, once each, with path and line."""
    assert problems(FIVE) == EXPECTED.strip().splitlines()


def test_an_empty_file_says_what_is_missing() -> None:
    """A file without anything to call is one problem."""
    assert problems("# nothing\n") == [
        "models: found no model and no provider; allowed: something to call; add `providers:` and `models:`"
    ]
    assert problems("just text") == ["the file: found text; allowed: a mapping of keys to values"]


def test_an_unset_variable_is_told_once() -> None:
    """What would follow from it (no number, the same key twice) is not told as well."""
    text = SMALL + "listen: {port: '${PORT}'}\n"
    lines = problems(text.replace('["${KEY}"]', '["${NO}", "${NO}"]'))
    assert [line.split(":")[0] for line in lines] == [
        "clients[0].keys[0] (line 3)",
        "clients[0].keys[1] (line 3)",
        "listen.port (line 8)",
    ]


def test_a_variable_cannot_become_structure() -> None:
    """A value with YAML in it is one text."""
    config = load(SMALL, {"KEY": '"],models:[x]}#a'})
    assert config.clients[0].keys[0].get_secret_value() == '"],models:[x]}#a'
    assert config.clients[0].models == ("*",)


def test_repeated_keys_are_problems() -> None:
    """The second of two equal keys is refused, not taken."""
    [line] = problems(SMALL + "models: {}\n")
    assert line.startswith("models (line 6): found `models` again (first on line 6); allowed: each key once")


def test_the_redis_variable_goes_before_the_file() -> None:
    """`$APEX_REDIS_URL` replaces `redis.url`, and is named when it is wrong."""
    env = ENV | {"APEX_REDIS_URL": "redis://h:6379"}
    assert load(SMALL, env).redis.url == "redis://h:6379"
    assert load(SMALL + "redis: {url: embedded, embedded_dir: /d}", env).redis.embedded_dir == Path("/d")
    [line] = problems(SMALL + "redis: {url: embedded}", ENV | {"APEX_REDIS_URL": "canary"})
    assert line.startswith("$APEX_REDIS_URL: found ***; allowed: embedded, or a URL")
    assert problems(SMALL + "redis: 5", env)[0].startswith("redis (line 8): found 5")
    legacy = load_environment({"PROVIDER_CONFIG": '{"openai": {}}', "APEX_REDIS_URL": "redis://h"})
    assert legacy is not None
    assert legacy.redis.url == "redis://h"


def test_nothing_secret_is_in_any_problem() -> None:
    """A canary in every wrong place is in no line."""
    text = """
redis: {url: "canary://:canary@h"}
log: canary
clients: [{name: a, keys: canary, key: canary}, {name: a, key: [canary]}, canary]
providers:
  a: {base_url: "http://u:canary@h", api_key: "canary canary", headers: {x: "canary\\n", host: canary}}
  b: {base_url: "http://h?k=canary", api_keys: [{key: canary, limit: canary}], extra_body: {model: canary}}
  c: canary
  d: {kind: azure, api_keys: {canary: canary}}
models: {m: {providers: [{provider: b, api_key: {canary}}]}}
"""
    assert "canary" not in "\n".join(problems(text)).replace("the unknown key `canary`", "")


@pytest.mark.parametrize(
    "text",
    [
        "clients: [{name: a, key:canary}, {name: b, key='canary'}, {name: c, canary}]",
        "clients: [{name: a, key:canary, canary}, {key:canary, key:canary}, {key: &c canary12, *c : 1}]",
        "clients: [{name: a, keys: {canary}}, {name: '# key:canary'}, {model_limits: {m:canary}}]",
        "providers:\n  a: {api_key:canary}\n  b: {headers: {x:canary}, extra_body: {user:canary}}",
        "providers:\n  a:\n    kind: openai\n      api_key:canary\n  b:\n    api_key:canary: 1",
        "providers: {a: {kind: openai}, api_key:canary}\nmodels: {m: {providers: [{provider: b}]}}",
        "providers: {'api_key:canary': {}, 'http://u:canary@h': 1}\nmodels: {m: {providers: {}}}",
        "providers: {a: {extra_body: {'x:canary': !y 1, 'x:canary': 2}}}",
        "models: {m: {providers: [{provider: a, api_key:canary}, {name: a api_key:canary}]}, key:canary: 1}",
        'operations: {token:canary, host: "${x} token:canary"}\nredis: {url:"redis://:canary@h"}',
        "token:canary: 1",
        "redis: {redis://:canary@h, 'redis://:canary@h': 1}",
        "traces: {headers: {a:canary}, endpoint: h key:canary}",
        "responses: {keys: [{id: a, key:canary}, {canary}]}\nretry: {<<:canary, attempts: 2 key:canary}",
        "operations: {token: '${canary}'}\nredis: {url: 'redis://${canary-}'}",
        "operations: {token: canary@x: y}",
        "operations:\n  token:canary\n  port: 1",
        "operations: {token: ${canary}}",
    ],
)
def test_no_slip_makes_a_secret_part_of_a_problem(text: str) -> None:
    """A space, comma, quote or bracket that is lacking, or too early: the secret is then a key, or in one."""
    with pytest.raises(ConfigError) as caught:
        load(text, {"x": "y"}, "f")
    assert "canary" not in caught.value.report()


def test_a_file_is_found_in_order(tmp_path: Path) -> None:
    """The option goes before $APEX_CONFIG, that before ./apex.yaml, that before the environment."""
    env = {"APEX_CONFIG": "other.yaml"}
    assert find("given.yaml", env, tmp_path) == tmp_path / "given.yaml"
    assert find(Path("/abs.yaml"), env, tmp_path) == Path("/abs.yaml")
    assert find(None, env, tmp_path) == tmp_path / "other.yaml"
    assert find(None, {}, tmp_path) is None
    (tmp_path / "apex.yaml").write_text(SMALL)
    assert find(None, {}, tmp_path) == tmp_path / "apex.yaml"


def test_the_source_is_told(tmp_path: Path) -> None:
    """Whoever starts learns which file, or the environment, was used."""
    with pytest.raises(ConfigError, match="configuration: found none; allowed: --config FILE") as caught:
        discover(None, {}, tmp_path)
    assert len(caught.value.problems) == 1
    env = {"PROVIDER_CONFIG": '{"openai": {}}'}
    assert discover(None, env, tmp_path)[1] == "the environment"
    path = tmp_path / "apex.yaml"
    path.write_text(SMALL)
    assert discover(None, ENV | env, tmp_path) == (load(SMALL, ENV), str(path))


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """Missing files, folders and bytes that are no text are each one problem."""
    (tmp_path / "bytes").write_bytes(b"a: \xff")
    (tmp_path / "bom").write_text("\ufeff" + SMALL, encoding="utf-8")
    for name, said in [("none", "No such file"), (".", "directory"), ("bytes", "no UTF-8 (at byte 3)")]:
        with pytest.raises(ConfigError) as caught:
            read(tmp_path / name, {})
        assert said in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
    assert read(tmp_path / "bom", ENV) == load(SMALL, ENV)


def test_the_hash_is_the_same_on_replicas_that_answer_alike() -> None:
    """Ports, its log's looks, its way to Redis are a replica's own; the form of writing does not matter."""
    config = load(SMALL, ENV)
    assert re.fullmatch(r"[0-9a-f]{12}", config_hash(config))
    own = (
        SMALL
        + "listen: {port: 1}\noperations: {port: 2}\nlog: {level: debug}\nredis: {embedded_dir: /x, url: 'redis://h'}\n"
    )
    written = SMALL.replace('keys: ["${KEY}"]', "key: client-key").replace(
        "{provider: local}", "{model: m, provider: local}"
    )
    assert config_hash(load(own, ENV)) == config_hash(config)
    assert config_hash(load(written, ENV)) == config_hash(config)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("provider-key", "provider-kez"),
        ("name: dev", "name: dew"),
        ("{provider: local}", "{provider: local, weight: 2}"),
        ("8000/v1", "8001/v1"),
        ("api_key:", "headers: {x: y}, api_key:"),
    ],
)
def test_the_hash_differs_where_answers_may(old: str, new: str) -> None:
    """Keys, clients, models and addresses are in the hash."""
    assert config_hash(load(SMALL.replace(old, new), ENV)) != config_hash(load(SMALL, ENV))


@pytest.mark.parametrize(
    "more", ["log: {bodies: true}", "log: {body_limit: 1KiB}", "redis: {min_replicas: 3}"]
)
def test_the_hash_differs_where_replicas_would_be_told_apart(more: str) -> None:
    """One that writes prompts into its log, one that divides limits by another number."""
    assert config_hash(load(SMALL + more + "\n", ENV)) != config_hash(load(SMALL, ENV))


@given(st.text(max_size=200))
def test_any_text_loads_or_is_refused(text: str) -> None:
    """No text leads to anything but a configuration or a `ConfigError`."""
    assert settled(text)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=8)
        | st.sampled_from(["${X}", "k"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "listen",
                        "clients",
                        "providers",
                        "models",
                        "name",
                        "key",
                        "keys",
                        "kind",
                        "base_url",
                        "x",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_any_data_loads_or_is_refused(data: object) -> None:
    """No shape of data leads to anything but a configuration or a `ConfigError`."""
    assert settled(json.dumps(data))


def test_loading_is_light() -> None:
    """The module brings in pydantic and yaml, and none of the server's libraries."""
    code = "import sys, proxy.config; print(*sorted(name for name in sys.modules if '.' not in name))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT, text=True)
    heavy = {
        "fastapi",
        "starlette",
        "uvicorn",
        "aiohttp",
        "httpx",
        "redis",
        "structlog",
        "prometheus_client",
        "asyncio",
    }
    assert not heavy.intersection(run.stdout.split())


def test_a_value_may_be_in_a_file_beside_the_configuration(tmp_path: Path) -> None:
    """As Docker and Kubernetes mount secrets. It is read each time, without its last line end."""
    file, secret = tmp_path / "apex.yaml", tmp_path / "key"
    file.write_text(SMALL.replace("provider-key", '"${file:key}"'))
    for held, key in (("sk-first-key\n", "sk-first-key"), ("sk-second-key", "sk-second-key")):
        secret.write_text(held)
        [item] = read(file, ENV).providers["local"].api_keys
        assert item.key.get_secret_value() == key


@pytest.mark.parametrize(
    ("held", "why"),
    [(b"", "it is empty"), (b"\xff", "it is no UTF-8 text"), (b"x" * 65537, "it is larger than")],
)
def test_a_file_that_cannot_be_used_is_one_problem(tmp_path: Path, held: bytes, why: str) -> None:
    """With its name and why; what it holds is not shown."""
    file = tmp_path / "apex.yaml"
    file.write_text(SMALL.replace("provider-key", '"${file:key}"'))
    (tmp_path / "key").write_bytes(held)
    with pytest.raises(ConfigError) as caught:
        read(file, ENV)
    [problem] = caught.value.problems
    assert str(problem).startswith(f"providers.local.api_key (line 5): the file `key` cannot be used ({why}")


@pytest.mark.parametrize(
    "name", ["requests_per_minute", "tokens_per_minute", "concurrency", "burst", "burst_tokens"]
)
def test_a_limit_beyond_all_arithmetic_is_one_problem(name: str) -> None:
    """Not a crash at the start: so large a limit is none, and is said by leaving it out."""
    limits = {"requests_per_minute": 1, "tokens_per_minute": 1} | {name: 1_000_000_001}
    text = SMALL.replace("- {name: dev,", f"- {{name: dev, limits: {json.dumps(limits)},")
    [problem] = problems(text)
    assert problem.startswith(f"clients[0].limits.{name} (line 3): found 1000000001; allowed: ")
