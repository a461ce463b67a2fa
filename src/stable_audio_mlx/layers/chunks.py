"""Overlapping chunks of a long signal, computed one by one and joined without a crossfade."""

from collections.abc import Callable, Iterator

import mlx.core as mx

from ..errors import OptionError


def join_chunks(
    part: Callable[[int, int], mx.array], total: int, chunk_size: int, overlap: int, ratio: int = 1, step: int = 1
) -> mx.array:
    """Concatenate ``part(start, stop)``, each kept from the middle of one overlap to the middle of the next.

    All in latents; ``ratio`` is a part's frames per latent.  The last chunk ends with the signal, so it may share more.
    """
    if chunk_size < 1 or not 0 <= overlap < chunk_size:
        raise OptionError(f"chunk_size {chunk_size}, overlap {overlap}: needed is 0 <= overlap < chunk_size")
    kept = []
    for start, first, last, stop in chunks(total, chunk_size, overlap, step):
        y = part(start, stop)
        if stop < total:  # an odd stride makes every part a little short
            y = mx.pad(y, [(0, 0), (0, max(0, (stop - start) * ratio - y.shape[1])), (0, 0)])
        kept.append(mx.contiguous(y[:, (first - start) * ratio : (last - start) * ratio]))
        mx.eval(kept[-1])
    return mx.concatenate(kept, axis=1)


def chunks(total: int, chunk_size: int, overlap: int, step: int = 1) -> Iterator[tuple[int, int, int, int]]:
    """(start of a chunk, first and last frame to keep of it, its end), the chunk widened to multiples of ``step``."""
    starts = list(range(0, max(1, total - chunk_size + 1), chunk_size - overlap))
    if starts[-1] + chunk_size < total:
        starts.append(total - chunk_size)
    firsts = [0, *(start + overlap // 2 for start in starts[1:]), total]
    for i, start in enumerate(starts):
        stop = -(-(start + chunk_size) // step) * step
        yield start // step * step, firsts[i], firsts[i + 1], min(stop, total)
