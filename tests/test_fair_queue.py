from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.fair_queue import DEAREST, OTHERS, QUANTUM, FairQueue


class Item(NamedTuple):
    """A request of a client."""

    client: str
    number: int
    cost: int


Queue = FairQueue[Item]


def filled(lines: Mapping[str, Sequence[int]], most: int = 10_000) -> Queue:
    """A queue in which each client waits with items of these costs."""
    queue = Queue(most)
    for client, costs in lines.items():
        for number, cost in enumerate(costs):
            assert queue.put(client, Item(client, number, cost), cost) is None
    return queue


def served(queue: Queue, places: int = 1, *, but: Sequence[str] = ()) -> list[Item]:
    """What is served where so many places are free, none of them for clients in `but`."""
    taken: list[Item] = []

    def serve(item: Item) -> bool:
        if len(taken) == places or item.client in but:
            return False
        taken.append(item)
        return True

    queue.serve(serve)
    return taken


def whose(items: Sequence[Item]) -> str:
    """The clients, in order."""
    return "".join(item.client for item in items)


def test_an_empty_queue_offers_nothing() -> None:
    """And says so."""
    queue = Queue(5)
    assert (len(queue), served(queue, 9), queue.candidates(), repr(queue)) == (0, [], [], "<FairQueue {}>")


def test_one_client_is_served_in_order() -> None:
    """First come, first served, whatever each costs; then nothing is left of it."""
    queue = filled({"a": [1, DEAREST, 0, 3 * QUANTUM]})
    assert (len(queue), repr(queue)) == (4, "<FairQueue {'a': 4}>")
    assert [item.number for item in served(queue, 3)] == [0, 1, 2]
    assert [item.number for item in queue.candidates()] == [3]
    assert [item.number for item in served(queue, 3)] == [3]
    assert (len(queue), repr(queue)) == (0, "<FairQueue {}>")


@pytest.mark.parametrize("places", [1, 2, 100])
def test_clients_take_turns_by_cost(places: int) -> None:
    """A quantum each time, however many places come free at a time: who asks for more waits for it."""
    queue = filled({"a": [QUANTUM] * 4, "b": [QUANTUM // 2] * 8, "c": [2 * QUANTUM] * 2})
    order = ""
    while queue:
        order += whose(served(queue, places))
    assert order == "abbabbcabbabbc"


def test_a_turn_goes_on_when_the_next_place_comes_free() -> None:
    """A line that was interrupted has what it had left, and gets no second quantum for it."""
    queue = filled({"a": [QUANTUM // 4] * 9, "b": [QUANTUM] * 9})
    assert whose(served(queue, 3)) == "aaa"
    assert served(queue, 0) == []
    assert whose(served(queue, 3)) == "aba"


def test_who_comes_late_waits_one_turn_of_the_others() -> None:
    """Not for all that they have brought."""
    queue = filled({"a": [QUANTUM] * 100, "b": [QUANTUM] * 100})
    served(queue, 10)
    queue.put("c", Item("c", 0, QUANTUM), QUANTUM)
    assert "c" in whose(served(queue, 3))


def test_what_is_saved_is_lost_with_the_line() -> None:
    """A client that waits for nothing gathers no right to overtake."""
    queue = filled({"a": [1], "b": [QUANTUM] * 9})
    served(queue, 2)
    for number in range(5):
        queue.put("a", Item("a", number, QUANTUM), QUANTUM)
    assert whose(served(queue, 4)) in ("abab", "baba")


def test_no_item_is_dearer_than_the_dearest() -> None:
    """So that it is served some day, however large it is."""
    turns = DEAREST // QUANTUM
    queue = filled({"a": [DEAREST * 1_000], "b": [QUANTUM] * turns * 2})
    assert whose(served(queue, turns + 1)).count("a") == 1


COSTS = st.sampled_from([0, 1, QUANTUM // 3, QUANTUM - 1, QUANTUM, QUANTUM + 1, 3 * QUANTUM, 40 * QUANTUM])
LINES = st.dictionaries(st.sampled_from("abcdef"), st.lists(COSTS, min_size=1, max_size=60), min_size=2)


@settings(max_examples=200, deadline=None, database=None)
@given(lines=LINES, places=st.lists(st.sampled_from([1, 1, 1, 2, 7]), min_size=200, max_size=200))
def test_whoever_waits_gets_the_same(lines: dict[str, list[int]], places: list[int]) -> None:
    """While all wait, no two differ by more than a quantum and one item, also one place at a time."""
    queue = filled(lines)
    got = dict.fromkeys(lines, 0)
    left = {client: len(costs) for client, costs in lines.items()}
    for free in places:
        for item in served(queue, free):
            got[item.client] += item.cost
            left[item.client] -= 1
            if not all(left.values()):
                return
            assert max(got.values()) - min(got.values()) <= QUANTUM + max(map(max, lines.values()))


def round_robin(lines: Mapping[str, Sequence[int]]) -> str:
    """The order of deficit round robin as it is written down: turn by turn."""
    turns = [(client, list(costs), 0) for client, costs in lines.items()]
    order = ""
    while turns:
        client, costs, deficit = turns.pop(0)
        deficit += QUANTUM
        while costs and costs[0] <= deficit:
            deficit -= costs.pop(0)
            order += client
        if costs:
            turns.append((client, costs, deficit))
    return order


@settings(max_examples=200, deadline=None, database=None)
@given(lines=LINES, places=st.integers(1, 9))
def test_the_order_is_that_of_deficit_round_robin(lines: dict[str, list[int]], places: int) -> None:
    """However many places come free at a time, and though rounds without effect are left out."""
    queue, order = filled(lines), ""
    while queue:
        order += whose(served(queue, places))
    assert order == round_robin(lines)


@settings(max_examples=200, deadline=None, database=None)
@given(
    busy=st.lists(COSTS.filter(bool), min_size=1, max_size=4),
    others=st.integers(1, 5),
    arrivals=st.lists(st.integers(0, 3), min_size=1, max_size=60),
)
def test_a_client_with_little_is_not_held_up(busy: list[int], others: int, arrivals: list[int]) -> None:
    """One that asks now and then waits a turn of each of the others, however fast they bring more."""
    names = [f"busy{number}" for number in range(others)]
    queue = filled(dict.fromkeys(names, busy * 100))
    for pause in arrivals:
        served(queue, pause)
        mine = Item("small", 0, QUANTUM)
        queue.put("small", mine, QUANTUM)
        spent = dict.fromkeys(names, 0)
        while mine in queue.candidates():
            for item in served(queue):
                if item.client != "small":
                    spent[item.client] += item.cost
                    queue.put(item.client, item, item.cost)
        assert max(spent.values()) <= 2 * QUANTUM + max(busy)


def test_overflow_takes_from_the_end_of_the_longest_line() -> None:
    """Whoever asked: a client with little always gets in, one with much loses its latest."""
    queue = filled({"a": [1] * 3, "b": [1]}, most=4)
    gone = queue.put("c", Item("c", 0, 1), 1)
    assert gone == Item("a", 2, 1)
    assert queue.put("a", Item("a", 9, 1), 1) == Item("a", 9, 1)
    assert repr(queue) == "<FairQueue {'a': 2, 'b': 1, 'c': 1}>"
    assert len(queue) == 4


def test_overflow_between_equals_is_at_the_cost_of_who_asks() -> None:
    """Nobody loses a place to one who has as much already."""
    queue = filled({"a": [1, 1], "b": [1]}, most=3)
    assert queue.put("b", Item("b", 1, 1), 1) == Item("b", 1, 1)
    assert repr(queue) == "<FairQueue {'a': 2, 'b': 1}>"


def test_room_may_be_made_for_another_queue() -> None:
    """The last of the longest line goes, of that of whoever asks among equals."""
    queue = filled({"a": [1, 1], "b": [1, 1], "c": [1]})
    assert queue.shed("b") == Item("b", 1, 1)
    assert queue.shed("b") == Item("a", 1, 1)
    assert queue.shed() == Item("a", 0, 1)
    assert repr(queue) == "<FairQueue {'b': 1, 'c': 1}>"


def test_only_the_next_are_looked_at() -> None:
    """All that are offered something while the first cannot go on, and nobody else."""
    queue = filled({f"c{number}": [1] * (OTHERS + 5) for number in range(OTHERS + 5)})
    offered: list[Item] = []

    def refuse(item: Item) -> bool:
        offered.append(item)
        return False

    queue.serve(refuse)
    behind = [("c0", number) for number in range(1 + OTHERS)]
    others = [(f"c{number}", 0) for number in range(1, 1 + OTHERS)]
    assert [(item.client, item.number) for item in offered] == behind + others
    assert queue.candidates() == offered


def test_a_queue_that_may_hold_nothing_holds_nothing() -> None:
    """Its items come back at once."""
    queue = Queue(0)
    assert queue.put("a", Item("a", 0, 1), 1) == Item("a", 0, 1)
    assert (len(queue), served(queue)) == (0, [])


@settings(max_examples=200, deadline=None, database=None)
@given(
    most=st.integers(1, 12),
    puts=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([0, 0, 0, 1])), max_size=60),
)
def test_a_full_queue_is_shared(most: int, puts: list[tuple[str, int]]) -> None:
    """It never holds too much; and what goes was the last of a line that none is longer than."""
    queue, lines = Queue(most), dict[str, list[Item]]()
    for number, (client, places) in enumerate(puts):
        item = Item(client, number, 1)
        lines.setdefault(client, []).append(item)
        gone = queue.put(client, item, 1)
        if gone is not None:
            assert len(lines[gone.client]) == max(map(len, lines.values()))
            assert lines[gone.client].pop() == gone
        for taken in served(queue, places):
            assert lines[taken.client].pop(0) == taken
        assert len(queue) == sum(map(len, lines.values())) <= most


def test_who_leaves_is_not_served() -> None:
    """From wherever in its line; leaving twice, or without having waited, is harmless."""
    queue = filled({"a": [1, 1, 1], "b": [1]})
    first, last = Item("a", 0, 1), Item("a", 3, 1)
    queue.put("a", last, 1)
    queue.remove("a", last)
    queue.remove("a", last)
    queue.remove("c", last)
    queue.remove("a", first)  # equal to one that waits, but not that one
    assert len(queue) == 4
    head = queue.candidates()[0]
    queue.remove("a", head)
    assert [item.number for item in queue.candidates()] == [1, 2, 0]
    queue.remove("b", queue.candidates()[2])
    assert (len(queue), repr(queue)) == (2, "<FairQueue {'a': 2}>")
    assert [item.number for item in served(queue, 9)] == [1, 2]


def test_of_equal_items_the_one_that_left_is_gone() -> None:
    """And not the first that looks like it."""
    queue = FairQueue[list[int]](9)
    first, second = [1], [1]
    queue.put("a", first, 1)
    queue.put("a", second, 1)
    queue.remove("a", second)
    assert queue.candidates()[0] is first
    assert len(queue) == 1


def test_others_go_on_while_the_first_cannot() -> None:
    """What they wait for may be another thing: so many lines are asked, and have all that they can have."""
    names = [chr(ord("a") + number) for number in range(OTHERS + 3)]
    queue = filled({name: [QUANTUM, QUANTUM] for name in names})
    free = whose(served(queue, 99, but=["a", "c"]))
    assert free == "".join(name * 2 for name in names[1 : 1 + OTHERS] if name != "c")
    assert [item.client for item in queue.candidates()] == ["a", "a", "c", *names[1 + OTHERS :]]


def test_those_behind_the_first_go_on_while_it_cannot() -> None:
    """So many of its own line are asked as well, each for what it waits for; the others keep their order."""
    queue = filled({"a": [1] * (OTHERS + 4)})
    taken: list[int] = []

    def serve(item: Item) -> bool:
        if item.number in (0, 2, 3):
            return False
        taken.append(item.number)
        return True

    queue.serve(serve)
    assert taken == [1, *range(4, OTHERS + 1)]
    assert [item.number for item in served(queue, 99)] == [0, 2, 3, *range(OTHERS + 1, OTHERS + 4)]
    assert len(queue) == 0


def test_who_went_out_of_turn_pays_for_it() -> None:
    """When the first can go on, it gets what the other has had before."""
    queue = filled({"a": [QUANTUM] * 9, "b": [QUANTUM] * 9})
    assert whose(served(queue, 3, but=["a"])) == "bbb"
    assert whose(served(queue, 6)) == "aaaaba"


def test_rounds_in_which_nobody_can_pay_are_gone_through_at_once() -> None:
    """The order is the same as if they had been gone through one by one, however many they are."""
    costs = {"a": [DEAREST, 1], "b": [DEAREST - QUANTUM, QUANTUM, 1], "c": [DEAREST]}
    for debt in (0, 10**15 * QUANTUM):
        queue = filled(costs)
        for line in queue._lines.values():
            line.deficit -= debt
        assert whose(served(queue, 6)) == "babcab"


def test_who_had_a_turn_in_vain_is_next() -> None:
    """It stands before all others, what it paid is its again, and it pays once."""
    queue = filled({"a": [QUANTUM] * 3, "b": [QUANTUM] * 3})
    (first,) = served(queue)
    queue.put_back("a", first, first.cost)
    assert len(queue) == 6
    assert queue.candidates()[0] is first
    assert whose(served(queue, 6)) == "ababab"


def test_one_without_a_line_gets_it_back() -> None:
    """Also where it was the only one of its client, or dearer than the dearest."""
    queue = filled({"a": [DEAREST * 2], "b": [QUANTUM] * 9})
    queue.remove("a", queue.candidates()[0])
    dear = Item("a", 7, DEAREST * 2)
    queue.put_back("a", dear, dear.cost)
    queue.put("a", Item("a", 8, QUANTUM), QUANTUM)
    assert whose(served(queue, 4)) == "abab"


def test_debts_are_forgiven_with_a_turn_in_vain() -> None:
    """It went out of turn and has had nothing of it."""
    queue = filled({"a": [QUANTUM] * 9, "b": [QUANTUM] * 9})
    *_, last = served(queue, 3, but=["a"])
    queue.put_back("b", last, last.cost)
    assert whose(served(queue, 4)) == "baba"
