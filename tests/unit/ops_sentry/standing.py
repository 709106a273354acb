"""A Sentry that stands on this machine, and the command against it."""

import json
from contextlib import contextmanager

from click.testing import CliRunner

from local import serve
from local.sentry_api import ORGANIZATION, PROJECT, TOKEN, SentryApi
from ops.cli import main
from ops.sentry.api import Api


class Station:
    """The stand-in, and `rotation sentry` as a person calls it."""

    def __init__(self, sentry, url):
        self.sentry = sentry
        self.url = url

    def rotation(self, *words, token=TOKEN, org=ORGANIZATION):
        """Run a command; returns its exit status and its JSON."""
        environment = {
            "SENTRY_URL": self.url,
            "SENTRY_ORG": org,
            "SENTRY_PROJECT": PROJECT,
            "SENTRY_AUTH_TOKEN": token,
            "SENTRY_ENVIRONMENT": "production",
        }
        sure = ["--yes"] if words[0] == "apply" else []
        done = CliRunner().invoke(main, ["sentry", *words, *sure, "--json"], env=environment)
        return done.exit_code, json.loads(done.stdout.splitlines()[-1])

    def people_see(self, *words):
        """Run a command; returns what it prints."""
        environment = {"SENTRY_URL": self.url, "SENTRY_ORG": ORGANIZATION, "SENTRY_AUTH_TOKEN": TOKEN}
        return CliRunner().invoke(main, ["sentry", *words], env=environment | {"SENTRY_PROJECT": PROJECT}).stdout

    def api(self, waits):
        return Api(self.url, ORGANIZATION, TOKEN, waits.append)

    def objects(self, collection):
        return list(self.sentry.objects[collection].values())

    def everything(self):
        """A picture of all objects, to hold against a later one."""
        return json.dumps({name: list(them.values()) for name, them in self.sentry.objects.items()}, sort_keys=True)


@contextmanager
def station():
    sentry = SentryApi()
    with serve.in_thread(sentry.app()) as url:
        yield Station(sentry, url)
