"""From a model that predicts the next id to text.

logits -> constraints, chain of filters -> draw -> row -> generator -> together, batch, beams
"""

from textgen.sampling.batch import Text as Text
from textgen.sampling.batch import different_texts as different_texts
from textgen.sampling.batch import write_texts as write_texts
from textgen.sampling.beams import beam_search as beam_search
from textgen.sampling.constraints import Constraints as Constraints
from textgen.sampling.draw import choose_seed as choose_seed
from textgen.sampling.generator import Step as Step
from textgen.sampling.generator import TextGenerator as TextGenerator
from textgen.sampling.generator import generate as generate
from textgen.sampling.generator import log_probabilities as log_probabilities
from textgen.sampling.generator import read_prime as read_prime
from textgen.sampling.row import select_ids as select_ids
from textgen.sampling.state import SamplingState as SamplingState
from textgen.sampling.state import load_state as load_state
from textgen.sampling.state import take_rows as take_rows
from textgen.sampling.together import Together as Together
from textgen.sampling.together import read_side_by_side as read_side_by_side

__all__ = [
    "Constraints",
    "SamplingState",
    "Step",
    "Text",
    "TextGenerator",
    "Together",
    "beam_search",
    "choose_seed",
    "different_texts",
    "generate",
    "load_state",
    "log_probabilities",
    "read_prime",
    "read_side_by_side",
    "select_ids",
    "take_rows",
    "write_texts",
]
