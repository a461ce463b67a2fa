"""A tokenizer small enough to be described by its list of pieces; the same file feeds PyTorch and us."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

SPECIAL = ["<pad>", "</s>", "<unk>"]


def build(pieces: list[str]) -> Tokenizer:
    """A unigram tokenizer of T5's form: pad 0, end of sentence 1 (appended), unknown 2, then ``pieces``."""
    vocabulary = [(p, 0.0) for p in SPECIAL] + [(p, -2.0 - 0.05 * i + 0.4 * len(p)) for i, p in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer
