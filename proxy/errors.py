"""Everything that can go wrong with a request, as types that say whose fault it is.

    ApexError
    ├── Refusal     what a caller is told: an HTTP status and the parts of a dialect's error body
    └── Fault       one attempt on one target failed: where, how, and what the provider said

A `Refusal` is final: a codec renders it in the caller's dialect. A `Fault` is a fact that `retry` judges
(next target, same target, or give up and turn it into a `Refusal`). Foreign exceptions (sockets, TLS,
decoders) are turned into one of these at the edge where they arise, once. No message ever holds a key,
a header or an upstream's address.
"""

import dataclasses
import enum
from typing import Self


class ApexError(Exception):
    """Whatever goes wrong on a request's way and is understood."""

    def bare(self) -> Self:
        """Itself without where it arose, to be kept with the request.

        The frames that it passed hold the request: kept with it, all wait for the garbage collector.
        """
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self


class Refusal(ApexError):
    """A request ends with this error; rendered in the caller's own dialect.

    `status` is the HTTP status, `kind` the OpenAI `error.type`, `code` and `param` their namesakes.
    `retry_after` is in seconds (None: no time can be given). `should_retry` is said as `x-should-retry`
    when it is not None. `extra` holds further members of the error object that a provider sent along.
    """

    def __init__(  # noqa: PLR0913  (the parts of an error body; all but the first two are named at the call)
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
        extra: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.retry_after = retry_after
        self.should_retry = should_retry
        self.extra = extra

    def __repr__(self) -> str:
        """Status, code and message: all of it is fit for the caller's eyes."""
        return f"Refusal({self.status}, {self.code or self.kind}: {self.message})"


class FaultKind(enum.StrEnum):
    """Where an attempt broke. The values are metric labels and log words, a closed set."""

    DNS = "dns"
    CONNECT = "connect"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS = "tls"
    RESET = "reset"
    PROTOCOL = "protocol"
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # noqa: S105  (a word for a timeout, not a secret)
    IDLE_TIMEOUT = "idle_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    OUT_OF_TIME = "out_of_time"
    STATUS = "status"
    ERROR_IN_REPLY = "error_in_reply"
    EMPTY = "empty"
    NOT_JSON = "not_json"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    SLOW_CLIENT = "slow_client"


TRANSPORT = frozenset(
    {
        FaultKind.DNS,
        FaultKind.CONNECT,
        FaultKind.CONNECT_TIMEOUT,
        FaultKind.TLS,
        FaultKind.RESET,
        FaultKind.PROTOCOL,
    }
)
"""Faults of the way to an origin rather than of one target behind it."""

TIMEOUTS = frozenset(
    {
        FaultKind.CONNECT_TIMEOUT,
        FaultKind.FIRST_TOKEN_TIMEOUT,
        FaultKind.IDLE_TIMEOUT,
        FaultKind.TOTAL_TIMEOUT,
        FaultKind.OUT_OF_TIME,
    }
)
"""Faults that a caller is told as 504."""


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """What a provider's error body said, scrubbed of secrets and addresses.

    `message`, `kind` (its `type`), `code` and `param` are read from the OpenAI or Anthropic error shape
    or the looser ones some servers use; `extra` keeps further members of the error object as they came.
    """

    message: str
    kind: str | None = None
    code: str | None = None
    param: str | None = None
    extra: dict[str, object] | None = None


class Fault(ApexError):
    """One attempt failed.

    `status` is the upstream's HTTP status, 0 where none was read. `retry_after` is the provider's own
    hint in seconds, None where it gave none. `detail` says what broke in words that hold no address.
    """

    def __init__(
        self,
        kind: FaultKind,
        detail: str,
        *,
        status: int = 0,
        retry_after: float | None = None,
        said: Said | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.status = status
        self.retry_after = retry_after
        self.said = said

    @property
    def reason(self) -> str:
        """The fault as one word for a log line: its kind, or `status_503`."""
        return f"status_{self.status}" if self.kind is FaultKind.STATUS else self.kind.value

    def __repr__(self) -> str:
        """The reason and the detail."""
        return f"Fault({self.reason}: {self.detail})"
