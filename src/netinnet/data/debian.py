"""Files out of a Debian package, fetched with apt as an ordinary user: nothing is installed.

apt checks the archive's signature. Where the system has no package lists, or old ones, apt makes
its own in a temporary folder, and the system's stay as they are.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from netinnet.data.download import Progress, SourceError, store
from netinnet.data.idx import IdxFile
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
AR_MAGIC = b"!<arch>\n"


def fetch(
    wanted: Sequence[IdxFile], package: str, inside: str, folder: Path, progress: Progress
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
                path = unpacked / f"{file.name}.gz"
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
    address = _apt(["download", "--print-uris", package], options, work, UPDATE_SECONDS)
    described = re.search(r" (\S+\.deb) (\d+)", address.stdout)
    if address.returncode or not described:
        raise SourceError(_last_words(address.stderr))
    archives = work / "archives"
    archives.mkdir(exist_ok=True)
    total = int(described[2])
    text = f"{package} from Debian"
    result = _apt(
        ["download", package],
        options,
        archives,
        DOWNLOAD_SECONDS,
        lambda: progress(text, min(_bytes_in(archives), total), total),
    )
    found = sorted(archives.glob("*.deb"))
    if result.returncode or not found:
        raise SourceError(_last_words(result.stderr))
    return found[0]


def _apt(
    arguments: list[str],
    options: list[str],
    folder: Path,
    seconds: float,
    watch: Callable[[], None] = lambda: None,
) -> subprocess.CompletedProcess[str]:
    """Run apt-get in `folder`, calling `watch` now and then. Raises SourceError after `seconds`."""
    command = ["apt-get", *APT_OPTIONS, *options, *arguments]
    deadline = time.monotonic() + seconds
    with subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            while time.monotonic() < deadline:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    output, errors = process.communicate(timeout=POLL_SECONDS)
                    watch()
                    return subprocess.CompletedProcess(command, process.returncode, output, errors)
                watch()
        finally:
            if process.poll() is None:
                process.kill()
    raise SourceError(f"apt-get {arguments[0]} took more than {seconds:g} s")


def _last_words(errors: str) -> str:
    """The last error of apt's, without its "E: "."""
    lines = [line.removeprefix("E: ") for line in errors.splitlines() if line.startswith("E: ")]
    return lines[-1] if lines else "apt-get failed without a word"


def _bytes_in(folder: Path) -> int:
    """Bytes of the files in `folder`, which may be renamed meanwhile."""
    total = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def unpack(archive: Path, inside: str, work: Path) -> Path:
    """Unpack `archive` under `work`; return the folder that holds the files of `inside`.

    Without dpkg-deb the archive is read here: an ar file, and in it data.tar in some compression.
    Raises SourceError for an archive that cannot be read.
    """
    if shutil.which("dpkg-deb") is not None:
        command = ["dpkg-deb", "-x", str(archive), str(work / "unpacked")]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise SourceError(f"dpkg-deb cannot unpack {archive.name}")
        return work / "unpacked" / inside
    target = work / "members"
    target.mkdir()
    try:
        with tarfile.open(fileobj=io.BytesIO(data_member(archive.read_bytes()))) as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None and str(path.parent) == inside:
                    (target / path.name).write_bytes(content.read())
    except tarfile.TarError as error:
        raise SourceError(f"{archive.name} cannot be unpacked without dpkg-deb") from error
    return target


def data_member(archive: bytes) -> bytes:
    """Return the member data.tar.* of a .deb, an ar archive. Raises SourceError without one."""
    position = len(AR_MAGIC)
    while archive.startswith(AR_MAGIC) and position + 60 <= len(archive):
        header = archive[position : position + 60]
        size = header[48:58].strip()
        if not size.isdigit():
            break
        start = position + 60
        if header.startswith(b"data.tar"):
            return archive[start : start + int(size)]
        position = start + int(size) + int(size) % 2  # members begin at even places
    raise SourceError("the package is not a Debian archive")
