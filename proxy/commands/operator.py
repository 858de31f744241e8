"""How commands reach a running proxy: its operations port, with the operators' token."""

from collections.abc import Mapping
from pathlib import Path

import click
import httpx

from proxy import config as configs
from proxy.commands.process import refused
from proxy.config.problems import ConfigError
from proxy.config.settings import Config

TOKEN_VARIABLE = "APEX_OPERATIONS_TOKEN"  # noqa: S105  (the name of a variable)

PATIENCE = 30.0
"""Seconds that an answer may take."""


class Operator:
    """Asks one replica, without any HTTP proxy in between.

    The token of the environment goes before the configuration's, `url` before where that says it listens;
    `option` is what says it on the command line. Raises `ClickException` for a token that cannot be sent.
    """

    def __init__(
        self, config: Config | None, url: str | None, environ: Mapping[str, str], option: str = "--url"
    ) -> None:
        self._option = option
        self._url = (url or _url(config)).rstrip("/")
        said = environ.get(TOKEN_VARIABLE)
        own = config.operations.token if config is not None else None
        self._token = said or (own.get_secret_value() if own is not None else "")
        self._whose = f"of ${TOKEN_VARIABLE}" if said else "of the configuration"
        if said and own is not None:
            self._whose += ", which goes before the configuration's"
        if not self._token.isascii() or not self._token.isprintable() or " " in self._token:
            raise click.ClickException(f"${TOKEN_VARIABLE}: a token is letters, digits and signs of ASCII")

    def ask(self, method: str, path: str, query: Mapping[str, str], body: bytes = b"") -> bytes:
        """The body of its answer. Raises `ClickException` in one line where there is none."""
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
                answer = client.request(method, self._url + path, params=query, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise click.ClickException(
                f"{self._url}: no answer ({str(error) or type(error).__name__}); is the proxy running? "
                f"`{self._option}` says where its operations port is"
            ) from None
        if answer.is_success:
            return answer.content
        if answer.status_code == 401:
            raise click.ClickException(f"{self._url} {self._unknown()}; is this the operations port?")
        raise click.ClickException(f"{self._url}: {_said(answer)}")

    def _unknown(self) -> str:
        """What is the matter with the token: which one was refused, or where to say one."""
        if self._token:
            return f"refused the operators' token {self._whose}"
        return f"wants the operators' token: set ${TOKEN_VARIABLE}, or name the configuration"


def _url(config: Config | None) -> str:
    operations = config.operations if config is not None else configs.Operations()
    host = operations.host
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  (what is listened to, not listening)
    return f"http://[{host}]:{operations.port}" if ":" in host else f"http://{host}:{operations.port}"


def _said(answer: httpx.Response) -> str:
    try:
        return " ".join(str(answer.json()["error"]["message"]).split())
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"


def configured(path: str | None, environ: Mapping[str, str]) -> Config | None:
    """The configuration that is named, or that `serve` would find; None where there is none to find.

    Raises `ClickException` for one that is wrong.
    """
    try:
        if path is None and configs.find(None, environ, Path.cwd()) is None:
            return configs.load_environment(environ)
        return configs.discover(path, environ, Path.cwd())[0]
    except ConfigError as error:
        raise refused(error) from None
