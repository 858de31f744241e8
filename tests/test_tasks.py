import asyncio

from fakes.virtual_loop import passed, run
from structlog.testing import capture_logs

from proxy.tasks import Tasks


async def _fail() -> None:
    raise ValueError("bad")


def test_a_task_is_kept_until_it_ends() -> None:
    """Running tasks are counted, ended ones are not."""

    async def scenario() -> None:
        tasks = Tasks()
        task = tasks.spawn(asyncio.sleep(5, "done"), "nap")
        assert (len(tasks), task.get_name()) == (1, "nap")
        assert await task == "done"
        await asyncio.sleep(0)
        assert len(tasks) == 0

    run(scenario())


def test_what_a_task_dies_of_is_logged() -> None:
    """An error that nobody waits for leaves a line with the task's name."""

    async def scenario() -> None:
        tasks = Tasks()
        tasks.spawn(_fail(), "doomed")
        assert await tasks.drain(1.0) == 0

    with capture_logs() as lines:
        run(scenario())
    assert [(line["event"], line["task"], line["error"]) for line in lines] == [
        ("background_task_failed", "doomed", "ValueError")
    ]


def test_drain_waits_only_so_long() -> None:
    """What does not end in time is counted, not cancelled."""

    async def scenario() -> None:
        tasks = Tasks()
        tasks.spawn(asyncio.sleep(1), "short")
        long = tasks.spawn(asyncio.sleep(100), "long")
        assert await tasks.drain(10) == 1
        assert passed() == 10
        assert not long.done()
        await tasks.close()
        assert long.cancelled()
        assert await tasks.drain(1) == 0

    run(scenario())
