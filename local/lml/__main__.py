"""`python -m local.lml`: the stand-in as a process."""

from argparse import ArgumentParser
from dataclasses import fields
from pathlib import Path

from local import serve
from local.lml import app
from local.lml.limits import Limits
from local.world import World


def main() -> None:
    parser = ArgumentParser(prog="python -m local.lml", description="A stand-in for LML on 127.0.0.1.")
    parser.add_argument("--world", type=Path, required=True, help="JSON file of local.world")
    parser.add_argument("--url-file", type=Path, required=True, help="gets the base URL when it listens")
    parser.add_argument("--speed", type=float, default=1, help="how many times faster than real time")
    parser.add_argument("--token", help="the bearer token to ask for; none: everybody is let in")
    parser.add_argument("--commit-sha", default=app.GATE_COMMIT, help="what /health says; empty: null")
    parser.add_argument("--instant", action="store_true", help="nothing costs anything, for tests of load")
    for field in fields(Limits):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=field.type, metavar="N", help=f"default {field.default}"
        )
    options = vars(parser.parse_args())
    named = {field.name: options[field.name] for field in fields(Limits) if options[field.name] is not None}
    stand_in = app.build(
        World.load(options["world"]),
        speed=options["speed"],
        token=options["token"],
        limits=Limits.instant() if options["instant"] else Limits(**named),
        commit_sha=options["commit_sha"] or None,
    )
    serve.run(stand_in, options["url_file"])


if __name__ == "__main__":
    main()
