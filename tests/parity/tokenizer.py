"""A tokenizer small enough to be described by its list of pieces; the same file feeds PyTorch and us."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

SPECIAL = ["<pad>", "</s>", "<unk>"]


def build(pieces: list[str], gemma: bool = False) -> Tokenizer:
    """A unigram tokenizer of T5's form: pad 0, end of sentence 1 (appended), unknown 2, then ``pieces``.

    ``gemma``: of Gemma's form, where words begin unmarked and nothing is appended.
    """
    special = ["<pad>", "<eos>", "<bos>", "<unk>"] if gemma else SPECIAL
    unknown = special.index("<unk>")
    vocabulary = [(p, 0.0) for p in special] + [(p, -2.0 - 0.05 * i + 0.4 * len(p)) for i, p in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=unknown))
    tokenizer.add_special_tokens(special)
    tokenizer.decoder = decoders.Metaspace()
    if gemma:
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        return tokenizer
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer
