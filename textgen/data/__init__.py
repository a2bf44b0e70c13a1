"""Files to text, to ids, to the windows that training reads.

files -> source -> corpus -> splits -> dataset -> streams
"""

from textgen.data.corpus import RARE as RARE
from textgen.data.corpus import Corpus as Corpus
from textgen.data.corpus import MappedIds as MappedIds
from textgen.data.corpus import TextIdentity as TextIdentity
from textgen.data.corpus import read as read
from textgen.data.dataset import Dataset as Dataset
from textgen.data.dataset import IdSource as IdSource
from textgen.data.dataset import load_dataset as load_dataset
from textgen.data.encodings import TextFormat as TextFormat
from textgen.data.fingerprints import find_overlap as find_overlap
from textgen.data.records import IGNORED as IGNORED
from textgen.data.records import Records as Records
from textgen.data.records import frame_records as frame_records
from textgen.data.records import shuffle_records as shuffle_records
from textgen.data.records import split_records as split_records
from textgen.data.source import Source as Source
from textgen.data.spans import BASE as BASE
from textgen.data.spans import SPAN_CHARS as SPAN_CHARS
from textgen.data.spans import Spans as Spans
from textgen.data.spans import longest_copies as longest_copies
from textgen.data.spans import longest_shared as longest_shared
from textgen.data.spans import mark_copied as mark_copied
from textgen.data.splits import PARTS as PARTS
from textgen.data.splits import SEPARATE_PARTS as SEPARATE_PARTS
from textgen.data.splits import Bounds as Bounds
from textgen.data.splits import Split as Split
from textgen.data.streams import RecordStreams as RecordStreams
from textgen.data.streams import Streams as Streams
from textgen.data.unicode import joins_previous as joins_previous
from textgen.data.workers import available_cores as available_cores

__all__ = [
    "BASE",
    "IGNORED",
    "PARTS",
    "RARE",
    "SEPARATE_PARTS",
    "SPAN_CHARS",
    "Bounds",
    "Corpus",
    "Dataset",
    "IdSource",
    "MappedIds",
    "RecordStreams",
    "Records",
    "Source",
    "Spans",
    "Split",
    "Streams",
    "TextFormat",
    "TextIdentity",
    "available_cores",
    "find_overlap",
    "frame_records",
    "joins_previous",
    "load_dataset",
    "longest_copies",
    "longest_shared",
    "mark_copied",
    "read",
    "shuffle_records",
    "split_records",
]
