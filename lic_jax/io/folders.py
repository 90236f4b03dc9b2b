"""Compresses a folder of images to a folder of streams, resumably; files are read and written in threads."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from lic_jax.arrays import RGB
from lic_jax.errors import LicError
from lic_jax.io.files import check_writable, make_folder, write_bytes
from lic_jax.io.images import image_paths, read_image

AHEAD = 4
"""Images that are read ahead of the encoding."""


class Failure(NamedTuple):
    """An image that was left out, and why."""

    path: Path
    reason: str


class Outcome(NamedTuple):
    """The result of a folder: streams written now, streams that existed, and images left out."""

    written: int
    skipped: int
    failures: tuple[Failure, ...]


def stream_paths(folder: Path, out: Path) -> dict[Path, Path]:
    """Returns the stream's path of each image of a folder: its name with `.lic` added, photo.png.lic.

    Raises:
      LicError: no such folder, or no image in it.
    """
    return {path: Path(out) / f"{path.name}.lic" for path in image_paths(folder)}


def compress_images(
    encode: Callable[[RGB], bytes], paths: Mapping[Path, Path], tick: Callable[[Path], object] = lambda path: None
) -> Outcome:
    """Compresses every image that has no stream yet.

    A stream is written to a temporary file and renamed when it is whole. So every existing stream is finished, and an
    interrupted run leaves nothing else. An image that cannot be compressed does not stop the others.

    Args:
      encode: an image → its stream; the images come one after another, in the order of `paths`.
      paths: each image's path → its stream's path, see `stream_paths`; missing folders are made.
      tick: called with every image that is done, skipped or left out.

    Raises:
      LicError: a folder for the streams cannot be written to.
    """
    for out in {stream.parent for stream in paths.values()}:
        make_folder(out)
        check_writable(out / "new.lic")
    todo = [(image, stream) for image, stream in paths.items() if not stream.exists()]
    for image in paths.keys() - dict(todo).keys():
        tick(image)
    failures: list[Failure] = []
    writes: list[tuple[Path, Future]] = []
    with ThreadPoolExecutor(max_workers=2) as threads:
        for (image, stream), pixels in zip(todo, _ahead(threads, [image for image, _ in todo]), strict=True):
            try:
                writes.append((image, threads.submit(write_bytes, stream, encode(pixels.result()))))
            except LicError as error:
                failures.append(Failure(image, str(error)))
            tick(image)
        for image, write in writes:
            try:
                write.result()
            except LicError as error:
                failures.append(Failure(image, str(error)))
    return Outcome(len(todo) - len(failures), len(paths) - len(todo), tuple(failures))


def _ahead(threads: ThreadPoolExecutor, paths: Sequence[Path]) -> Iterator[Future]:
    """Yields the images of files; threads read `AHEAD` files ahead."""
    reads: Iterable[Future] = (threads.submit(read_image, path) for path in paths)
    waiting = list(itertools.islice(reads, AHEAD))
    while waiting:
        yield waiting.pop(0)
        waiting.extend(itertools.islice(reads, 1))
