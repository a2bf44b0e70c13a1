"""Bytes on disk: a file is the old one or the complete new one, and verified when read.

chunks -> atomic -> file; arrays and settings -> tensorfile -> file
"""

from textgen.files.assets import shipped as shipped
from textgen.files.atomic import LOCK as LOCK
from textgen.files.atomic import check_name as check_name
from textgen.files.atomic import locked as locked
from textgen.files.atomic import sync_folder as sync_folder
from textgen.files.atomic import write_atomically as write_atomically
from textgen.files.atomic import write_error as write_error
from textgen.files.atomic import write_output as write_output
from textgen.files.json_object import JsonObject as JsonObject
from textgen.files.tensorfile import FORMAT_VERSION as FORMAT_VERSION
from textgen.files.tensorfile import RETRAIN as RETRAIN
from textgen.files.tensorfile import Tensors as Tensors
from textgen.files.tensorfile import read_tensors as read_tensors
from textgen.files.tensorfile import write_plain_tensors as write_plain_tensors
from textgen.files.tensorfile import write_tensors as write_tensors

__all__ = [
    "FORMAT_VERSION",
    "LOCK",
    "RETRAIN",
    "JsonObject",
    "Tensors",
    "check_name",
    "locked",
    "read_tensors",
    "shipped",
    "sync_folder",
    "write_atomically",
    "write_error",
    "write_output",
    "write_plain_tensors",
    "write_tensors",
]
