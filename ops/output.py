"""Files that a command writes."""

from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; what a link leads to, and a device or a pipe as it is. Raises OSError.

    A link stays a link: what it names is what is replaced. /dev/stdout and its like are never replaced.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as device:
            device.write(content)
        return
    target = path.resolve()
    draft = target.with_name(f"{target.name}.draft")
    try:
        draft.write_bytes(content)
        if target.exists():
            draft.chmod(target.stat().st_mode)
        draft.replace(target)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
