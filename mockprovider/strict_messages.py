"""What Anthropic refuses in a Messages request as a whole: unknown fields, fields that do not go together.

Rule: every field is read, and the first that is wrong is named by its path. `x_mock` is this provider's own.
"""

from mockprovider import claude
from mockprovider.answer import Unreadable
from mockprovider.reading import Fields, Terms
from mockprovider.strict_blocks import LATEST, Blocks, said
from mockprovider.strict_offers import check_choice, check_tools
from mockprovider.strict_schema import subset_of_anthropic
from mockprovider.strict_turns import blocks_of
from mockprovider.strict_turns import check as check_turns
from mockprovider.wording import invalid, lacking, one_of, only

_VERSIONS = ("2023-01-01", "2023-06-01", LATEST)
_COUNTED = "cache_control messages model output_config system thinking tool_choice tools x_mock"
_UNCOUNTED = (
    "container inference_geo max_tokens metadata service_tier stop_sequences stream temperature top_k top_p"
)
_BETA = (
    "context_management diagnostics fallback_credit_token fallbacks mcp_servers output_format speed thread"
)
_SAMPLING = ("temperature", "top_p", "top_k")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_THINKING = {
    "enabled": "type budget_tokens display",
    "adaptive": "type display",
    "between_tools": "type display",
    "disabled": "type",
}
_LEAST_BUDGET = 1024
_MOST_MARKS = 4


def check(fields: Fields, terms: Terms, model: str, *, counting: bool = False) -> None:
    """Refuse what Anthropic refuses; `counting` is the request for a count only. Raises Unreadable."""
    if not terms.version:
        raise invalid("anthropic-version", "header is required")
    if terms.version not in _VERSIONS:
        raise invalid("anthropic-version", f'"{terms.version}" is not a valid version')
    only("", fields, f"{_COUNTED} {'' if counting else _UNCOUNTED} {_BETA if terms.beta else ''}")
    if fields.get("thread"):  # this provider keeps no conversations; clients know the code and send all of it
        raise Unreadable("thread: not supported for this request", "thread", "thread_unsupported_request")
    if not counting:
        _check_limit(fields)
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise (
            lacking("messages")
            if messages is None
            else invalid("messages", "at least one message is required")
        )
    thinks = _check_thinking(fields, model)
    _check_sampling(fields, terms, model)
    _check_options(fields)
    _check_output(fields)
    _check_system(fields.get("system"))
    check_tools(fields.get("tools"))
    check_choice(fields, thinks=thinks)
    check_turns(messages, Blocks(model, terms), thinks=thinks == "enabled")
    _check_history(fields, messages)
    _check_marks(fields, messages)


def _check_limit(fields: Fields) -> None:
    """0 is allowed: it fills a cache. Raises Unreadable."""
    if "max_tokens" not in fields:
        raise lacking("max_tokens")
    limit = fields["max_tokens"]
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise invalid("max_tokens", "Input should be a valid integer")
    if limit < 0:
        raise invalid("max_tokens", "must be greater than or equal to 0")


def _check_thinking(fields: Fields, model: str) -> str:
    """The kind of thinking that is asked for, or nothing. Raises Unreadable."""
    asked = fields.get("thinking")
    if asked is None:
        return ""
    kind = asked.get("type") if isinstance(asked, dict) else None
    if not isinstance(asked, dict) or kind not in _THINKING:
        tags = ", ".join(f"'{each}'" for each in _THINKING)
        raise invalid(
            "thinking",
            f"Input tag '{kind}' found using 'type' does not match any of the expected tags: {tags}",
        )
    only(f"thinking.{kind}.", asked, _THINKING[kind])
    if asked.get("display") not in (None, "summarized", "omitted"):
        raise one_of(f"thinking.{kind}.display", ("summarized", "omitted"))
    if kind == "enabled":
        _check_budget(asked.get("budget_tokens"), fields.get("max_tokens"), model)
    if kind == "adaptive" and not claude.adapts(model):
        raise Unreadable("adaptive thinking is not supported on this model", "thinking")
    return "" if kind == "disabled" else str(kind)


def _check_budget(budget: object, limit: object, model: str) -> None:
    path = "thinking.enabled.budget_tokens"
    if not claude.budgets(model):
        raise Unreadable(
            '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
            '"output_config.effort" to control thinking behavior.',
            "thinking",
        )
    if budget is None:
        raise lacking(path)
    if not isinstance(budget, int) or budget < _LEAST_BUDGET:
        raise invalid(path, f"Input should be greater than or equal to {_LEAST_BUDGET}")
    if isinstance(limit, int) and budget >= limit:
        raise Unreadable("`max_tokens` must be greater than `thinking.budget_tokens`.", "max_tokens")


def _check_sampling(fields: Fields, terms: Terms, model: str) -> None:
    given = [name for name in _SAMPLING if name in fields]
    if given and terms.version >= LATEST:
        raise invalid(given[0], f"not supported in API version {LATEST}")
    if given and not claude.samples(model):
        raise Unreadable(f"`{given[0]}` is deprecated for this model.", given[0])
    temperature, top_p = fields.get("temperature"), fields.get("top_p")
    for name, value in (("temperature", temperature), ("top_p", top_p)):
        if value is not None and not isinstance(value, int | float):
            raise invalid(name, "Input should be a valid number")
        if value is not None and not 0 <= value <= 1:
            raise invalid(name, "range: 0..1")
    if not fields.get("thinking") or fields["thinking"] == {"type": "disabled"}:
        return
    if temperature not in (None, 1):
        raise Unreadable("`temperature` may only be set to 1 when thinking is enabled.", "temperature")
    if isinstance(top_p, int | float) and top_p < 0.95:
        raise Unreadable(
            "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.", "top_p"
        )
    if fields.get("top_k") is not None:
        raise Unreadable("`top_k` must be unset when thinking is enabled.", "top_k")


def _check_options(fields: Fields) -> None:
    metadata = fields.get("metadata")
    if isinstance(metadata, dict):
        only("metadata.", metadata, "user_id")
    if fields.get("service_tier") not in (None, "auto", "standard_only"):
        raise one_of("service_tier", ("auto", "standard_only"))
    stops = fields.get("stop_sequences")
    if stops is not None and not isinstance(stops, list):
        raise invalid("stop_sequences", "Input should be a valid list")
    for place, stop in enumerate(stops or ()):
        if not isinstance(stop, str):
            raise invalid(f"stop_sequences.{place}", "Input should be a valid string")
        if not stop.strip():
            raise invalid("stop_sequences", "each stop sequence must contain non-whitespace")


def _check_output(fields: Fields) -> None:
    config = fields.get("output_config")
    if config is None:
        return
    if not isinstance(config, dict):
        raise invalid("output_config", "Input should be a valid dictionary")
    only("output_config.", config, "effort format")
    if config.get("effort") is not None and config["effort"] not in _EFFORTS:
        raise one_of("output_config.effort", _EFFORTS)
    form = config.get("format")
    if not isinstance(form, dict):
        return
    if form.get("type") != "json_schema":
        raise one_of("output_config.format.type", ("json_schema",))
    only("output_config.format.", form, "type schema")
    if "schema" not in form:
        raise lacking("output_config.format.schema")
    subset_of_anthropic(form["schema"], "output_config.format.schema")


def _check_system(system: object) -> None:
    if system is None or isinstance(system, str):
        return
    if not isinstance(system, list):
        raise invalid("system", "Input should be a valid string or list")
    for place, block in enumerate(system):
        path = f"system.{place}"
        if not isinstance(block, dict) or block.get("type") != "text":
            raise one_of(f"{path}.type", ("text",))
        only(f"{path}.", block, "type text cache_control citations")
        said(block.get("text"), path)


def _check_history(fields: Fields, messages: list[Fields]) -> None:
    kinds = {block.get("type") for message in messages for block in blocks_of(message)}
    if kinds & {"tool_use", "tool_result"} and not fields.get("tools"):
        raise Unreadable(
            "Requests which include `tool_use` or `tool_result` blocks must define tools", "tools"
        )


def _check_marks(fields: Fields, messages: list[Fields]) -> None:
    """Refuse too many marks of what to cache, and one for long after one for short."""
    tools, system = fields.get("tools"), fields.get("system")
    marked: list[object] = [*(tools if isinstance(tools, list) else ())]
    marked += system if isinstance(system, list) else []
    for message in messages:
        for block in blocks_of(message):
            marked += [*blocks_of(block), block]
    marks = [
        mark for each in (*marked, fields) if isinstance(each, dict) and (mark := each.get("cache_control"))
    ]
    if len(marks) > _MOST_MARKS:
        raise Unreadable(
            f"A maximum of {_MOST_MARKS} blocks with cache_control may be provided. Found {len(marks)}.",
            "cache_control",
        )
    short = False
    for mark in marks:
        if not isinstance(mark, dict) or mark.get("type") != "ephemeral":
            raise one_of("cache_control.type", ("ephemeral",))
        ttl = mark.get("ttl", "5m")
        if ttl not in ("5m", "1h"):
            raise one_of("cache_control.ephemeral.ttl", ("5m", "1h"))
        if ttl == "1h" and short:
            raise Unreadable(
                "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "
                "Note that blocks are processed in the following order: `tools`, `system`, `messages`.",
                "cache_control",
            )
        short = short or ttl == "5m"
