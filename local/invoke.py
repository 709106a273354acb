"""`python -m local.invoke FUNCTION -e EVENT`: `sam local invoke` without a container, in Lambda's own runtime client.

FUNCTION is a logical id of the template; its log goes to stderr. Needs `awslambdaric`, which `make test` installs.
"""

import importlib.util
import json
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path

from local import deploy, runtime_api
from local.process import ProcessError


def main() -> None:
    parser = ArgumentParser(prog="python -m local.invoke", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("function", help="a logical id of template.yaml")
    parser.add_argument("-e", "--event", type=Path, required=True, help="a file of events/")
    parser.add_argument("--env-vars", type=Path, required=True, help="what `rotation up` wrote: .local/sam-env.json")
    options = parser.parse_args()
    if importlib.util.find_spec("awslambdaric") is None:
        parser.exit(1, "awslambdaric is not installed: `make test` installs it\n")
    try:
        event, environments = options.event.read_text(), json.loads(options.env_vars.read_text())
    except OSError as error:
        hint = "events/ has events, and `rotation up` makes .local/sam-env.json"
        parser.exit(1, f"{error.filename}: {error.strerror}; {hint}\n")
    except ValueError as error:  # of Unicode or of JSON
        parser.exit(1, f"{options.event} is no text, or {options.env_vars} no JSON: {error}\n")
    if options.function not in environments:
        parser.error(f"{options.function} is none of {', '.join(environments)}")
    handler = deploy.read()["Resources"][options.function]["Properties"]["Handler"]
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        try:
            with runtime_api.running(handler, environments[options.function], log) as runtime:
                answer = runtime.invoke(event)
        except ProcessError as error:
            parser.exit(1, f"{log.read_text()}{error}\n")
        sys.stderr.write(log.read_text())
    print(json.dumps(answer))  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
