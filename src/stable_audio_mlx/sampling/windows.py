"""Which windows of a model a longer sound is made in: each sees some of what is there before it adds to it.

Everything is counted in latent frames.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Piece:
    """One window, ``frames`` from ``start`` on; of what it makes, the frames ``first`` to ``behind`` are used."""

    start: int
    frames: int
    first: int
    behind: int


@dataclass(frozen=True)
class Windows:
    """How windows lie: at most ``most`` frames (``whole``: always), ``context`` known ones beside what is made.

    The last ``tail`` frames of a window after which the sound goes on are not used: models make endings there.
    Where there is a ``bar``, a window that continues begins with one, as music made from nothing does.  Windows begin
    at multiples of ``grid``, the latents that the codec takes together.
    """

    most: int
    context: int
    tail: int
    whole: bool
    bar: float | None = None
    grid: int = 1

    def over(self, keep: np.ndarray) -> list[Piece]:
        """keep: (T,) bool, True on known frames -> the windows in which all others are made, in order."""
        known, pieces = keep.copy(), []
        while not known.all():
            first = int(np.argmin(known))
            behind = first + int(np.argmax(np.append(known[first:], True)))
            piece = self._around(known, first, behind) or self._from(len(known), first, behind)
            known[piece.first : piece.behind] = True
            pieces.append(piece)
        return pieces

    def _around(self, known: np.ndarray, first: int, behind: int) -> Piece | None:
        """One window for the whole gap and context on both sides, and for other gaps that fit into it."""
        total = len(known)
        right = min(self.context, total - behind)
        start = self._on_grid(max(first - self.context, 0))
        size = behind + right - start
        if size > self.most or (right == 0 and start):
            return None
        if self.whole:
            size = self.most
            start = self._on_grid(min(max(first - (size - (behind - first)) // 2, 0), max(total - size, 0)))
        while True:
            after = behind + int(np.argmax(np.append(~known[behind:], True)))
            end = after + int(np.argmax(np.append(known[after:], True)))
            if after >= total or end + min(self.context, total - end) > start + size:
                return Piece(start, size, first, behind)
            behind = end

    def _from(self, total: int, first: int, behind: int) -> Piece:
        """A window that continues what stands before a gap, as far into it as it reaches."""
        start = self._on_grid(self._on_bar(max(first - self.context, 0), first))
        size = self.most if self.whole else min(self.most, behind - start)
        reached = start + size
        if reached < behind:
            return Piece(start, size, first, max(reached - self.tail, first + 1))
        return Piece(start, size, first, behind)

    def _on_grid(self, start: int) -> int:
        return start - start % self.grid

    def _on_bar(self, start: int, first: int) -> int:
        """The last bar line before ``start``, if much of the window is left for what is new."""
        if self.bar is None or not start:
            return start
        line = int(start / self.bar) * self.bar
        return round(line) if first - line <= self.most / 2 else start
