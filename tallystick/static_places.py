"""Step 6 of 9, seen from outside: where a static copy is kept. A folder, or an object store.

A folder is for a web server beside us, or for rsync: every file is written apart, brought to the disk and
then given its name, and names are brought to the disk before the checkpoint that needs them. An object store
puts objects whole by itself; there the checkpoint is swapped by its ETag, so two publishers on two machines
cannot undo each other's work.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from tallystick.static_copy import (
    CopyForked,
    CopyMoved,
    Place,
    PlaceFailed,
    PlaceMalformed,
    Standing,
    cache_control,
)

if TYPE_CHECKING:
    from obstore.store import ObjectStore, RetryConfig

FILE_MODE = 0o644  # a web server's account reads them
FOLDER_MODE = 0o755
UPLOADS_AT_ONCE = 16
UPLOADS_WAITING_MAX = 64  # bodies held in memory: at most a few MB each
# A store that is away is told about soon; `--watch` goes on asking.
RETRIES: RetryConfig = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {
        "init_backoff": timedelta(milliseconds=200),
        "max_backoff": timedelta(seconds=2),
        "base": 2,
    },
}
SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "memory", "file")


def open_place(text: str) -> Place:
    """A folder's path, or an address such as s3://bucket/prefix. Raises PlaceMalformed.

    Credentials come from the environment, as for the provider's own tools (AWS_ACCESS_KEY_ID and so on).
    """
    if "://" not in text:
        return FolderPlace(Path(text))
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES or parts.query or parts.fragment or "@" in parts.netloc:
        raise PlaceMalformed(
            "publish.address", "give a folder, or an address like s3://bucket/prefix, without credentials"
        )
    if parts.scheme == "file":
        return FolderPlace(Path(parts.path))
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    try:
        if parts.scheme == "memory":
            return BucketPlace(from_url(text))
        return BucketPlace(from_url(text, retry_config=RETRIES))
    except (BaseError, ValueError) as error:
        raise PlaceMalformed("publish.address", f"{text} cannot be opened: {_said(error)}") from error


class FolderPlace:
    """A Place in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unsynced: set[Path] = set()  # folders in which names changed

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        with _file_errors():
            if not self._folder.is_dir():
                self._folder.mkdir(parents=True)
                self._unsynced.add(self._folder.parent)
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CopyMoved("publish.busy", f"another process publishes to {self._folder}") from None
            yield
        finally:
            os.close(descriptor)

    def read(self, name: str) -> Standing | None:
        with _file_errors():
            try:
                return Standing((self._folder / name).read_bytes(), None)
            except FileNotFoundError:
                return None

    def add(self, name: str, body: bytes, media_type: str) -> None:
        standing = self.read(name)
        if standing is None:
            self._write(name, body)
        elif standing.body != body:
            raise _differs(name)

    def overwrite(self, name: str, body: bytes, media_type: str) -> None:
        self._write(name, body)

    def replace(
        self, name: str, body: bytes, media_type: str, expected: Standing | None, *, mine: bool
    ) -> None:
        if mine and self.read(name) != expected:
            raise CopyMoved("publish.moved", f"{name} was replaced by somebody else meanwhile")
        self._write(name, body)
        self.settle()

    def settle(self) -> None:
        with _file_errors():
            for folder in self._unsynced:
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            self._unsynced.clear()

    def remove_under(self, prefix: str) -> int:
        folder = self._folder / prefix
        with _file_errors():
            try:
                names = sorted(folder.iterdir())
            except FileNotFoundError:
                return 0
            for file in names:
                file.unlink()
            folder.rmdir()
            self._unsynced.discard(folder)
            self._unsynced.add(folder.parent)
        return len(names)

    def _write(self, name: str, body: bytes) -> None:
        path = self._folder / name
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        with _file_errors():
            self._make_folders(path.parent)
            try:
                with unfinished.open("wb") as file:
                    os.fchmod(file.fileno(), FILE_MODE)
                    file.write(body)
                    file.flush()
                    os.fsync(file.fileno())
                unfinished.replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    unfinished.unlink()
                raise
            self._unsynced.add(path.parent)

    def _make_folders(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make_folders(folder.parent)
            folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            self._unsynced.add(folder.parent)


class BucketPlace:
    """A Place in an object store. It must be able to write on condition (If-Match, If-None-Match)."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._uploads: list[Future[None]] = []
        self._executor = ThreadPoolExecutor(UPLOADS_AT_ONCE, thread_name_prefix="publish")

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        # Other machines cannot be kept out. The checkpoint's ETag keeps order, and tiles are the same
        # whoever writes them.
        try:
            yield
        finally:
            self._uploads.clear()

    def read(self, name: str) -> Standing | None:
        import obstore

        with _store_errors(name):
            try:
                found = obstore.get(self._store, name)
                meta = found.meta
                known = {"e_tag": meta.get("e_tag"), "version": meta.get("version")}
                version = {name: value for name, value in known.items() if value is not None}
                return Standing(bytes(found.bytes()), version)
            except FileNotFoundError:
                return None

    def add(self, name: str, body: bytes, media_type: str) -> None:
        self._upload(self._create, name, body, media_type)

    def overwrite(self, name: str, body: bytes, media_type: str) -> None:
        self._upload(self._put, name, body, media_type, "overwrite")

    def replace(
        self, name: str, body: bytes, media_type: str, expected: Standing | None, *, mine: bool
    ) -> None:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        self.settle()
        mode = "overwrite" if not mine else "create" if expected is None else expected.version
        try:
            self._put(name, body, media_type, mode)
        except (AlreadyExistsError, PreconditionError) as error:
            raise CopyMoved("publish.moved", f"{name} was replaced by somebody else meanwhile") from error

    def settle(self) -> None:
        uploads, self._uploads = self._uploads, []
        for upload in uploads:
            upload.result()

    def remove_under(self, prefix: str) -> int:
        import obstore

        with _store_errors(prefix):
            names = [found["path"] for page in obstore.list(self._store, prefix=prefix) for found in page]
            if names:
                obstore.delete(self._store, names)
            return len(names)

    def _upload(self, put: Any, *arguments: Any) -> None:
        if len(self._uploads) >= UPLOADS_WAITING_MAX:
            self._uploads.pop(0).result()
        self._uploads.append(self._executor.submit(put, *arguments))

    def _create(self, name: str, body: bytes, media_type: str) -> None:
        from obstore.exceptions import AlreadyExistsError

        try:
            self._put(name, body, media_type, "create")
        except AlreadyExistsError:
            standing = self.read(name)
            if standing is None or standing.body != body:
                raise _differs(name) from None

    def _put(self, name: str, body: bytes, media_type: str, mode: Any) -> None:
        import obstore

        attributes = {"Content-Type": media_type, "Cache-Control": cache_control(name)}
        with _store_errors(name):
            obstore.put(self._store, name, body, attributes=cast(Any, attributes), mode=mode)


def _differs(name: str) -> CopyForked:
    return CopyForked(
        "publish.differs",
        f"{name} stands there with other bytes than this ledger's; what is published never changes, so it was"
        " left as it is and the checkpoint too",
    )


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or "the folder"
        raise PlaceFailed("publish.file", f"{where}: {error.strerror or error}") from error


@contextmanager
def _store_errors(name: str) -> Iterator[None]:
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

    try:
        yield
    except (AlreadyExistsError, PreconditionError, FileNotFoundError):
        raise
    except (BaseError, OSError) as error:
        raise PlaceFailed("publish.store", f"{name} at the object store: {_said(error)}") from error


def _said(error: BaseException) -> str:
    """The first line of what a driver says: further ones are for programmers."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
