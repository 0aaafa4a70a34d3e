"""Build wheel and sdist twice to the same bytes, check them, and try the wheel far from the source.

    python tools/dist.py [--python PYTHON]

The same source and the same pinned tools give the same bytes: times come from the last commit (or
SOURCE_DATE_EPOCH), and the sdist is packed anew with its members in order and without the name of
who built it. Exit status 1 says that something is wrong, in a line.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
PACKAGE = ROOT / "src" / "netinnet"
# 0.1.0's first day: for a source tree without git.
OLDEST = 1763942400


def epoch() -> int:
    """The time that files get: SOURCE_DATE_EPOCH, else the last commit's."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else OLDEST


def copied(folder: Path) -> Path:
    """A copy of the files that git would commit, or of all where there is no git."""
    command = [
        "git",
        "-C",
        str(ROOT),
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        hidden = shutil.ignore_patterns(
            ".venv*", "dist", "build", "__pycache__", "*.egg-info", "runs"
        )
        return Path(shutil.copytree(ROOT, folder, ignore=hidden))
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).is_file():  # else removed, and not committed yet
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    for path in (folder, *folder.rglob("*")):  # whatever umask and checkout made of them
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (epoch(), epoch()))
    return folder


def packed_anew(sdist: Path) -> None:
    """Write the sdist's members in order, with one time and nobody's name."""
    content = io.BytesIO()
    with tarfile.open(sdist) as old, tarfile.open(fileobj=content, mode="w") as new:
        for member in sorted(old.getmembers(), key=lambda found: found.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch(), 0, 0, "", ""
            member.mode = 0o755 if member.isdir() else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    with sdist.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=epoch()) as file:
        file.write(content.getvalue())


def built(kept: Path) -> list[Path]:
    """Wheel and sdist, built from a copy of the source and put into `kept`."""
    with tempfile.TemporaryDirectory() as folder:
        source = copied(Path(folder) / "source")
        made = Path(folder) / "made"
        command = [
            sys.executable,
            "-m",
            "build",
            "--no-isolation",
            "--outdir",
            str(made),
            str(source),
        ]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch())}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            sys.exit(f"dist: the build failed\n{done.stdout}{done.stderr}")
        packed_anew(next(made.glob("*.tar.gz")))
        kept.mkdir()
        return sorted(Path(shutil.copy(path, kept)) for path in made.iterdir())


def check_members(wheel: Path) -> None:
    """The wheel has every file of the package, and nothing that is none of it."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {
            name for name in archive.namelist() if not name.split("/")[0].endswith("dist-info")
        }
    files = (path for path in PACKAGE.rglob("*") if path.is_file())
    wanted = {
        str(path.relative_to(PACKAGE.parent)) for path in files if "__pycache__" not in path.parts
    }
    if inside != wanted:
        sys.exit(f"dist: {wheel.name} lacks or has too much: {', '.join(sorted(inside ^ wanted))}")


def tried(wheel: Path, python: str) -> None:
    """Install the wheel into an environment of its own and use it where no source tree is near."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "environment"
        if subprocess.run([python, "-m", "venv", str(environment)], check=False).returncode:
            sys.exit(f"dist: {python} makes no virtual environment; --python names another Python")
        binaries = environment / ("Scripts" if os.name == "nt" else "bin")
        pip = [str(binaries / "python"), "-m", "pip", "install", "--quiet", "--no-compile"]
        subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], check=True)
        clean = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
        make_picture = "from PIL import Image; Image.new('L', (28, 28), 90).save('grey.png')"
        for command in (
            [str(binaries / "python"), "-c", make_picture],
            *([str(binaries / "nin"), *words.split()] for words in (
                "--help", "--version", "summary nin", "zoo", "predict grey.png --always-answer",
                "explain grey.png --output looked", "export page.html", "export small.onnx",
                "export card.md", "train --help",
            )),
        ):  # fmt: skip
            done = subprocess.run(
                command, cwd=folder, env=clean, capture_output=True, text=True, check=False
            )
            if done.returncode:
                words = " ".join([Path(command[0]).name, *command[1:]])
                sys.exit(f"dist: {words}: exit status {done.returncode}\n{done.stderr}")
        page = Path(folder) / "page.html"
        if "<html" not in page.read_text("utf-8"):
            sys.exit("dist: the exported page is none")
        version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
        print(f"the wheel works in {version.stdout.strip()}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Build, check and try wheel and sdist.")
    parser.add_argument("--python", default=sys.executable, help="what the wheel is tried with")
    python = parser.parse_args().python
    with tempfile.TemporaryDirectory() as folder:
        first, second = (built(Path(folder) / name) for name in ("first", "second"))
        for one, other in zip(first, second, strict=True):
            if one.read_bytes() != other.read_bytes():
                sys.exit(f"dist: {one.name}: two builds differ")
        shutil.rmtree(DIST, ignore_errors=True)
        DIST.mkdir()
        files = [Path(shutil.copy(path, DIST)) for path in first]
    (wheel,) = DIST.glob("*.whl")
    check_members(wheel)
    subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, files)], check=True
    )
    for path in files:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{path.relative_to(ROOT)}  {path.stat().st_size:,} bytes  sha256 {digest}")
    tried(wheel, python)


if __name__ == "__main__":
    main()
