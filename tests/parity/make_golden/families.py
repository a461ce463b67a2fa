"""All golden cases, each with the reference that answers it."""

import importlib.util

from . import clips, codecs, oracle, stable_audio_3, transformers


def cases():
    """Pairs of a case without answers and the function that records them; Stable Audio 3 where it can be imported."""
    for module in (codecs, transformers, clips):
        for case in module.cases():
            yield case, oracle.record
    if importlib.util.find_spec("stable_audio_3"):
        from . import oracle_sa3

        for case in stable_audio_3.cases():
            yield case, oracle_sa3.record
