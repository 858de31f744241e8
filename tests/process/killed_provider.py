"""2,000 requests over two providers of three keys each, one of which is killed half-way.

Run `python tests/process/killed_provider.py [requests]`: it prints what the clients saw. Only a stream
whose first events had come from the provider that was killed may break.
"""

import asyncio
import dataclasses
import signal
import sys
import time

import openai
from harness import EMBEDDING, KEY, MODEL, Mock, Serve, configured

CONCURRENCY = 32
_PACE = {"default": {"delay_headers_s": 0.01, "delay_events_s": 0.003, "tokens": 10}}


@dataclasses.dataclass(slots=True)
class Seen:
    """What the clients saw. `committed` are streams that broke after their first event."""

    answered: int = 0
    committed: int = 0
    errors: list[str] = dataclasses.field(default_factory=list)
    providers: dict[str, int] = dataclasses.field(default_factory=dict)
    retried: int = 0
    seconds: float = 0.0

    def of(self, headers: object) -> str:
        """Note who answered and after how many attempts; the provider's name."""
        assert hasattr(headers, "get")
        provider = str(headers.get("x-apex-target")).partition("/")[0]
        self.providers[provider] = self.providers.get(provider, 0) + 1
        self.retried += headers.get("x-apex-attempts") != "1"
        return provider


async def ask(client: openai.AsyncOpenAI, number: int, seen: Seen, victim: str) -> None:
    """One request of the mix: a chat, a stream or an embedding."""
    try:
        if number % 3 == 0:
            plain = await client.chat.completions.with_raw_response.create(
                model=MODEL, messages=[{"role": "user", "content": f"number {number}"}]
            )
            seen.of(plain.headers)
        elif number % 3 == 1:
            await _stream(client, number, seen, victim)
        else:
            vectors = await client.embeddings.with_raw_response.create(
                model=EMBEDDING, input=f"text {number}"
            )
            seen.of(vectors.headers)
    except openai.OpenAIError as error:
        seen.errors.append(f"{number}: {error!r}")
    else:
        seen.answered += 1


async def _stream(client: openai.AsyncOpenAI, number: int, seen: Seen, victim: str) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": f"number {number}"}], stream=True
    )
    provider = seen.of(raw.headers)
    finish = None
    try:
        async for chunk in raw.parse():
            finish = chunk.choices[0].finish_reason
    except openai.APIError:
        if provider != victim:
            raise
        seen.committed += 1
        return
    if finish != "stop":
        seen.errors.append(f"{number}: the stream ended silently")


async def attack(proxy: Serve, victim: Mock, count: int) -> Seen:
    """Send `count` requests, and kill `victim` when half of them have been sent."""
    seen = Seen()
    numbers = iter(range(count))
    began = time.monotonic()
    async with openai.AsyncOpenAI(base_url=proxy.url, api_key=KEY, max_retries=0) as client:

        async def caller() -> None:
            for number in numbers:
                if number == count // 2:
                    victim.signal(signal.SIGKILL)
                await ask(client, number, seen, victim.name)

        await asyncio.gather(*(caller() for _ in range(CONCURRENCY)))
    seen.seconds = time.monotonic() - began
    return seen


def run(count: int) -> Seen:
    """The whole story with `count` requests."""
    with (
        Mock(_PACE, "victim") as victim,
        Mock(_PACE, "survivor") as survivor,
        Serve(configured(victim, survivor, keys=3)) as proxy,
    ):
        return asyncio.run(attack(proxy, victim, count))


def main() -> int:
    """Print the counts; 1 if a client saw an error."""
    seen = run(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
    print(f"answered             {seen.answered} in {seen.seconds:.1f} s")
    print(f"by provider          {seen.providers}")
    print(f"more than one try    {seen.retried}")
    print(f"streams cut by kill  {seen.committed}")
    print(f"client errors        {len(seen.errors)}")
    for error in seen.errors[:10]:
        print(f"  {error}")
    return 1 if seen.errors else 0


if __name__ == "__main__":
    sys.exit(main())
