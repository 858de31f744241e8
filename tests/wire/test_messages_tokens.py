import msgspec

from proxy.wire.messages import tokens
from proxy.wire.messages.tokens import Tally, Tokens
from proxy.wire.model import MOST_TOKENS, Usage


def test_the_cache_is_part_of_the_prompt() -> None:
    """Three counts make the prompt."""
    assert Tally().usage is None
    tally = Tally()
    tally.take(
        msgspec.convert(
            {
                "input_tokens": 20,
                "cache_read_input_tokens": 60,
                "cache_creation_input_tokens": 5,
                "output_tokens": 7,
                "output_tokens_details": {"thinking_tokens": 3},
                "service_tier": "standard",
                "inference_geo": "x",
            },
            Tokens,
        )
    )
    assert tally.usage == Usage(input=85, output=7, cached=60, reasoning=3, written=5)
    assert tally.tier == "default"


def test_later_counts_are_totals() -> None:
    """They replace what came before; what they leave out stays."""
    tally = Tally()
    tally.take(Tokens(input_tokens=20, output_tokens=1, cache_read_input_tokens=4))
    tally.take(None)
    tally.take(Tokens(output_tokens=9))
    assert tally.usage == Usage(input=24, output=9, cached=4)
    tally.take(Tokens(input_tokens=30, output_tokens=10, service_tier="batch"))
    assert tally.usage == Usage(input=34, output=10, cached=4)
    assert tally.tier is None


def test_counts_are_written_with_all_their_keys() -> None:
    """Clients take a missing key for an error."""
    written = tokens.whole(Usage(input=85, output=7, cached=60, reasoning=3, written=5), "priority")
    assert written == {
        "input_tokens": 20,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 60,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 3},
        "server_tool_use": None,
        "cache_creation": None,
        "inference_geo": None,
        "service_tier": "priority",
    }
    assert tokens.whole(Usage(), "flex")["service_tier"] is None
    assert tokens.totals(Usage(input=1, cached=5))["input_tokens"] == 0


def test_counts_that_cannot_be() -> None:
    """Are moved to the next that can."""
    tally = Tally()
    tally.take(Tokens(input_tokens=-5, output_tokens=10**30, cache_read_input_tokens=3))
    assert tally.usage == Usage(input=3, output=MOST_TOKENS, cached=3)
