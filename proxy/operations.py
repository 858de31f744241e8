"""What is not hot: the models a client sees, the probes, and the operations port.

FastAPI serves these, and shapes what the framework itself refuses like every other error. Authentication
happened before (`endpoints.Edge`), for every route but the probes.
"""

import dataclasses
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from metrics.instruments import Instruments
from proxy.access import find_model
from proxy.answers import moment
from proxy.doorkeeper import Doorkeeper, LoginPage, turned_away
from proxy.endpoints import ASIDES, HOT, WHERE
from proxy.errors import Refusal
from proxy.exchange import Exchange
from proxy.replicas import About
from proxy.retrieval import Retrieval
from proxy.wire.envelope import encode
from proxy.wire.model import Dialect

OWNER = "apex-ai-proxy"

Ready = Callable[[], bool]

_KNOWN = re.compile(
    r"(?:/(?:v1|api|anthropic|openai(?:/deployments/[^/]+)?|chat/completions|responses|messages|embeddings))*"
    r"(?P<rest>/(?:chat/completions|embeddings|messages(?:/count_tokens)?|(?:responses|models)(?:/.+)?))",
    re.DOTALL,
)
"""A path that an SDK asks for under a wrong base URL, and the last part of it, which is served under /v1.

Such are the address alone, one with /v1 where the SDK adds its own, a whole endpoint, another vendor's.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Watched:
    """What operators look at. `members` and `prepare` ask: for who lives, and for what a scrape shows."""

    instruments: Instruments
    members: Callable[[], Awaitable[Sequence[About]]]
    prepare: Callable[[], Awaitable[None]]


def client_app(ready: Ready, retrieval: Retrieval) -> FastAPI:
    """The application behind the edge of the client port."""
    app = _app("Apex AI Proxy")
    app.get("/v1/models")(_list_models)
    app.get("/v1/models/{model:path}")(_get_model)
    for path in (
        *HOT,
        *ASIDES,
    ):  # POST never gets here; anything else is a wrong method, not an unknown route
        app.post(path)(_unreachable)
    retrieval.attach(app)
    _probes(app, ready)
    return app


def operations_app(
    ready: Ready, watched: Watched, token: str | None = None, login: LoginPage | None = None
) -> FastAPI:
    """The application of the operations port. With a `token`, whoever has it may see all but the probes."""
    app = _app("Apex AI Proxy operations")

    async def metrics(request: Request) -> Response:
        await watched.prepare()
        text, kind = watched.instruments.render(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": kind})

    async def replicas() -> Response:
        return _json({"replicas": await watched.members()})

    app.add_middleware(Doorkeeper, token=token, pepper=secrets.token_bytes(32), login=login)
    app.get("/metrics")(metrics)
    app.get("/admin/replicas")(replicas)
    _probes(app, ready)
    return app


def _app(title: str) -> FastAPI:
    app = FastAPI(title=title, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_exception_handler(HTTPException, _framework_refusal)
    app.add_exception_handler(Refusal, _refusal)
    return app


def _probes(app: FastAPI, ready: Ready) -> None:
    async def livez() -> Response:
        return Response(b"ok\n", media_type="text/plain")

    async def readyz() -> Response:
        if ready():
            return Response(b"ok\n", media_type="text/plain")
        return Response(b"draining\n", 503, media_type="text/plain")

    for path, probe in (("/livez", livez), ("/readyz", readyz)):
        app.api_route(path, methods=["GET", "HEAD"])(probe)


async def _list_models(request: Request) -> Response:
    exchange: Exchange = request.state.exchange
    tenant = exchange.tenant
    assert tenant is not None
    visible = [alias for alias in exchange.snapshot.models if tenant.may_use(alias)]
    listed = [_model(exchange, alias) for alias in visible]
    if exchange.voice.dialect is Dialect.MESSAGES:
        first, last = (visible[0], visible[-1]) if visible else (None, None)
        return _json({"data": listed, "has_more": False, "first_id": first, "last_id": last})
    return _json({"object": "list", "data": listed})


async def _get_model(request: Request) -> Response:
    exchange: Exchange = request.state.exchange
    model: str = request.path_params["model"]  # declared, it would have FastAPI import all of pydantic.v1
    if not model.strip("/"):
        raise HTTPException(404)  # the list with a slash too many
    find_model(exchange, model)
    return _json(_model(exchange, model))


async def _unreachable() -> Response:
    raise Refusal(404, "There is nothing here.", code="not_found")


def _model(exchange: Exchange, alias: str) -> dict[str, object]:
    """A model in the shape that the client's SDK knows: Anthropic's where it sends a version.

    What an alias can do is not said: its targets may differ.
    """
    created = exchange.snapshot.created
    if exchange.voice.dialect is Dialect.MESSAGES:
        unsaid = dict.fromkeys(("max_input_tokens", "max_tokens", "capabilities"))
        return {"type": "model", "id": alias, "display_name": alias, "created_at": moment(created), **unsaid}
    return {"id": alias, "object": "model", "created": created, "owned_by": OWNER}


def _json(value: object) -> Response:
    return Response(encode(value), media_type="application/json")


async def _framework_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    exchange: Exchange | None = getattr(request.state, "exchange", None)
    meant = _meant(request.url.path, exchange.voice.dialect) if exchange is not None else ""
    said = {
        404: f"There is nothing at {request.method} {request.url.path[:200]}.{meant}",
        405: f"The method {request.method} is not allowed for {request.url.path[:200]}.",
    }
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
    refusal = Refusal(
        error.status_code, said.get(error.status_code, str(error.detail)), code=code, should_retry=False
    )
    response = await _refusal(request, refusal)
    if error.status_code == 405 and error.headers:
        response.headers["allow"] = ", ".join(sorted(error.headers.get("Allow", "").split(", ")))
    return response


def _meant(path: str, dialect: Dialect) -> str:
    """What helps who has got an SDK's base URL wrong, or came to look; empty for anything else."""
    if path == "/":
        return f" {WHERE}"
    bare = path.rstrip("/")
    found = _KNOWN.fullmatch(bare)
    meant = f"/v1{found['rest']}" if found is not None else path
    if found is None or meant == path:
        return ""
    if meant == bare:
        return f" Did you mean {meant[:200]}?"
    anthropic = found["rest"].startswith("/messages") or (
        found["rest"].startswith("/models") and dialect is Dialect.MESSAGES
    )
    how = (
        "For Anthropic's SDKs leave /v1 out of the base URL: it is this server's address alone."
        if anthropic
        else "For OpenAI's SDKs the base URL ends with /v1, right after this server's address."
    )
    return f" Did you mean {meant[:200]}? {how}"


async def _refusal(request: Request, refusal: Exception) -> Response:
    """In the client's dialect; operators get OpenAI's."""
    assert isinstance(refusal, Refusal)
    exchange: Exchange | None = getattr(request.state, "exchange", None)
    if exchange is None:
        return turned_away(refusal)
    return turned_away(refusal, exchange.voice, exchange.request_id)
