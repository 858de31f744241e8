"""What OpenAI refuses in the content of an item: who may say which parts, and what a part must hold.

Rule: the assistant's history is `output_text` or `refusal`, what is given is `input_...`; an image is named
by a URL that is a string.
"""

from mockprovider.answer import Unreadable
from mockprovider.reading import Fields
from mockprovider.wording import known_only, missing, unsupported, wrong_type

_PARTS = {
    "input_text": "text",
    "text": "text",
    "input_image": "image_url file_id detail",
    "input_file": "file_id filename file_data file_url detail",
    "input_audio": "input_audio",
    "output_text": "text annotations logprobs",
    "refusal": "refusal",
}
_SAID_BY_ASSISTANTS = ("output_text", "refusal")
_GIVEN = ("input_text", "text", "input_image", "input_file", "input_audio")


def check_message(item: Fields, param: str) -> None:
    """Refuse what is wrong with the role and the content of a message. Raises Unreadable."""
    role, content = item["role"], item["content"]
    if role not in ("user", "assistant", "system", "developer"):
        raise unsupported(f"{param}.role", ("assistant", "system", "developer", "user"), role)
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise wrong_type(f"{param}.content", "one of a string or array of content parts", content)
    for place, part in enumerate(content):
        allowed = _SAID_BY_ASSISTANTS if role == "assistant" else _GIVEN
        _check_part(part, f"{param}.content[{place}]", allowed)


def _check_part(part: object, param: str, allowed: tuple[str, ...]) -> None:
    if not isinstance(part, dict):
        raise wrong_type(param, "an object", part)
    kind = part.get("type")
    if kind is None:
        raise missing(f"{param}.type")
    if kind not in allowed:
        raise unsupported(param, allowed, kind)
    known_only(f"{param}.", part, f"type prompt_cache_breakpoint {_PARTS[kind]}")
    if kind in ("text", "input_text", "output_text", "refusal"):
        name = "refusal" if kind == "refusal" else "text"
        if not isinstance(part.get(name), str):
            raise wrong_type(f"{param}.{name}", "a string", part.get(name))
    if kind == "input_image":
        _check_image(part, param)
    if kind == "input_file" and not any(part.get(name) for name in ("file_id", "file_data", "file_url")):
        raise missing(f"{param}.file_id")
    data = part.get("file_data")
    if data is not None and not str(data).startswith("data:"):
        text = f"Invalid '{param}.file_data'. Expected a base64-encoded data URL with a mime type."
        raise Unreadable(text, f"{param}.file_data", "invalid_value")


def _check_image(part: Fields, param: str) -> None:
    url = part.get("image_url")
    if url is None and part.get("file_id") is None:
        raise missing(f"{param}.image_url")
    if url is not None and not isinstance(url, str):
        raise wrong_type(f"{param}.image_url", "an image URL", url)
    if isinstance(url, str) and not url.startswith(("http://", "https://", "data:image/")):
        text = f"Invalid '{param}.image_url'. Expected a valid URL, but got a value with an invalid format."
        raise Unreadable(text, f"{param}.image_url", "invalid_value")
    if part.get("detail", "auto") not in ("low", "high", "auto", "original"):
        raise unsupported(f"{param}.detail", ("low", "high", "auto", "original"), part.get("detail"))


def check_output(output: object, param: str) -> None:
    """Refuse what is wrong with the output of a tool. Raises Unreadable."""
    if isinstance(output, str):
        return
    if not isinstance(output, list):
        raise wrong_type(param, "one of a string or array of content parts", output)
    for place, part in enumerate(output):
        _check_part(part, f"{param}[{place}]", ("input_text", "input_image", "input_file"))
