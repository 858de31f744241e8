"""docs/dialects.md, made of the tables: who speaks to whom, what is lost on the way, what providers take.

    python -m proxy.wire.page > docs/dialects.md

The tables are those that the code goes by (`losses.POLICY`, `profiles.PROFILES`, `profiles.QUIRKS`), so the
page cannot say anything else than what happens.
"""

import dataclasses
import sys
from typing import Any

from proxy.profiles import KINDS, PROFILES, QUIRKS, Profile, Quirks
from proxy.wire.losses import POLICY, Rule, Treatment
from proxy.wire.model import Dialect

_NAMES = {
    Dialect.CHAT: "Chat Completions",
    Dialect.RESPONSES: "Responses",
    Dialect.MESSAGES: "Messages",
}

_INTRODUCTION = """# Dialects

Applications speak OpenAI Chat Completions, OpenAI Responses or Anthropic Messages; providers speak one or
more of them. Any application can use any provider. Where both sides speak the same dialect the body passes as
it came, byte for byte but for the model's name and what is said below; where they differ it is translated
there and back, streams included. This page is made from the tables that the proxy goes by
(`python -m proxy.wire.page > docs/dialects.md`).

## Which way a request takes

| The client speaks | The provider speaks it | else, the best first |
|---|---|---|
| Chat Completions | as it came | Responses, Messages |
| Responses | as it came, except for what is stored (below) | Chat Completions, Messages |
| Messages | as it came | Responses, Chat Completions |

A provider that speaks several dialects is asked in the one that loses nothing of the request. What a provider
speaks follows from its `kind`; `dialects:` says otherwise. Models may mix providers of all kinds: until the
first content of an answer a failed attempt moves on to the next, whatever that one speaks.

Embeddings exist in the chat dialect alone.

## Whose tokenizer counts

`/v1/messages/count_tokens` and `/v1/responses/input_tokens` ask one provider: the first of the model's
targets, by priority, then as configured, that speaks the client's dialect and that nothing stands against.
That need not be the one that would answer: with a chat provider of priority 1 and Claude of priority 2 it
is Claude that counts for a client of Messages, with its own tokenizer. `x-apex-target` says whose count it
is. Where nobody is asked, or the one that is asked cannot tell within ten seconds, the proxy estimates,
from what requests of that size have taken at the first target; the answer then carries `x-apex-warnings:
estimated=input_tokens` and no `x-apex-target`. Asking is one attempt in `x-apex-attempts`, logs and metrics
(`endpoint="count_tokens"`), with the outcome `no_count` where the answer was none; it says nothing about a
provider's health, takes nothing from limits, and is no decision that `apex-proxy explain` could tell.

## How streams end

A stream that breaks after its first content ends with an error event of the client's dialect: an object
with `error` (Chat Completions), `error` (Messages), `response.failed` (Responses). In Chat Completions and
Responses `data: [DONE]` follows, for readers that wait for it: it says that nothing more will come, not
that all is well. Who reads streams by hand looks for the error, and for the finish reason of a stream that
is whole.

Where a stream passes as it came, each event is looked at before it is passed on: it must be UTF-8, and its
data whole JSON, `[DONE]` or nothing. An event that was cut, noise, or a word makes it a broken stream, and
before the first content a failed attempt that another target makes good; what came whole before it is
passed on. Comments, bare names, ids and pings pass. Not noticed is what is whole and wrong: an event that a
provider has left out, or JSON that says something else than its dialect knows, which is passed on as it
came.

## What is lost, and how you are told

Nothing is lost silently. What only tunes an answer is left out, clamped or said in another way, and named in
the answer's header, for instance `x-apex-warnings: dropped=seed,logit_bias; clamped=temperature`, and in the
metric `apex_translation_losses_total`. What is part of the question, or promises something, is refused with
a 400 that names the field. With the header `x-apex-strict: 1`, or `translation: {strict: true}` in the
configuration, everything of the first sort is refused too. Hints that change nothing of an answer are left
out without a word.

- *carried*: said in the other dialect's own way
- *left out silently*: a hint
- *dropped*, *clamped*, *changed*: named in the header
- *refused*: a 400
- *by the provider*: see the quirks further down

"""

_REASONING = """
## Reasoning that only its maker can read

Signed thinking (Messages) and encrypted reasoning (Responses) are good for the very model that made them,
the latter only in the account in which it did. A provider of the configuration is one account, whichever of
its keys is used; an entry with a `base_url` of its own is another. In another dialect they travel packed,
as `ax1.<dialect>.<model>.<value>`: as a `signature` to clients of Messages, as `encrypted_content` to
clients of Responses, as `thinking_blocks` to clients of Chat Completions that send them back. They are
unpacked, unchanged, for who made them and left out for any other.

What a client carries as its vendor sent it tells no maker and is passed on. Where a provider cannot open
encrypted reasoning of that kind, the request is sent to it once more without, by name; a request that may
lose nothing (`x-apex-strict: 1`) gets the provider's 400.

## Stored responses

Responses are stored by the proxy and not by the provider: `store`, `previous_response_id` and `background`
are kept from providers, which get the whole history each time. A chain therefore goes on over another
provider, another key and another replica; only the reasoning of another model or account is left out, by
name. `responses:` in the configuration says how long and how much.

An `item_reference` may name an item of the chain, or one that the proxy itself has named. What OpenAI alone
knows, a `conversation` or a `prompt`, cannot be part of a stored response: such requests need `store: false`.

Over a WebSocket (`/v1/responses`) turns follow each other one by one; a response that is not stored can be
followed on its own connection. Losses of a translation are told in the metric only.
"""


def render() -> str:
    """The whole page, in Markdown."""
    columns = " | ".join(f"to {_NAMES[dialect]}" for dialect in Dialect)
    lines = [f"| Field | {columns} | |", "|---|---|---|---|---|"]
    lines += [_rule(name, rule) for name, rule in POLICY.items()]
    return (
        _INTRODUCTION
        + "\n".join(lines)
        + "\n"
        + _REASONING
        + "\n## What providers take\n\n"
        + "Known by a provider's kind and the name of the model; `quirks:` of a provider or of an entry says "
        + "otherwise.\n\n"
        + "\n".join(_quirks())
        + "\n\nModels that differ from the others of their kind:\n\n"
        + "\n".join(_families())
        + "\n"
    )


def _rule(name: str, rule: Rule) -> str:
    cells = " | ".join(_treatment(rule.of(dialect)) for dialect in Dialect)
    return f"| `{name}` | {cells} | {rule.note} |"


def _treatment(treatment: Treatment) -> str:
    return treatment.value


def _quirks() -> list[str]:
    kinds = " | ".join(f"`{kind}`" for kind in KINDS)
    lines = [f"| Quirk | {kinds} | |", "|---|" + "---|" * len(KINDS) + "---|"]
    for field in dataclasses.fields(Quirks):
        cells = " | ".join(_value(getattr(PROFILES[kind].quirks, field.name)) for kind in KINDS)
        lines.append(f"| `{field.name}` | {cells} | {QUIRKS[field.name]} |")
    return lines


def _families() -> list[str]:
    lines = ["| Kind | Models | What differs |", "|---|---|---|"]
    for kind in KINDS:
        lines += [_family(kind, PROFILES[kind], place) for place in range(len(PROFILES[kind].families))]
    return lines


def _family(kind: str, profile: Profile, place: int) -> str:
    pattern, differs = profile.families[place]
    said = ", ".join(f"`{name}` {_value(value)}" for name, value in differs.items())
    return f"| `{kind}` | `{pattern}` | {said} |"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{value}`" if isinstance(value, str) else str(value)


if __name__ == "__main__":
    sys.stdout.write(render())
