"""Which files a conversion may write: none that is there, and none of a run's own."""

from __future__ import annotations

from pathlib import Path

from netinnet.errors import ModelError
from netinnet.training.run import OWN_FILES


def check(target: Path, source: Path, force: bool) -> None:
    """Raise ModelError where `target` must not be written.

    That is the source itself; a file that is there, without `force`; and always a file of a run's
    own, which its report, its metrics and resuming it depend on.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise ModelError(f"{target}: the model itself; give the converted one another name")
    if target.is_dir():
        raise ModelError(f"{target}: a folder; give the name of a file")
    for path in {target.absolute(), target.resolve()}:
        folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
        is_run = (folder / "recipe.toml").is_file() and (folder / "network.json").is_file()
        if is_run and (path.parent != folder or path.name in OWN_FILES):
            raise ModelError(
                f"{target}: belongs to the run {folder.name}, which would be unusable without it; "
                f"give another name"
            )
    if target.exists() and not force:
        raise ModelError(f"{target} already exists; give another name, or --force to replace it")
