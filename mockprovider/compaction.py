"""Compaction on the wire: a long conversation comes back as the user's words and one sealed item.

Rule: what the user said stays as it was, all else goes into the item, which only this provider takes back.
Its tokens are one for each item that went in.
"""

from dataclasses import dataclass

import msgspec

from mockprovider import strict_items
from mockprovider.answer import Ask, Stamp, prompt_tokens
from mockprovider.reading import FIELDS, USUAL, Fields, Terms, decoded, required, size, text_of
from mockprovider.seals import seal
from mockprovider.strict_responses import check_chain, check_metadata
from mockprovider.wording import known_only

_FIELDS = (
    "model input previous_response_id instructions prompt_cache_key prompt_cache_retention "
    "prompt_cache_options service_tier x_mock"
)


class Request(msgspec.Struct):
    """The fields of a request that change the answer."""

    model: str = ""
    input: str | list[dict[str, object]] | None = None
    instructions: str | None = None
    x_mock: msgspec.Raw = msgspec.Raw()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request as read, with the items to compact."""

    ask: Ask
    items: tuple[Fields, ...]


_DECODER = msgspec.json.Decoder(Request)


def read(body: bytes, model: str, terms: Terms = USUAL) -> Wanted:
    """A request body; `model` stands in for one that the URL names. Raises Unreadable."""
    request, fields = decoded(_DECODER, body), decoded(FIELDS, body)
    required(request.model or model, "model")
    known_only("", fields, _FIELDS)
    check_metadata(fields)
    chain = check_chain(fields, terms)
    said = request.input or []
    if not chain:
        required(said, "input")
    items: list[dict[str, object]] = [{"role": "user", "content": said}] if isinstance(said, str) else said
    strict_items.check(items, terms, stored=True, chain=chain)
    texts = [request.instructions or "", *(text_of(item.get("content")) for item in items)]
    texts += [text_of(item.get("output")) for item in items]
    ask = Ask(model=request.model or model, prompt_bytes=size(texts), fault=bytes(request.x_mock))
    return Wanted(ask, tuple(items))


def reply(wanted: Wanted, name: str, stamp: Stamp) -> bytes:
    """The whole reply of the provider called `name`."""
    users = [item for item in wanted.items if item.get("role") == "user"]
    output: list[dict[str, object]] = [_kept(item, stamp, place) for place, item in enumerate(users)]
    sealed = seal("compaction", name, str(wanted.items))
    output.append({"type": "compaction", "id": stamp.id("cmp_"), "encrypted_content": sealed})
    prompt, made = prompt_tokens(wanted.ask.prompt_bytes), len(wanted.items)
    usage = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + made,
    }
    told = {"id": stamp.id("resp_"), "object": "response.compaction", "created_at": stamp.created}
    return msgspec.json.encode({**told, "output": output, "usage": usage})


def _kept(item: Fields, stamp: Stamp, place: int) -> dict[str, object]:
    content = item.get("content")
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
    return {
        "id": stamp.id("msg_", place),
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": parts,
    }
