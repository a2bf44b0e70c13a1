"""The ids of a textgen model, for transformers: characters, bytes, or pieces of SentencePiece.

Every text comes back as it was, except for characters that the model does not know: these are the
id 0, which is written as U+FFFD.
"""

import json
import os
import re
import shutil
from typing import ClassVar

from transformers import PreTrainedTokenizer

UNKNOWN, BOUNDARY = "<unk>", "<boundary>"
# What SentencePiece writes for a space.
SPACE = "\u2581"
SURROGATES = re.compile("[\ud800-\udfff]")


class TextgenTokenizer(PreTrainedTokenizer):
    """One token a character, a byte or a piece; a record begins with the token <boundary>."""

    vocab_files_names: ClassVar = {"vocab_file": "vocab.json", "model_file": "pieces.model"}
    model_input_names: ClassVar = ["input_ids", "attention_mask"]

    def __init__(self, vocab_file, model_file=None, **others):
        """Read the vocabulary, and SentencePiece's model where the ids are its pieces."""
        with open(vocab_file, encoding="utf-8") as file:
            vocabulary = json.load(file)
        self.kind, self.boundary_id = vocabulary["kind"], vocabulary["boundary_id"]
        self.files = [path for path in (vocab_file, model_file) if path]
        if self.kind == "char":
            self.names = [UNKNOWN, *vocabulary["characters"][1:]]
        elif self.kind == "byte":
            self.names = [f"<0x{byte:02X}>" for byte in range(256)]
        else:
            self._read_pieces(model_file)
        if self.boundary_id is not None:
            self.names = [*self.names[: self.boundary_id], BOUNDARY]
            for name in ("bos_token", "eos_token", "pad_token"):
                others.setdefault(name, BOUNDARY)
        elif self.kind != "byte":
            others.setdefault("pad_token", UNKNOWN)
        self.ids = {name: number for number, name in enumerate(self.names)}
        # What stands in a text is text, though it look like one of the tokens above.
        others["split_special_tokens"] = True
        others["clean_up_tokenization_spaces"] = False
        others.setdefault("padding_side", "left")
        super().__init__(**others)

    def _read_pieces(self, model_file):
        from sentencepiece import SentencePieceProcessor

        self.pieces = SentencePieceProcessor(model_file=model_file)
        self.names = [self.pieces.id_to_piece(i) for i in range(self.pieces.get_piece_size())]

    @property
    def vocab_size(self):
        """How many ids there are."""
        return len(self.names)

    def get_vocab(self):
        """Return the id of each token."""
        return dict(self.ids)

    def _tokenize(self, text, **others):
        if self.kind == "char":
            return list(text)
        text = SURROGATES.sub("\ufffd", text)
        if self.kind == "byte":
            return [f"<0x{byte:02X}>" for byte in text.encode()]
        # The library takes its sign of a space for a space, so its bytes stand in its place.
        spelled = [f"<0x{byte:02X}>" for byte in SPACE.encode()]
        tokens = []
        for number, part in enumerate(text.split(SPACE)):
            tokens += spelled if number else []
            tokens += self.pieces.encode(part, out_type=int) if part else []
        return [token if isinstance(token, str) else self.names[token] for token in tokens]

    def _convert_token_to_id(self, token):
        return self.ids.get(token, 0)

    def _convert_id_to_token(self, index):
        return self.names[index]

    def convert_tokens_to_string(self, tokens):
        """Return the text of tokens."""
        if self.kind == "char":
            return "".join("\ufffd" if token == UNKNOWN else token for token in tokens)
        return b"".join(map(self._bytes_of, tokens)).decode("utf-8", "replace")

    def _bytes_of(self, token):
        """Return what a token stands for in UTF-8."""
        if re.fullmatch("<0x[0-9A-F]{2}>", token):
            return bytes([int(token[3:5], 16)])
        if token == UNKNOWN and self.kind != "byte":
            return b""
        return token.replace(SPACE, " ").encode()

    def build_inputs_with_special_tokens(self, token_ids_0, token_ids_1=None):
        """Return ids with the boundary before each record."""
        first = [] if self.boundary_id is None else [self.boundary_id]
        return first + token_ids_0 + ([] if token_ids_1 is None else first + token_ids_1)

    def save_vocabulary(self, save_directory, filename_prefix=None):
        """Copy the files of the vocabulary into a folder; return where they are."""
        saved = []
        for path in self.files:
            name = (f"{filename_prefix}-" if filename_prefix else "") + os.path.basename(path)
            saved.append(os.path.join(save_directory, name))
            if os.path.abspath(path) != os.path.abspath(saved[-1]):
                shutil.copyfile(path, saved[-1])
        return tuple(saved)
