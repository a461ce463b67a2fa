"""All golden cases, each with the reference that answers it."""

from . import clips, codecs, oracle, transformers


def cases():
    """Pairs of a case without answers and the function that records them."""
    for module in (codecs, transformers, clips):
        for case in module.cases():
            yield case, oracle.record
