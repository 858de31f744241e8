import pytest

from proxy.link.failure import Reason, ScriptError, Unavailable, failure_of

REPLIES = [
    ("READONLY You can't write against a read only replica.", Reason.READONLY),
    ("MOVED 3999 127.0.0.1:6381", Reason.MOVED),
    ("ASK 3999 127.0.0.1:6381", Reason.MOVED),
    ("LOADING Redis is loading the dataset in memory", Reason.LOADING),
    ("CLUSTERDOWN The cluster is down", Reason.CLUSTERDOWN),
    ("OOM command not allowed when used memory > 'maxmemory'. script: x", Reason.OOM),
    ("MASTERDOWN Link with MASTER is down", Reason.MASTERDOWN),
    ("TRYAGAIN Multiple keys request during rehashing of slot", Reason.TRYAGAIN),
    ("BUSY Redis is busy running a script.", Reason.BUSY),
    ("NOREPLICAS Not enough good replicas to write.", Reason.REFUSED),
    ("MISCONF Errors writing to the AOF file", Reason.REFUSED),
    ("NOAUTH Authentication required.", Reason.AUTH),
    ("WRONGPASS invalid username-password pair", Reason.AUTH),
    ("NOPERM this user has no permissions", Reason.AUTH),
    ("ERR max number of clients reached", Reason.REFUSED),
]


@pytest.mark.parametrize(("reply", "reason"), REPLIES, ids=[reply.split()[0] for reply, _ in REPLIES])
def test_the_state_of_the_servers_is_unavailability(reply: str, reason: Reason) -> None:
    """What no caller caused is told by its first word."""
    failure = failure_of(reply)
    assert isinstance(failure, Unavailable)
    assert failure.reason is reason


@pytest.mark.parametrize("reply", ["ERR user_script:1: oops", "WRONGTYPE Operation against", ""])
def test_everything_else_is_a_bug(reply: str) -> None:
    """Other errors are the script's."""
    assert isinstance(failure_of(reply), ScriptError)


def test_arguments_are_not_repeated() -> None:
    """The server quotes a wrong command's arguments; they may be anything, so they are left out."""
    assert "SECRET" not in str(failure_of("ERR unknown command 'X', with args beginning with: 'SECRET'"))


def test_what_may_have_been_done_is_told_by_the_reason_where_nobody_knows_better() -> None:
    """Whoever knows that a call was sent, or was not, says so."""
    assert Unavailable(Reason.TIMEOUT).lost
    assert not Unavailable(Reason.TIMEOUT, lost=False).lost
    assert not Unavailable(Reason.CLOSED).lost
    assert Unavailable(Reason.CLOSED, lost=True).lost


def test_the_text_holds_reason_and_detail() -> None:
    """An error reads as reason and cause."""
    assert str(Unavailable(Reason.TIMEOUT)) == "timeout"
    assert str(Unavailable(Reason.CONNECTION, "reset")) == "connection: reset"
