"""Text to ids and back, without loss.

text -> char, byte or subword -> ids
"""

from textgen.tokenizers.auto import from_tensors as from_tensors
from textgen.tokenizers.auto import tokenizer_for as tokenizer_for
from textgen.tokenizers.base import BOUNDARY as BOUNDARY
from textgen.tokenizers.base import CODE_POINTS as CODE_POINTS
from textgen.tokenizers.base import UNKNOWN as UNKNOWN
from textgen.tokenizers.base import Ids as Ids
from textgen.tokenizers.base import Tokenizer as Tokenizer
from textgen.tokenizers.byte import ByteTokenizer as ByteTokenizer
from textgen.tokenizers.char import CharTokenizer as CharTokenizer
from textgen.tokenizers.char import code_points as code_points
from textgen.tokenizers.subword import SentencePieceTokenizer as SentencePieceTokenizer
from textgen.tokenizers.utf8 import Spelling as Spelling

__all__ = [
    "BOUNDARY",
    "CODE_POINTS",
    "UNKNOWN",
    "ByteTokenizer",
    "CharTokenizer",
    "Ids",
    "SentencePieceTokenizer",
    "Spelling",
    "Tokenizer",
    "code_points",
    "from_tensors",
    "tokenizer_for",
]
