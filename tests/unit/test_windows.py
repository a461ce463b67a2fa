"""Windows over a long sound: every frame is made once, each window sees what it continues, none is too large."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stable_audio_mlx.sampling.windows import Windows


def gaps(total: int, *ranges: tuple[int, int]) -> np.ndarray:
    keep = np.ones(total, bool)
    for start, end in ranges:
        keep[start:end] = False
    return keep


def check(keep: np.ndarray, windows: Windows) -> list:
    known, pieces = keep.copy(), windows.over(keep)
    for piece in pieces:
        assert 0 <= piece.start <= piece.first < piece.behind <= piece.start + piece.frames
        assert piece.frames == windows.most if windows.whole else piece.frames <= windows.most
        assert piece.start % windows.grid == 0
        assert not known[piece.first], "what is made was not there"
        assert known[piece.start : piece.first].all(), "what a window sees in front of it is there"
        assert piece.first - piece.start >= min(windows.context, piece.first)
        if piece.behind < len(keep) and not known[piece.behind]:
            assert piece.start + piece.frames - piece.behind >= min(windows.tail, windows.most - 1), "no ending is used"
        known[piece.first : piece.behind] = True
    assert known.all()
    return pieces


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("grid", [1, 2])
@given(data=st.data())
def test_any_gaps(whole, grid, data):
    most = data.draw(st.integers(20, 60))
    total = data.draw(st.integers(most + 1, 5 * most))
    ends = sorted(data.draw(st.lists(st.integers(0, total), min_size=2, max_size=6, unique=True)))
    keep = gaps(total, *zip(ends[::2], ends[1::2], strict=False))
    check(keep, Windows(most, context=most // 3, tail=most // 8, whole=whole, grid=grid))


def test_a_long_sound_from_nothing():
    pieces = check(gaps(300, (0, 300)), Windows(80, 26, 10, whole=True))
    assert [(p.start, p.first, p.behind) for p in pieces][:3] == [(0, 0, 70), (44, 70, 114), (88, 114, 158)]
    assert pieces[-1].behind == 300


def test_a_gap_is_made_between_what_stands_on_both_sides():
    (fixed,) = check(gaps(300, (100, 120)), Windows(80, 26, 10, whole=True))
    assert (fixed.start, fixed.frames) == (70, 80), "as much on the one side as on the other"
    (short,) = check(gaps(300, (100, 125)), Windows(80, 26, 10, whole=False))
    assert (short.start, short.frames) == (74, 77), "no more than needed"


def test_windows_that_continue_begin_on_a_bar():
    bar = 39.9
    pieces = check(gaps(300, (70, 300)), Windows(80, 26, 10, whole=True, bar=bar))
    assert len(pieces) > 3
    for piece in pieces:
        assert abs(piece.start / bar - round(piece.start / bar)) * bar <= 0.51 or piece.start == 0
