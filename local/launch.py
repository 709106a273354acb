"""Writes this process into a journal, then runs the command in its place: `launch.py JOURNAL LOG COMMAND ARGUMENT ...`.

Whoever ends what a killed command has left finds the process in the journal, whenever the kill came. A journal that is
gone says that all was ended meanwhile: then nothing is started.
"""

import json
import os
import sys

import psutil


def main() -> None:
    journal, log, *command = sys.argv[1:]
    line = json.dumps({"process": {"pid": os.getpid(), "started": psutil.Process().create_time(), "log": log}})
    file = os.open(journal, os.O_WRONLY | os.O_APPEND)
    os.write(file, f"{line}\n".encode())
    os.close(file)
    os.execv(command[0], command)  # noqa: S606 - the command is what we were started for


if __name__ == "__main__":
    main()
