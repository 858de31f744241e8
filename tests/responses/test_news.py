import asyncio

from fakes.virtual_loop import passed, run

from proxy.responses.news import News, pause


def test_news_are_told_to_all_who_wait_for_them() -> None:
    """And to nobody else; of what nobody waits for nothing is kept."""

    async def scenario() -> None:
        news = News()
        with news.of("a") as one, news.of("a") as two, news.of("b") as other:
            news.tell("a")
            news.tell("c")
            assert (one.is_set(), two.is_set(), other.is_set()) == (True, True, False)
            news.tell_all()
            assert other.is_set()
            assert repr(news) == "<News of 2>"
        assert repr(news) == "<News of 0>"

    run(scenario())


def test_a_pause_ends_with_news_or_time() -> None:
    """Whichever comes first."""

    async def scenario() -> None:
        event = asyncio.Event()
        await pause(event, 3.0)
        assert passed() == 3.0
        asyncio.get_running_loop().call_later(1.0, event.set)
        await pause(event, 3.0)
        assert passed() == 4.0

    run(scenario())
