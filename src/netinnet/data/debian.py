"""Files out of a Debian package, fetched with apt as an ordinary user: nothing is installed.

apt checks the archive's signature. Where the system has no package lists, or old ones, apt makes
its own in a temporary folder, and the system's stay as they are.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from netinnet.data.download import SourceError, store
from netinnet.data.original import OriginalFile
from netinnet.data.source import Progress
from netinnet.errors import DataError

APT_OPTIONS = (
    "-qq",
    "-oAcquire::Retries=1",
    "-oAcquire::http::Timeout=10",
    "-oAcquire::https::Timeout=10",
    "-oAcquire::Languages=none",  # no translations of package descriptions
)
UPDATE_SECONDS = 180
DOWNLOAD_SECONDS = 1800
POLL_SECONDS = 0.2


def fetch(
    wanted: Sequence[OriginalFile], package: str, inside: str, folder: Path, progress: Progress
) -> list[str]:
    """Put `wanted` into `folder` from the Debian package, whose folder `inside` holds NAME.gz.

    Returns why it failed, or an empty list. Raises NetinnetError if `folder` can't be written.
    """
    if shutil.which("apt-get") is None:
        return [f"Debian's {package}: there is no apt-get"]
    try:
        with tempfile.TemporaryDirectory(prefix="netinnet-") as temporary:
            work = Path(temporary)
            work.chmod(0o755)  # run by root, apt downloads as the user _apt, who must get in
            unpacked = unpack(_download(package, work, progress), inside, work)
            for file in wanted:
                path = unpacked / file.packed_name
                store(path.read_bytes(), file, folder, path.name)
    except (SourceError, DataError) as error:
        return [f"Debian's {package}: {error}"]
    except OSError as error:
        return [f"Debian's {package}: {error.strerror or error}"]
    return []


def _download(package: str, work: Path, progress: Progress) -> Path:
    """Download `package` into `work` with the system's package lists, else with new ones."""
    try:
        return _apt_download(package, work, [], progress)
    except SourceError:
        progress(f"package lists for {package}", 0, None)
        own = _own_lists(work)
        # Whatever update says (one unreachable archive of five), the download shows if it did.
        with contextlib.suppress(SourceError):
            _apt(["update"], own, work, UPDATE_SECONDS)
        return _apt_download(package, work, own, progress)


def _own_lists(work: Path) -> list[str]:
    """Options that make apt keep its lists and cache under `work`."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (work / name).mkdir(parents=True)
    return [
        f"-oDir::State={work / 'state'}",
        f"-oDir::State::lists={work / 'state/lists'}",
        f"-oDir::Cache={work / 'cache'}",
    ]


def _apt_download(package: str, work: Path, options: list[str], progress: Progress) -> Path:
    """Run apt-get download. Raises SourceError with apt's own last words."""
    described = _apt(["download", "--print-uris", package], options, work, UPDATE_SECONDS)
    size = re.search(r" \S+\.deb (\d+)", described)
    total = int(size[1]) if size else None
    archives = work / "archives"
    archives.mkdir(exist_ok=True)

    def watch() -> None:
        progress(f"{package} from Debian", min(_bytes_in(archives), total or sys.maxsize), total)

    _apt(["download", package], options, archives, DOWNLOAD_SECONDS, watch)
    for archive in archives.glob("*.deb"):
        return archive
    raise SourceError("apt-get downloaded nothing")


def _apt(
    arguments: list[str],
    options: list[str],
    folder: Path,
    seconds: float,
    watch: Callable[[], None] = lambda: None,
) -> str:
    """Return what apt-get prints, run in `folder`, calling `watch` now and then.

    Raises SourceError with apt's last error where it fails, and after `seconds`.
    """
    deadline = time.monotonic() + seconds
    with subprocess.Popen(
        ["apt-get", *APT_OPTIONS, *options, *arguments],
        cwd=folder,
        env=os.environ | {"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            while process.returncode is None:
                if time.monotonic() > deadline:
                    raise SourceError(f"apt-get {arguments[0]} took more than {seconds:g} s")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    output, errors = process.communicate(timeout=POLL_SECONDS)
                watch()
        finally:
            process.kill()  # nothing happens to one that has ended
    if process.returncode:
        lines = [line for line in errors.splitlines() if line.startswith("E: ")]
        raise SourceError(lines[-1][3:] if lines else "apt-get failed and gave no reason")
    return output


def _bytes_in(folder: Path) -> int:
    """Bytes of the files in `folder`, which may be renamed meanwhile."""
    total = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def unpack(archive: Path, inside: str, work: Path) -> Path:
    """Unpack `archive` under `work`; return the folder that holds the files of `inside`.

    dpkg-deb is there where apt is, which needs it. Raises SourceError for what it cannot read.
    """
    command = ["dpkg-deb", "-x", str(archive), str(work / "unpacked")]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise SourceError(f"dpkg-deb cannot unpack {archive.name}")
    return work / "unpacked" / inside
