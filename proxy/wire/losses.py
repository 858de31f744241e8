"""What a translation cannot carry, and what is done about it: one table, read by writers and by the docs.

Rule: nothing is lost silently. What only tunes an answer may be left out, and is named in the header
`x-apex-warnings` and in a metric; what is part of the question, or promises a feature, is refused with a 400
that names the field. With `x-apex-strict: 1` whatever would be left out or changed is a 400 as well.
Hints that change nothing of an answer (`Treatment.HINT`) go without a word.
"""

import dataclasses
import enum
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NoReturn

from proxy.errors import Refusal
from proxy.wire.model import Dialect


class Treatment(enum.StrEnum):
    """What becomes of a field in a dialect that has no place for it, or a different one."""

    CARRIED = "carried"
    HINT = "left out silently"
    DROPPED = "dropped"
    CLAMPED = "clamped"
    CHANGED = "changed"
    REFUSED = "refused"
    PROFILE = "by the provider"


C, H, D, L, X, R, P = (
    Treatment.CARRIED,
    Treatment.HINT,
    Treatment.DROPPED,
    Treatment.CLAMPED,
    Treatment.CHANGED,
    Treatment.REFUSED,
    Treatment.PROFILE,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """How one field fares in a body written for each dialect, and a sentence about it for the docs.

    `PROFILE`: it depends on what the provider takes (`profiles.Quirks`).
    """

    chat: Treatment
    responses: Treatment
    messages: Treatment
    note: str = ""

    def of(self, dialect: Dialect) -> Treatment:
        """The treatment in `dialect`."""
        found: Treatment = getattr(self, dialect.value)
        return found


POLICY: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "temperature": Rule(P, P, P, "Left out where the model refuses it; clamped to 1 for Messages."),
        "top_p": Rule(P, P, P, "Left out where the model refuses it."),
        "top_k": Rule(P, D, P, "Sent where the provider takes it."),
        "stop": Rule(C, X, C, "Responses has none: the proxy itself ends the answer there."),
        "n": Rule(C, R, R, "More than one answer exists in Chat Completions only."),
        "seed": Rule(C, D, D),
        "logit_bias": Rule(C, D, D),
        "presence_penalty": Rule(C, D, D),
        "frequency_penalty": Rule(C, D, D),
        "logprobs": Rule(D, D, D, "Given natively only: an answer of another dialect has none."),
        "top_logprobs": Rule(D, D, D),
        "max_output": Rule(C, L, C, "Responses takes 16 or more: a smaller bound is raised to that."),
        "system": Rule(P, C, P, "Where only leading instructions are taken, later ones become user text."),
        "image": Rule(P, P, P),
        "image.detail": Rule(C, C, H),
        "document": Rule(P, C, C, "Chat Completions has no form for a document by URL."),
        "document.context": Rule(D, D, C),
        "audio": Rule(P, P, R),
        "file_id": Rule(R, R, R, "A file stored at one vendor is unknown to the others."),
        "search_result": Rule(X, X, C, "Becomes text: title, source, content."),
        "citations": Rule(D, D, D, "Of answers, web citations are carried."),
        "message.name": Rule(C, H, H),
        "message.phase": Rule(H, C, H),
        "thinking": Rule(P, P, P, "Sealed reasoning goes back to who made it and to nobody else."),
        "tool.strict": Rule(C, C, C),
        "tool.schema": Rule(C, C, X, "A union at its top becomes one object with the properties of all."),
        "tool.custom": Rule(P, C, X, "Becomes a function with one string, and comes back as it was."),
        "tool.hosted": Rule(R, R, R, "Only its own vendor runs it; `drop_hosted_tools` drops it instead."),
        "tool.namespace": Rule(X, X, X, "Flattened to `namespace__name`, and comes back as it was."),
        "tool.name": Rule(X, X, X, "Too long or with other characters: shortened, and comes back as it was."),
        "tool_choice": Rule(P, P, P, "Forced choices become `auto` where the model refuses them."),
        "parallel_tool_calls": Rule(C, C, C),
        "tool_result.error": Rule(X, X, C, "Said in the text instead."),
        "tool_result.missing": Rule(C, C, X, "A call without a result gets one that says so."),
        "tool_result.image": Rule(X, C, C, "Follows the results in a user message."),
        "format.json_object": Rule(C, C, X, "Asked for in the instructions."),
        "format.json_schema": Rule(P, C, C, "Asked for in the instructions where there is no such mode."),
        "format.keywords": Rule(
            C, C, X, "Bounds that Messages refuses move to the description; free-form objects hold nothing."
        ),
        "reasoning.effort": Rule(P, C, P, "Mapped to the nearest level or budget."),
        "reasoning.budget": Rule(X, X, P, "Mapped to the nearest effort."),
        "verbosity": Rule(P, P, H),
        "user": Rule(C, C, C, "Longer than 64 characters, or with other characters: its SHA-256."),
        "metadata": Rule(H, P, D, "OpenAI's chat takes it with `store` only, and nothing is stored there."),
        "service_tier": Rule(P, P, X),
        "cache": Rule(P, P, C, "At most four marks in Messages."),
        "prompt_cache_key": Rule(P, P, H),
        "prediction": Rule(P, H, H),
        "modalities": Rule(R, R, R, "Spoken answers come from Chat Completions natively."),
        "conversation": Rule(R, R, R, "Kept by OpenAI, not by the proxy."),
        "prompt": Rule(R, R, R, "A template stored at OpenAI."),
        "truncation": Rule(D, D, D),
        "max_tool_calls": Rule(D, D, D),
        "context_management": Rule(D, D, D),
        "container": Rule(R, R, R),
        "mcp_servers": Rule(R, R, R),
        "inference": Rule(D, D, D, "`speed`, `inference_geo`, `diagnostics` of Messages."),
        "unknown": Rule(D, D, D, "Fields that the proxy does not know, by their path."),
    }
)
"""Every field that does not simply pass, by its canonical name."""

_INDEX = re.compile(r"\[\d+\]")
_TOKEN = re.compile(r"[^A-Za-z0-9_.\[\]-]")
LONGEST = 1024
"""Characters of the header at the most."""


class Losses:
    """What one translation into `dialect` has lost so far.

    `lenient` are fields that the operator allows to be dropped where the table refuses them.
    """

    def __init__(
        self, dialect: Dialect, *, strict: bool = False, lenient: frozenset[str] = frozenset()
    ) -> None:
        self.dialect = dialect
        self.strict = strict
        self.lenient = lenient
        self._by: dict[Treatment, dict[str, None]] = {}
        self.fields: dict[str, Treatment] = {}

    @property
    def written(self) -> bool:
        """Whether the writer has lost anything: what its reader did not know is lost in every dialect."""
        return any(name != "unknown" for name in self.fields)

    def meet(self, name: str, param: str | None = None) -> None:
        """A field that this dialect treats by the table. `param` is its name at the client, if another.

        Raises `Refusal` 400 where it is refused.
        """
        treatment = POLICY[name].of(self.dialect)
        assert treatment is not Treatment.PROFILE  # the writer has to know what this provider takes
        if treatment is Treatment.REFUSED and name in self.lenient:
            treatment = Treatment.DROPPED
        if treatment is Treatment.REFUSED:
            self.refuse(name, param=param)
        if treatment not in (Treatment.CARRIED, Treatment.HINT):
            self.note(treatment, name, param)

    def drop(self, name: str, param: str | None = None) -> None:
        """A field is left out because this provider does not take it."""
        self.note(Treatment.DROPPED, name, param)

    def clamp(self, name: str, param: str | None = None) -> None:
        """A value is moved into the range that this provider takes."""
        self.note(Treatment.CLAMPED, name, param)

    def change(self, name: str, param: str | None = None) -> None:
        """Something is said in another way than it was."""
        self.note(Treatment.CHANGED, name, param)

    def note(self, treatment: Treatment, name: str, param: str | None = None) -> None:
        """Note a loss. Raises `Refusal` 400 in strict mode."""
        assert name in POLICY
        shown = param or name
        if self.strict:
            raise Refusal(
                400,
                f"'{shown}' would be {treatment.value} for the provider that serves this model, and "
                "strict translation was asked for.",
                param=shown,
                code="unsupported_parameter",
            )
        self.fields[name] = treatment
        self._by.setdefault(treatment, {})[_TOKEN.sub("_", _INDEX.sub("[]", shown))] = None

    def refuse(self, name: str, why: str | None = None, *, param: str | None = None) -> NoReturn:
        """What is asked cannot be said to this provider. Raises `Refusal` 400."""
        assert name in POLICY
        shown = param or name
        raise Refusal(
            400,
            why or f"'{shown}' cannot be passed on to the provider that serves this model.",
            param=shown,
            code="unsupported_value",
        )

    def header(self) -> str:
        """All losses as `dropped=seed,logit_bias; clamped=temperature`; empty where there are none."""
        said = "; ".join(
            f"{treatment.value.replace(' ', '-')}={','.join(names)}" for treatment, names in self._by.items()
        )
        return said if len(said) <= LONGEST else said[:LONGEST].rpartition(",")[0] + ",..."
