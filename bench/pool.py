"""Signed load on the disk: made once for a seed, in two processes, and read by mapping it.

    build/bench/load/plain-5-20261120/00000.jws     10,000 statements, one a line
    build/bench/load/mixed-…-20261120/00003.jws

What one part holds follows from its number alone, so parts can be made in any order, and more of them later.
A request's body is a slice of the file: the sender copies nothing but into its socket.
"""

from __future__ import annotations

import mmap
import os
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from bench import load
from bench.server import ORIGIN
from bench.shapes import Mix, mixed

EMITTERS = 50
FOLDER = Path("build/bench/load")
VERSION = 1  # of what this module makes of a seed: raise it with every change


@dataclass(frozen=True, slots=True)
class Kind:
    """One load: `mix`, or object events of so many EPCs."""

    epcs: int
    part_count: int  # statements in a part: a multiple of every batch that is sent from it
    mix: Mix | None = None

    def name(self, seed: int) -> str:
        what = f"mixed-{self.mix.name()}" if self.mix is not None else f"plain-{self.epcs}"
        return f"{what}-{seed}-v{VERSION}"


def make_part(folder: Path, kind: Kind, seed: int, number: int) -> None:
    """Sign one part and bring it to the disk: what is still to be written would disturb the run."""
    path = folder / f"{number:05}.jws"
    if path.exists():
        return
    lines = load.emitters(EMITTERS, seed)
    signers = [load.Signer(emitter, ORIGIN) for emitter in lines]
    source = random.Random(f"{seed}/{kind.epcs}/{number}")
    each = kind.part_count // EMITTERS
    streams = [
        load.events(emitter, each, seed, kind.epcs, number)
        if kind.mix is None
        else islice(mixed(emitter, kind.mix, seed, number), each)
        for emitter in lines
    ]
    signed: list[bytes] = []
    for _ in range(each):
        for signer, stream in zip(signers, streams, strict=True):
            signed.append(signer.sign(next(stream), source.randbytes(16)))
            if kind.mix is not None and len(signed) > 1000 and source.random() < kind.mix.duplicates:
                signed[-1] = signed[-1 - source.randrange(500, 1000)]
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    with unfinished.open("wb") as file:
        file.write(b"\n".join(signed) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def make(kind: Kind, seed: int, count: int, *, processes: int = 2) -> Pool:
    """Have at least `count` statements of this kind on the disk, and open them."""
    folder = FOLDER / kind.name(seed)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(-(-count // kind.part_count))
    missing = [number for number in numbers if not (folder / f"{number:05}.jws").exists()]
    if missing:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as executor:
            list(executor.map(partial(make_part, folder, kind, seed), missing))
    return Pool(folder, kind, len(numbers))


class Part:
    """The statements of one file, mapped."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.view = memoryview(self._map)
        ends = np.flatnonzero(np.frombuffer(self._map, np.uint8) == ord("\n"))
        self.starts = [0, *(ends + 1).tolist()]

    def body(self, first: int, count: int) -> memoryview:
        """So many statements, one a line, without the last line's end."""
        return self.view[self.starts[first] : self.starts[first + count] - 1]

    def __len__(self) -> int:
        return len(self.starts) - 1


class Pool:
    """Statements in order; each is given out once."""

    def __init__(self, folder: Path, kind: Kind, parts: int) -> None:
        self._folder = folder
        self.kind = kind
        self._parts = parts
        self._at = (0, 0)  # part, statement

    def bodies(self, batch: int, count: int) -> Iterator[memoryview]:
        """Bodies of `batch` statements each, until `count` are given or there are no more."""
        number, first = self._at
        given = 0
        part: Part | None = None
        while number < self._parts and given < count:
            part = part or Part(self._folder / f"{number:05}.jws")
            if first + batch > len(part):
                part, number, first = None, number + 1, 0
                continue
            self._at = (number, first + batch)
            yield part.body(first, batch)
            first, given = first + batch, given + batch
