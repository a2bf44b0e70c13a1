"""Every character of Unicode through every tokenizer and back.

PYTHONPATH=tests python tests/reliability/round_trips.py
"""

import json

from factories import learn_tokenizer

TOKENIZERS = ("char", "byte", "bpe", "unigram")
TEXT = "Every character is read by itself, some with others, and all of them come back.\n" * 20
# Of the code points that halves of surrogate pairs have, none is a character.
CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
BLOCK = 1000


def run(every=1, report=print):
    """Encode and decode every n-th block of characters; return how many came back."""
    row = {"tried": 0, "clean": 0}
    for kind in TOKENIZERS:
        tokenizer = learn_tokenizer(kind, TEXT)
        for first in range(0, len(CHARACTERS), BLOCK * every):
            text = "".join(CHARACTERS[first : first + BLOCK])
            if kind == "char":
                # Its alphabet is that of its text.
                tokenizer = learn_tokenizer(kind, text)
            back = tokenizer.decode(tokenizer.encode(text))
            same = sum(a == b for a, b in zip(text, back, strict=False))
            row["tried"] += len(text)
            row["clean"] += same if len(back) == len(text) else 0
            if back != text:
                report(f"{kind}: not all characters from U+{ord(text[0]):04X} on come back")
    return {"a character through a tokenizer and back": row}


if __name__ == "__main__":
    print(json.dumps(run()))
