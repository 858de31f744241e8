"""Tests of `proxy.__main__` and `proxy.command_line`: what can be seen without starting a server."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from proxy import __version__
from proxy.command_line import main
from proxy.commands.process import check_proxies
from proxy.commands.serve import Asked
from proxy.config.problems import ConfigError

CLIENT = [{"name": "dev", "key": "sk-client-0123"}]
PLAIN = {name: {"base_url": "http://127.0.0.1:9/v1"} for name in ("local", "spare")}
GOOD: dict[str, object] = {
    "clients": CLIENT,
    "providers": {
        "local": {"base_url": "http://127.0.0.1:9/v1", "api_keys": ["${FIRST_KEY}", "sk-second-key"]},
        "spare": {"base_url": "http://127.0.0.1:8/v1"},
    },
    "models": {
        "chat": {"providers": [{"provider": "spare", "priority": 2}, {"provider": "local", "weight": 3}]},
        "vectors": {"strategy": "ordered", "providers": [{"provider": "spare"}, {"provider": "local"}]},
    },
}


def run(*arguments: str, **environ: str | None) -> Result:
    """The command line with these arguments, in an environment that configures nothing else."""
    nothing = dict.fromkeys(("APEX_CONFIG", "APEX_REDIS_URL", "PROVIDER_CONFIG", "MODEL_PROVIDER_CONFIG"))
    return CliRunner().invoke(main, arguments, env=nothing | environ, prog_name="apex-proxy")


def written(folder: Path, config: object) -> str:
    """A configuration file."""
    file = folder / "apex.yaml"
    file.write_text(json.dumps(config), "utf-8")
    return str(file)


@pytest.mark.parametrize("command", [(), *((name,) for name in main.commands)])
def test_help_teaches_by_example(command: tuple[str, ...]) -> None:
    """The program and each of its commands show at least one whole command line."""
    for flag in ("--help", "-h"):
        result = run(*command, flag)
        assert result.exit_code == 0
        assert "Examples:\n" in result.output
        assert " ".join(("apex-proxy", *command)) in result.output.partition("Examples:")[2]


@pytest.fixture
def thawed() -> Iterator[None]:
    """The garbage collector sees everything before the test and after it."""
    gc.unfreeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_what_a_command_imports_is_no_work_for_the_garbage_collector() -> None:
    """It is set aside, and the collector goes on with what comes after."""
    assert run("serve", "--help").exit_code == 0
    assert gc.get_freeze_count() > 10_000
    assert gc.isenabled()


def test_every_option_has_a_sentence() -> None:
    """An option without help could only be guessed at."""
    for name, command in main.commands.items():
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.help, (name, option.name)


def test_version_is_the_packages() -> None:
    """`--version` says the name of the program and its version."""
    assert run("--version").output == f"apex-proxy, version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("serve", "--prot", "80"), "--prot"),
        (("serve", "--port", "99999"), "99999"),
        (("serve", "--workers", "0"), "0"),
        (("demo", "now"), "now"),
        (("check", "a.yaml", "b.yaml"), "b.yaml"),
        (("serve", "a.yaml", "--config", "b.yaml"), "a.yaml"),
        (("check", "a.yaml", "--config", "b.yaml"), "a.yaml"),
        (("mock", "--dialect", "klingon"), "klingon"),
        (("mock", "--flavour", "vanilla"), "vanilla"),
        (("sreve",), "sreve"),
    ],
)
def test_what_is_not_understood_is_named(arguments: tuple[str, ...], named: str) -> None:
    """A wrong option, value or command is an error of usage, with status 2."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert named in result.output.splitlines()[-1]


def test_check_shows_targets_in_the_order_of_trying(tmp_path: Path) -> None:
    """Priorities first, shares by weight and key, and never a key."""
    result = run("check", written(tmp_path, GOOD), FIRST_KEY="sk-canary-key")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].endswith("apex.yaml is valid: 2 models, 2 providers, 1 client.")
    assert [line.split()[:6] for line in lines[3:6]] == [
        ["priority", "1", "50", "%", "local/chat", "key"],
        ["priority", "1", "50", "%", "local/chat", "key"],
        ["priority", "2", "100", "%", "spare/chat", "no"],
    ]
    assert [line.split()[3] for line in lines[8:11]] == ["spare/vectors", "local/vectors", "local/vectors"]
    assert "canary" not in result.output
    assert "sk-second" not in result.output


def test_check_says_that_nobody_could_call(tmp_path: Path) -> None:
    """A file without clients is valid, and what `serve` will ask for is told."""
    result = run("check", written(tmp_path, {**GOOD, "clients": []}), FIRST_KEY="sk-first-key")
    assert result.exit_code == 0
    assert "--insecure-no-auth" in result.output.splitlines()[-1]


@pytest.mark.parametrize(
    ("config", "head"),
    [
        ({**GOOD, "listen": {"prot": 80}}, "has 2 errors:"),
        ({**GOOD, "providers": PLAIN, "listen": {"port": "x"}}, "has 1 error:"),
    ],
)
def test_check_counts_errors(tmp_path: Path, config: object, head: str) -> None:
    """All errors at once, each on its line; an unset variable is one of them."""
    result = run("check", written(tmp_path, config))
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0].endswith(head)
    assert len(lines) == 1 + int(head.split()[1])


def test_check_of_no_file_is_an_error(tmp_path: Path) -> None:
    """A missing file is told like every other mistake."""
    result = run("check", str(tmp_path / "nothing.yaml"))
    assert result.exit_code == 1
    assert "nothing.yaml" in result.output
    assert "Traceback" not in result.output


def test_check_without_a_file_finds_what_serve_would(tmp_path: Path) -> None:
    """$APEX_CONFIG names it, and the first line says which it was."""
    file = written(tmp_path, GOOD)
    result = run("check", APEX_CONFIG=file, FIRST_KEY="sk-first-key")
    assert result.exit_code == 0
    assert result.output.startswith(f"{file} is valid: ")


def test_mock_tells_all_that_is_wrong_with_a_script(tmp_path: Path) -> None:
    """A line for each mistake; a single one stands beside the name of the file."""
    file = tmp_path / "faults.yaml"
    file.write_text("modles: []\nrules: [{then: {statos: 1}}, {match: {every: 0}}]", "utf-8")
    head, *lines = run("mock", "--script", str(file)).output.splitlines()
    assert head == f"Error: {file} has 3 errors:"
    assert [line.partition(":")[0] for line in lines] == [
        "  script",
        "  rules[0].then",
        "  rules[1].match.every",
    ]
    file.write_text("modles: []", "utf-8")
    assert run("mock", "--script", str(file)).output.startswith(f"Error: {file}: script: found unknown field")


def test_check_looks_prices_up(tmp_path: Path) -> None:
    """As `serve` would: of a model that is sold, whose price nobody knows, there is a line."""
    sold = {"kind": "openai", "api_key": "sk-first-key"}
    models = {name: {"providers": [{"provider": "sold"}]} for name in ("gpt-4o-mini", "of-nobody")}
    file = written(tmp_path, {"clients": CLIENT, "providers": {"sold": sold}, "models": models})
    assert "No price is known for: sold/of-nobody. " in run("check", file).output


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize("arguments", [("FILE",), ("--config", "FILE"), ("FILE", "--config", "FILE")])
def test_a_file_is_named_either_way(tmp_path: Path, command: str, arguments: tuple[str, ...]) -> None:
    """As an argument, as an option, or as both if they agree."""
    file = written(tmp_path, {**GOOD, "listen": {"prot": 80}})
    result = run(command, *(file if word == "FILE" else word for word in arguments))
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {file} has 2 errors:")


def test_a_reload_reads_a_file_against_what_runs(tmp_path: Path) -> None:
    """Where an option goes over a setting, the file may say anything of it."""
    began = {**GOOD, "listen": {"port": 1}, "providers": PLAIN}
    asked = Asked(written(tmp_path, began), None, 8123, None, None, insecure_no_auth=False)
    config, _ = asked.read({})
    kept = asked.kept(config)
    assert asked.reread({}, kept)[0] == config
    written(tmp_path, {**began, "listen": {"port": 2}})
    assert asked.reread({}, kept)[0] == config
    written(tmp_path, {**began, "listen": {"port": 2, "workers": 2}, "retry": {"attempts": 0}})
    with pytest.raises(ConfigError) as caught:
        asked.reread({}, kept)
    assert {problem.path for problem in caught.value.problems} == {"listen.workers", "retry.attempts"}


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "HTTPS_PROXY"])
@pytest.mark.parametrize("value", ["socks5://canary:1080", "http://", "http://canary:port"])
def test_a_proxy_that_cannot_be_used_is_one_line(tmp_path: Path, name: str, value: str) -> None:
    """It names the variable and not its value, which may hold a password."""
    unset = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"))
    result = run("serve", written(tmp_path, GOOD), **(unset | {"FIRST_KEY": "sk-first-key", name: value}))
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {name.upper()} must be ")
    assert result.output.count("\n") == 1
    assert "canary" not in result.output


def test_proxies_that_can_be_used_pass() -> None:
    """With a scheme or without; ALL_PROXY is nobody's business here."""
    check_proxies({"http_proxy": "http://user:pw@10.0.0.1:3128", "HTTPS_PROXY": "proxy.lan:8080"})
    check_proxies({"ALL_PROXY": "socks5://127.0.0.1:1080", "http_proxy": ""})


def test_serve_with_errors_in_its_file_says_them(tmp_path: Path) -> None:
    """`serve` finds the same errors as `check`, before anything is started."""
    result = run(
        "serve", "--config", written(tmp_path, {**GOOD, "listen": {"prot": 80}}), FIRST_KEY="sk-first-key"
    )
    assert result.exit_code == 1
    assert "listen.prot" in result.output


@pytest.mark.parametrize("text", ["rules: 5", "rules: [", "default: {status: 99}"])
def test_a_bad_mock_script_is_one_line(tmp_path: Path, text: str) -> None:
    """It names the file and the place in it."""
    file = tmp_path / "faults.yaml"
    file.write_text(text, "utf-8")
    result = run("mock", "--script", str(file))
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {file}: ")
    assert result.output.count("\n") == 1
