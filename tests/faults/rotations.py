"""Ways in which a log is rotated. Each returns whether there was anything to rotate."""

import gzip
import os
import shutil


def _shift(path):
    for number in range(60, 0, -1):
        for ending in ("", ".gz"):
            older = path.with_name(f"{path.name}.{number}{ending}")
            if older.exists():
                older.rename(path.with_name(f"{path.name}.{number + 1}{ending}"))


def _rename(path):
    if not path.exists() or not path.stat().st_size:
        return False
    _shift(path)
    path.rename(path.with_name(path.name + ".1"))
    return True


def _compress(path):
    if not _rename(path):
        return False
    other = path.with_name(path.name + ".1")
    with other.open("rb") as plain, gzip.open(f"{other}.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    shutil.copystat(other, f"{other}.gz")
    other.unlink()
    return True


def _copy_and_truncate(path):
    if not path.exists() or not path.stat().st_size:
        return False
    _shift(path)
    shutil.copy2(path, path.with_name(path.name + ".1"))
    os.truncate(path, 0)
    return True


def _keep_handle(path):
    """Renamed while its writer goes on for a line."""
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("a") as writer:
        _rename(path)
        writer.write("\n")
    return True


def _rename_and_touch(path):
    if not _rename(path):
        return False
    path.touch()
    return True


ROTATIONS = {"rename": _rename, "rename and compress": _compress, "copy and truncate": _copy_and_truncate,
             "writer keeps its handle": _keep_handle, "rename, new file at once": _rename_and_touch}  # fmt: skip
