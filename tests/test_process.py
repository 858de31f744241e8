"""Tests of what commands find wrong before they begin, by way of `check`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.commands.check import check

PROXIES = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "APEX_REDIS_URL"))


def checked(folder: Path, redis: dict[str, object], **env: str) -> Result:
    """What `check` says of a plain file with this way to Redis."""
    file = folder / "apex.yaml"
    config = {
        "clients": [{"name": "dev", "key": "sk-dev-key"}],
        "providers": {"local": {"base_url": "http://127.0.0.1:9/v1"}},
        "models": {"chat": {"providers": [{"provider": "local"}]}},
        "redis": redis,
    }
    file.write_text(json.dumps(config, indent=1), "utf-8")
    return CliRunner().invoke(check, [str(file)], env=PROXIES | env)


def test_redis_urls_that_can_be_used_pass(tmp_path: Path) -> None:
    """With the system's authorities, and without TLS."""
    assert checked(tmp_path, {"url": "rediss://h/1", "responses_url": "redis://h"}).exit_code == 0
    assert checked(tmp_path, {}).exit_code == 0


def test_certificates_that_cannot_be_read_are_told_together(tmp_path: Path) -> None:
    """By the setting that names each, a variable among them; whichever server the other URL names."""
    both = checked(tmp_path, {"url": "rediss://h?ca=/none", "responses_url": "redis://:canary@h?cert=/none"})
    assert both.exit_code == 1
    assert [line.partition(" cannot be used: ")[0] for line in both.output.splitlines()[1:]] == [
        "  redis.url: ca=/none",
        "  redis.responses_url: cert=/none",
    ]
    assert "canary" not in both.output
    second = checked(tmp_path, {"responses_url": "rediss://h?ca=/none"}).output.splitlines()
    assert [line.partition(":")[0] for line in second[1:]] == ["  redis.responses_url"]
    variable = checked(tmp_path, {}, APEX_REDIS_URL="rediss://h?ca=/none").output.splitlines()
    assert [line.partition(":")[0] for line in variable[1:]] == ["  $APEX_REDIS_URL"]


def test_a_redis_url_that_cannot_be_read_has_its_line(tmp_path: Path) -> None:
    """Like each other mistake in the file, and with them."""
    result = checked(tmp_path, {"url": "redis://:can/ary@h", "responses_url": "redis://h/x", "prot": 1})
    assert result.exit_code == 1
    assert [line.split()[0] for line in result.output.splitlines()[1:]] == [
        "redis.url",
        "redis.responses_url",
        "redis.prot",
    ]
    assert result.output.count("(line ") == 3
    assert "ary@" not in result.output


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY"])
def test_a_proxy_that_cannot_be_used_is_found_by_check(tmp_path: Path, name: str) -> None:
    """As `serve` would find it, by the name of the variable."""
    result = checked(tmp_path, {}, **{name: "foo:bar"})
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {name} must be ")
