#!/usr/bin/env python3
"""Writes tokenizers.json: tokenizers of the kinds that models come with (small ones, trained here), and what Hugging Face's own library
makes of texts with them. Each run trains a little differently (ties among pieces of words).

    pip install tokenizers==0.23.2        # 0.23.3 cuts pairs of which the first is longer in another way
    python tests/golden/tokenizers.py
"""

import json
import pathlib
import sys

# The library, not this file, which has its name.
sys.path.pop(0)
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

folder = pathlib.Path(__file__).parent
play = (folder.parent.parent / "examples" / "coriolanus.txt").read_text().splitlines()[:400]
texts = ["Before we proceed any further, hear me speak.", "", "You are all resolved rather to die than to famish?", "Speak, speak!",
         "naïve café — 猫 \U0001f600", "   white\t\tspace\n ", "proceed[PAD] </s> [SEP]"]
pairs = [("Speak, speak.", "Resolved. resolved."), ("We know't, we know't.", ""), ("", "Let us kill him, and we'll have corn at our own price.")]


def bert():
    """WordPiece as BERT has it: lower case, [CLS] and [SEP], types of pairs, padding named."""
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    t.train_from_iterator(play, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False))
    t.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)])
    t.decoder = decoders.WordPiece()
    t.enable_padding(pad_id=0, pad_token="[PAD]")
    return t


def gpt():
    """Byte pairs as GPT-2 has them: no special tokens around a text, none for padding."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    t.train_from_iterator(play, trainers.BpeTrainer(vocab_size=320, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet,
                                                    show_progress=False))
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.decoder = decoders.ByteLevel()
    return t


def t5():
    """Unigram as T5 has it, padded on the left to a multiple of 4 by its file, cut from the left at 16."""
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("''", '"')])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    t.train_from_iterator(play, trainers.UnigramTrainer(vocab_size=150, special_tokens=special, unk_token="<unk>", show_progress=False))
    t.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B:1 </s>:1", [("</s>", 1)])
    t.enable_padding(direction="left", pad_id=0, pad_token="<pad>", pad_to_multiple_of=4)
    t.enable_truncation(16, direction="left")
    return t


def rows(encoded):
    return {"ids": [e.ids for e in encoded], "mask": [e.attention_mask for e in encoded], "types": [e.type_ids for e in encoded]}


def case(name, t):
    text = t.to_str()
    out = {"name": name, "tokenizer": json.loads(text), "size": t.get_vocab_size()}
    out["single"] = []
    for s in texts:
        # Without the file's padding, which is for batches.
        alone = Tokenizer.from_str(text)
        alone.no_padding()
        ids = alone.encode(s).ids
        out["single"].append({"ids": ids, "plain": alone.encode(s, add_special_tokens=False).ids, "text": alone.decode(ids)})
    padded = Tokenizer.from_str(text)
    if padded.padding is None:
        padded.enable_padding(pad_id=0, pad_token="<|endoftext|>")
    out["batch"] = rows(padded.encode_batch(texts))
    out["pairs"] = rows(padded.encode_batch(pairs))
    keep = padded.padding
    for length in [5, 40]:
        padded.enable_padding(direction=keep["direction"], pad_id=keep["pad_id"], pad_token=keep["pad_token"], length=length)
        padded.enable_truncation(length, direction="left" if name == "t5" else "right")
        out[f"cut_{length}"] = rows(padded.encode_batch(texts))
        out[f"pairs_{length}"] = rows(padded.encode_batch(pairs))
    return out


cases = [case("bert", bert()), case("gpt", gpt()), case("t5", t5())]
text = json.dumps({"texts": texts, "pairs": pairs, "cases": cases}, ensure_ascii=False, separators=(",", ":"))
(folder / "tokenizers.json").write_text(text + "\n")
