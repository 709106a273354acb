"""What a cold start meets: a server that answers for AWS and Sentry at once, and packages as Lambda has them."""

import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[1]
_RUNTIME_CLIENT: Final = ("awslambdaric", "simplejson", "snapshot-restore-py")  # Lambda's own, with what it needs
_PIN: Final = re.compile(r"^([\w.-]+)==", re.MULTILINE)


class Cloud(ThreadingHTTPServer):
    """Counts the requests that it answers, by operation."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.asked: Counter[str] = Counter()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Say nothing: a client that is ended hangs up."""

    def environment(self) -> dict[str, str]:
        """Return what makes the SDK ask here."""
        return {
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
            "LEDGER_TABLE": "ledger",
            "PICKER_TABLE": "picker",
        }

    def taken(self) -> dict[str, int]:
        """Return what was asked for since the last look."""
        taken, self.asked = dict(sorted(self.asked.items())), Counter()
        return taken


class _Request(BaseHTTPRequestHandler):
    server: Cloud
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        operation = self.headers.get("X-Amz-Target")
        if operation is None:
            self.server.asked["Sentry"] = 1  # the SDK sends the spans of two traces at once or one by one, by chance
        else:
            self.server.asked[operation.rpartition(".")[2]] += 1
        body = b'{"Items": []}'  # of a scan; to all others it says nothing
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def cloud() -> Iterator[Cloud]:
    with Cloud() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def lay_out(directory: Path) -> Path:
    """Make a directory of what Lambda has to import from: the pins of requirements/runtime.txt and its own client.

    The development environment has more, and libraries look around: httpx imports rich and click where they are.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name in (*_PIN.findall((_ROOT / "requirements/runtime.txt").read_text()), *_RUNTIME_CLIENT):
        installed = distribution(name)
        for top in {file.parts[0] for file in installed.files or () if file.parts[0] not in {"..", "__pycache__"}}:
            (directory / top).symlink_to(Path(str(installed.locate_file(top))))
    return directory
