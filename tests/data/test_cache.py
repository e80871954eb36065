"""One budget of memory for all sources of a run."""

import pickle

import pytest

from mugato.data.cache import EpisodeCache, MemoryBudget


def test_sources_share_the_room_and_give_it_back():
    budget = MemoryBudget(10)
    first, second, third = (EpisodeCache(budget, num_bytes=size) for size in (6, 6, 4))
    assert (first.everything, second.everything, third.everything) == (True, False, True)
    del first
    assert EpisodeCache(budget, num_bytes=6).everything


def test_in_another_process_sources_share_a_budget_of_the_same_size():
    budget = MemoryBudget(10)
    cache = EpisodeCache(budget, num_bytes=6)
    one, other = pickle.loads(pickle.dumps([budget, budget]))
    assert one is other and (one.num_bytes, one.reserved) == (10, 0)
    assert cache.everything and budget.reserved == 6


@pytest.mark.parametrize(("num_bytes", "times_read"), [(10, 2), (11, 4)])
def test_without_room_only_the_last_is_kept(num_bytes: int, times_read: int):
    kept, read = EpisodeCache(MemoryBudget(10), num_bytes=num_bytes), []

    def get(key: int) -> int:
        return kept.get(key, lambda: read.append(key) or key)

    assert [get(key) for key in (0, 0, 1, 0, 0, 1)] == [0, 0, 1, 0, 0, 1]
    assert len(read) == times_read


def test_a_failed_read_keeps_what_was_there():
    kept = EpisodeCache(MemoryBudget(10), num_bytes=11)
    value = kept.get(0, lambda: ["read"])
    with pytest.raises(ZeroDivisionError):
        kept.get(1, lambda: 1 // 0)
    assert kept.get(0, lambda: ["anew"]) is value
