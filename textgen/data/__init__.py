"""Files to text, to ids, to the windows that training reads.

files -> source -> corpus -> splits -> dataset -> streams
"""

from textgen.data.corpus import Corpus as Corpus
from textgen.data.corpus import read as read
from textgen.data.dataset import Material as Material
from textgen.data.dataset import gather as gather
from textgen.data.encodings import Reading as Reading
from textgen.data.encodings import reading_of as reading_of
from textgen.data.records import IGNORED as IGNORED
from textgen.data.records import Items as Items
from textgen.data.records import framed as framed
from textgen.data.source import Source as Source
from textgen.data.spans import BASE as BASE
from textgen.data.spans import SPAN as SPAN
from textgen.data.spans import Spans as Spans
from textgen.data.spans import copied as copied
from textgen.data.spans import longest_shared as longest_shared
from textgen.data.spans import windows as windows
from textgen.data.splits import OWN as OWN
from textgen.data.splits import bounds_of as bounds_of
from textgen.data.splits import cut as cut
from textgen.data.streams import ItemStreams as ItemStreams
from textgen.data.streams import Streams as Streams

__all__ = [
    "BASE",
    "IGNORED",
    "OWN",
    "SPAN",
    "Corpus",
    "ItemStreams",
    "Items",
    "Material",
    "Reading",
    "Source",
    "Spans",
    "Streams",
    "bounds_of",
    "copied",
    "cut",
    "framed",
    "gather",
    "longest_shared",
    "read",
    "reading_of",
    "windows",
]
