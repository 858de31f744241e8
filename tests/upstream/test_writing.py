import asyncio
from typing import Any

from proxy.upstream.writing import Writing

BODY = bytes(range(256)) * 4096  # four pieces


class Socket:
    """A transport that notes what is written to it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Note it."""
        self.written.append(bytes(data))


def begun(body: bytes) -> tuple[Writing, Any]:
    """A request that has begun to be written, in a running loop."""
    socket: Any = Socket()
    writing = Writing(asyncio.get_running_loop(), socket)
    writing.begin(b"head", body)
    return writing, socket


async def turns(count: int) -> None:
    """Let others go first so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_small_request_is_written_at_once() -> None:
    """There is nothing to wait for."""

    async def scene() -> None:
        writing, socket = begun(b"small")
        assert socket.written == [b"head", b"small"]
        assert writing.done

    asyncio.run(scene())


def test_others_have_a_turn_between_two_pieces() -> None:
    """Each turn of the loop writes one, in order."""

    async def scene() -> None:
        writing, socket = begun(BODY)
        for count in range(1, 5):
            assert len(socket.written) == 1 + count
            assert writing.done == (count == 4)
            await turns(1)
        assert b"".join(socket.written) == b"head" + BODY

    asyncio.run(scene())


def test_a_server_that_does_not_read_is_waited_for() -> None:
    """Nothing is written while there is no room; then it goes on where it was."""

    async def scene() -> None:
        writing, socket = begun(BODY)
        writing.paused = True
        await turns(5)
        assert len(socket.written) == 2
        writing.paused = False
        writing.go_on()
        await turns(5)
        assert b"".join(socket.written) == b"head" + BODY
        assert writing.done

    asyncio.run(scene())


def test_others_have_a_turn_however_often_there_is_room_again() -> None:
    """A transport that pauses and resumes many times in one turn still gets one piece of it."""

    async def scene() -> None:
        writing, socket = begun(BODY)
        for count in range(1, 5):
            assert len(socket.written) == 1 + count
            for _ in range(5):
                writing.paused = True
                writing.paused = False
                writing.go_on()
            assert len(socket.written) == 1 + count
            await turns(1)
        assert b"".join(socket.written) == b"head" + BODY

    asyncio.run(scene())


def test_room_may_be_told_of_within_a_write() -> None:
    """As TLS may, which drains what lies below it first: pieces stay in order, one a turn."""

    async def scene() -> None:
        class Draining(Socket):
            def write(self, data: bytes) -> None:
                """Pause, note it, resume."""
                writing.paused = True
                super().write(data)
                writing.paused = False
                writing.go_on()

        draining: Any = Draining()
        writing = Writing(asyncio.get_running_loop(), draining)
        writing.begin(b"head", BODY)
        for count in range(1, 5):
            assert len(draining.written) == 1 + count
            await turns(1)
        assert b"".join(draining.written) == b"head" + BODY

    asyncio.run(scene())


def test_a_pause_while_a_piece_is_due_does_not_end_it() -> None:
    """Its turn passes in vain, and the room after that is used at once."""

    async def scene() -> None:
        writing, socket = begun(BODY)
        writing.paused = True
        await turns(1)
        writing.paused = False
        writing.go_on()
        assert len(socket.written) == 3
        await turns(2)
        assert b"".join(socket.written) == b"head" + BODY

    asyncio.run(scene())


def test_what_is_stopped_stays_unwritten() -> None:
    """The connection is lost: whatever was to follow does not."""

    async def scene() -> None:
        writing, socket = begun(BODY)
        writing.stop()
        await turns(5)
        assert len(socket.written) == 2
        assert writing.done

    asyncio.run(scene())
