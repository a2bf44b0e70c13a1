"""Other names of tests/factories.py, for tests that still use them."""

from factories import assert_equal_tensors, refused
from factories import full_checkpoint as tiny
from factories import learn_tokenizer as units_of
from factories import random_checkpoint as network_of
from factories import with_counts_of as counted

__all__ = ["assert_equal_tensors", "counted", "network_of", "refused", "tiny", "units_of"]
