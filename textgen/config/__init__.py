"""What a user can choose, as frozen dataclasses that are checked when they are made.

options -> notations, fields -> ModelConfig, TrainConfig, SampleConfig
"""

from textgen.config.fields import SCHEDULE as SCHEDULE
from textgen.config.fields import check_choice as check_choice
from textgen.config.fields import check_needs as check_needs
from textgen.config.fields import conflict as conflict
from textgen.config.fields import did_you_mean as did_you_mean
from textgen.config.fields import field_types as field_types
from textgen.config.fields import from_json as from_json
from textgen.config.fields import option_name as option_name
from textgen.config.fields import to_json as to_json
from textgen.config.model import GATES as GATES
from textgen.config.model import ModelConfig as ModelConfig
from textgen.config.notations import expand as expand
from textgen.config.notations import parse_bias as parse_bias
from textgen.config.notations import schedule as schedule
from textgen.config.notations import split_shares as split_shares
from textgen.config.notations import unescape as unescape
from textgen.config.sample import OUTPUT_OPTIONS as OUTPUT_OPTIONS
from textgen.config.sample import SampleConfig as SampleConfig
from textgen.config.sample import SampleOptions as SampleOptions
from textgen.config.train import DEVICES as DEVICES
from textgen.config.train import NEWLINE_CHOICES as NEWLINE_CHOICES
from textgen.config.train import NORMALIZE_CHOICES as NORMALIZE_CHOICES
from textgen.config.train import TrainConfig as TrainConfig
from textgen.config.train import TrainOptions as TrainOptions

__all__ = [
    "DEVICES",
    "GATES",
    "NEWLINE_CHOICES",
    "NORMALIZE_CHOICES",
    "OUTPUT_OPTIONS",
    "SCHEDULE",
    "ModelConfig",
    "SampleConfig",
    "SampleOptions",
    "TrainConfig",
    "TrainOptions",
    "check_choice",
    "check_needs",
    "conflict",
    "did_you_mean",
    "expand",
    "field_types",
    "from_json",
    "option_name",
    "parse_bias",
    "schedule",
    "split_shares",
    "to_json",
    "unescape",
]
