"""The process's own standard streams: a clean channel for results, whatever libraries print."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TextIO

_STDIN, _STDOUT, _STDERR = 0, 1, 2


# As a shell reports a program that ended because nobody read on (128 + SIGPIPE).
CLOSED = 141


def program_name(module: str, script: str) -> str:
    """How this process was called: by its console script, or else as ``python -m module``."""
    return script if Path(sys.argv[0]).stem == script else f"python -m {module}"


def while_read(command: Callable[[TextIO], int], output: TextIO) -> int:
    """The exit code of ``command(output)``, or ``CLOSED`` where the reader of ``output`` (``| head``) is gone."""
    try:
        code = command(output)
        output.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, output.fileno())
        os.close(nowhere)
        return CLOSED
    return code


def claim_stdout() -> TextIO:
    """A private UTF-8 stream to standard output; whatever else is printed there from now on goes to standard error."""
    return _claim(sys.stdout, _STDOUT, _STDERR)


def claim_stderr() -> TextIO:
    """A private UTF-8 stream to standard error; what libraries write there from now on is dropped."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        return _claim(sys.stderr, _STDERR, nowhere)
    finally:
        os.close(nowhere)


def claim_stdin() -> BinaryIO:
    """A private stream from standard input; programs started from here find theirs empty."""
    private = os.dup(_STDIN)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, _STDIN)
    os.close(nowhere)
    return os.fdopen(private, "rb")


def use_utf8() -> None:
    """Let both standard streams take any character, whatever the locale."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _claim(stream: TextIO, descriptor: int, replacement: int) -> TextIO:
    stream.flush()
    private = os.dup(descriptor)
    os.dup2(replacement, descriptor)
    return os.fdopen(private, "w", encoding="utf-8", errors="backslashreplace", newline="\n", buffering=1)
