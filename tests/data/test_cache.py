"""One allowance of memory for all sources of a process."""

import pytest

from mugato.data import cache as allowance
from mugato.data.cache import Kept


@pytest.fixture(autouse=True)
def room_for_ten_bytes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(allowance, "ALLOWANCE", 10)
    monkeypatch.setattr(allowance, "_reserved", 0)


def test_sources_share_the_room_and_give_it_back():
    first, second, third = Kept(num_bytes=6), Kept(num_bytes=6), Kept(num_bytes=4)
    assert (first.everything, second.everything, third.everything) == (True, False, True)
    del first
    assert Kept(num_bytes=6).everything


@pytest.mark.parametrize(("num_bytes", "times_read"), [(10, 2), (11, 4)])
def test_without_room_only_the_last_is_kept(num_bytes: int, times_read: int):
    kept, read = Kept(num_bytes=num_bytes), []

    def get(key: int) -> int:
        return kept.get(key, lambda: read.append(key) or key)

    assert [get(key) for key in (0, 0, 1, 0, 0, 1)] == [0, 0, 1, 0, 0, 1]
    assert len(read) == times_read


def test_a_failed_read_keeps_what_was_there():
    kept = Kept(num_bytes=11)
    value = kept.get(0, lambda: ["read"])
    with pytest.raises(ZeroDivisionError):
        kept.get(1, lambda: 1 // 0)
    assert kept.get(0, lambda: ["anew"]) is value
