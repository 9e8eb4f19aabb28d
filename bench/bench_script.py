"""What the scripts of this folder have in common: how they read counts, and how they end when nobody reads them."""

import argparse
import os
import signal
import sys


def count(text, least=1):
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"'{text}' is no count: {least} or more")
    return int(text)


def counts(text):
    """Several, as `8,16`."""
    return [count(each) for each in text.split(",")]


def until_unread(main):
    """Ends as other programs do when the reader of their output goes away, as `head` does."""
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
