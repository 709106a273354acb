"""Every environment variable that a function or a server reads, with its default and what it is for."""

from typing import Final, NamedTuple


class Variable(NamedTuple):
    """A row of the README's settings table; a default of None means that there is none."""

    name: str
    default: str | None
    meaning: str


VARIABLES: Final = (
    Variable("LIBRARY_METADATA_URL", None, "LML's address: https, or http with LOCAL_DEV=1; a final /api/v1 is cut"),
    Variable("LML_API_KEY", None, "LML's bearer token; this or the next one is required unless LOCAL_DEV=1"),
    Variable("LML_API_KEY_SECRET_ARN", None, "the secret that holds it"),
    Variable("SENTRY_DSN", None, "where spans, events and check-ins go; none without it"),
    Variable("SENTRY_DSN_SECRET_ARN", None, "the secret that holds it"),
    Variable("GITHUB_TOKEN", None, "for the deploy gate's compare; without it GitHub allows 60 requests an hour"),
    Variable("GITHUB_TOKEN_SECRET_ARN", None, "the secret that holds it"),
    Variable("DB_HOST", None, "PostgreSQL of the station's backend"),
    Variable("DB_PORT", "5432", "its port"),
    Variable("DB_NAME", None, "its database"),
    Variable("DB_USERNAME", None, "a role that may SELECT from the rotation table"),
    Variable("DB_PASSWORD", None, "that role's password"),
    Variable("DB_PASSWORD_SECRET_ARN", None, "the secret that holds it"),
    Variable("DB_TLS", "verify", "verify, the path of a PEM bundle to verify against, or disable (only LOCAL_DEV=1)"),
    Variable("DB_STATEMENT_TIMEOUT_MS", "60000", "milliseconds after which PostgreSQL gives a query up"),
    Variable("WXYC_SCHEMA_NAME", "wxyc_schema", "the schema of the rotation table; always quoted"),
    Variable("BACKFILL_LML_BATCH_SIZE", "50", "ids in a message, 1 to 50"),
    Variable("REFRESH_SLICE_MAX", "2", "ids in a request while the cache is warm, at most the batch size"),
    Variable("REFRESH_MAX_ATTEMPTS", "3", "requests that an id may fail before it is an lml_error"),
    Variable("MAX_ERROR_PERCENT", "50", "a run stops when more of at least 100 verdicts failed"),
    Variable("DISCOGS_BUDGET_PER_MINUTE", "8", "our Discogs calls a minute, 1 to 30, evenly spread"),
    Variable("WARM_LIVE_ACTIVITY_LOOKBACK_SECONDS", None, "the warm-up waits for tracks this new; 0 never, unset 60"),
    Variable("WARM_RELEASES", "1", "0 leaves the release fetch out of the warm-up"),
    Variable("PICKER_JWKS_URL", None, "the keys that sign the picker's tokens: https, or http with LOCAL_DEV=1"),
    Variable("PICKER_JWT_ISSUER", None, "who issues them, as their `iss` has it"),
    Variable("PICKER_JWT_AUDIENCE", None, "whom they are for, as their `aud` has it"),
    Variable("PICKER_JWT_ROLES", "member,dj,musicDirector,stationManager,admin", "roles that may read tracks"),
    Variable(
        "PICKER_CORS_ORIGINS", None, "origins whose pages may read the answers, with commas; *, or none without it"
    ),
    Variable("HOST", "127.0.0.1", "the address that `python -m server` listens on"),
    Variable("PORT", "8080", "its port"),
    Variable("SCHEDULE_CRONTAB", None, "when Sentry's monitor expects a run: cron(...) as in the template, or crontab"),
    Variable("SCHEDULE_TIME_ZONE", "UTC", "the IANA time zone of that"),
    Variable("SENTRY_RELEASE", None, "release tag of every event"),
    Variable("SENTRY_ENVIRONMENT", "production", "environment tag of every event"),
    Variable("SENTRY_TRACES_SAMPLE_RATE", "1.0", "0 to 1; empty or malformed is 1.0"),
    Variable("LOCAL_DEV", "0", "1 on a developer's machine: no key needed, http and an unencrypted database allowed"),
    Variable("CLOCK_SPEED", "1", "paced seconds in a wall second, for the demo; refused unless LOCAL_DEV=1"),
    Variable("LEDGER_TABLE", None, "DynamoDB table; set by the template"),
    Variable("PICKER_TABLE", None, "DynamoDB table of the picker's answers; set by the template"),
    Variable("REFRESH_QUEUE_URL", None, "queue of refresh messages; set by the template"),
    Variable("PARKED_QUEUE_URL", None, "queue of unreadable messages; set by the template"),
)
SECRETS: Final = ("LML_API_KEY", "SENTRY_DSN", "GITHUB_TOKEN", "DB_PASSWORD")
"""Variables that hold a value nobody may see, each with a sibling that names where it is kept."""
