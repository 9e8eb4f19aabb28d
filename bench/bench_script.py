"""What the scripts of this folder have in common: how they read counts, and how they end when nobody reads them."""

import argparse
import os
import signal
import sys


def count(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no count: 1 or more")
    return int(text)


def counts(text):
    """Several, as `8,16`."""
    return [count(each) for each in text.split(",")]


def run(main):
    """Ends as other programs do when the reader of their output goes away, as `head` does."""
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
