"""From a model that predicts the next id to text.

logits -> constraints, chain of filters -> draw -> row -> generator -> batch, beams
"""

from textgen.sampling.batch import Text as Text
from textgen.sampling.batch import different_texts as different_texts
from textgen.sampling.batch import write_texts as write_texts
from textgen.sampling.beams import beam_search as beam_search
from textgen.sampling.constraints import Limits as Limits
from textgen.sampling.constraints import allowed_ids as allowed_ids
from textgen.sampling.constraints import bias_of as bias_of
from textgen.sampling.constraints import make_limits as make_limits
from textgen.sampling.draw import new_seed as new_seed
from textgen.sampling.generator import Step as Step
from textgen.sampling.generator import generate as generate
from textgen.sampling.generator import read_prime as read_prime
from textgen.sampling.state import SamplingState as SamplingState
from textgen.sampling.state import load_state as load_state

__all__ = [
    "Limits",
    "SamplingState",
    "Step",
    "Text",
    "allowed_ids",
    "beam_search",
    "bias_of",
    "different_texts",
    "generate",
    "load_state",
    "make_limits",
    "new_seed",
    "read_prime",
    "write_texts",
]
