"""`python -m app`: the command line."""

import io
import sys

from app.cli import main

for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8")  # names of customers are in every script
sys.exit(main(sys.argv[1:]))
