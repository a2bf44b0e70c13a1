"""The command line: parse, call the library once, print.

words -> app -> parser -> one file a command
"""

from textgen.cli.app import main as main

__all__ = ["main"]
