"""What the functions accept from their environment, and what they say about the rest."""

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import settings
from core.environment import hidden_texts, read_all
from core.settings import LML_REFRESH_BATCH_CAP, Secret, SecretUnavailableError, SettingsError
from core.variables import VARIABLES

DEFAULTS = {variable.name: variable.default for variable in VARIABLES}
FAN_OUT = {
    "LIBRARY_METADATA_URL": "https://lml.example.org",
    "LML_API_KEY": "key-of-lml",
    "LEDGER_TABLE": "ledger",
    "REFRESH_QUEUE_URL": "https://queues.example.org/refresh",
    "DB_HOST": "db.example.org",
    "DB_NAME": "wxyc",
    "DB_USERNAME": "reader",
    "DB_PASSWORD": "password-of-reader",
}
REFRESH = {
    "LIBRARY_METADATA_URL": "https://lml.example.org",
    "LML_API_KEY": "key-of-lml",
    "LEDGER_TABLE": "ledger",
    "REFRESH_QUEUE_URL": "https://queues.example.org/refresh",
    "PARKED_QUEUE_URL": "https://queues.example.org/parked",
}
DEAD_LETTER = {
    "LEDGER_TABLE": "ledger",
    "REFRESH_QUEUE_URL": "https://queues.example.org/refresh",
    "PARKED_QUEUE_URL": "https://queues.example.org/parked",
}


def no_fetch(arn, force):
    raise AssertionError(f"fetched {arn} with force={force}")


def problems(environ, build=settings.fan_out):
    with pytest.raises(SettingsError) as caught:
        build(environ, no_fetch)
    return str(caught.value).splitlines()


def test_what_is_not_set_has_the_default_of_the_table():
    built = settings.fan_out(FAN_OUT, no_fetch)

    assert {
        "LOCAL_DEV": str(int(built.local_dev)),
        "CLOCK_SPEED": f"{built.clock_speed:g}",
        "BACKFILL_LML_BATCH_SIZE": str(built.batch_size),
        "DISCOGS_BUDGET_PER_MINUTE": str(built.pacing.budget),
        "REFRESH_SLICE_MAX": str(built.pacing.slice_max),
        "DB_PORT": str(built.database.port),
        "DB_TLS": built.database.tls,
        "DB_STATEMENT_TIMEOUT_MS": str(built.database.statement_timeout_ms),
        "WXYC_SCHEMA_NAME": built.database.schema,
        "SENTRY_RELEASE": built.sentry.release,
        "SENTRY_ENVIRONMENT": built.sentry.environment,
        "SENTRY_TRACES_SAMPLE_RATE": str(built.sentry.traces_sample_rate),
    }.items() <= DEFAULTS.items()


def test_the_pacing_defaults_of_the_class_are_those_of_the_table():
    assert settings.fan_out(FAN_OUT, no_fetch).pacing == settings.Pacing()


def test_the_refresh_function_needs_no_database():
    built = settings.refresh(REFRESH, no_fetch)

    assert str(built.max_attempts) == DEFAULTS["REFRESH_MAX_ATTEMPTS"]
    assert str(built.max_error_percent) == DEFAULTS["MAX_ERROR_PERCENT"]


def test_the_dead_letter_function_needs_no_lml():
    built = settings.dead_letter(DEAD_LETTER, no_fetch)

    assert built.parked_queue_url == "https://queues.example.org/parked"
    assert built.sentry.dsn.get() is None


@pytest.mark.parametrize(
    ("build", "required"),
    [
        pytest.param(settings.fan_out, set(FAN_OUT) - {"DB_PASSWORD"}, id="fan-out"),
        pytest.param(settings.refresh, set(REFRESH), id="refresh"),
        pytest.param(settings.dead_letter, set(DEAD_LETTER), id="dead-letter"),
    ],
)
def test_all_that_is_missing_is_reported_at_once(build, required):
    """One line for each variable, which it begins with."""
    lines = problems({}, build)

    assert {line.split()[0] for line in lines} == required
    assert len(lines) == len(required)


def test_what_is_wrong_in_different_places_is_reported_at_once():
    environ = FAN_OUT | {"DB_PORT": "many", "BACKFILL_LML_BATCH_SIZE": "51", "DB_HOST": " ", "CLOCK_SPEED": "100"}

    assert [line.split()[0] for line in problems(environ)] == [
        "BACKFILL_LML_BATCH_SIZE",
        "CLOCK_SPEED",
        "DB_HOST",
        "DB_PORT",
    ]


@pytest.mark.parametrize("size", [str(LML_REFRESH_BATCH_CAP + 1), "0", "-1"])
@pytest.mark.parametrize(("build", "environ"), [(settings.fan_out, FAN_OUT), (settings.refresh, REFRESH)])
def test_a_batch_that_lml_would_refuse_is_refused_with_lmls_cap(size, build, environ):
    (line,) = problems(environ | {"BACKFILL_LML_BATCH_SIZE": size}, build)

    assert line.startswith("BACKFILL_LML_BATCH_SIZE ")
    assert str(LML_REFRESH_BATCH_CAP) in line
    assert "LML_REFRESH_BATCH_CAP" in line


@pytest.mark.parametrize("size", ["1", str(LML_REFRESH_BATCH_CAP), " 7 "])
def test_a_batch_within_the_cap_is_taken(size):
    assert settings.fan_out(FAN_OUT | {"BACKFILL_LML_BATCH_SIZE": size}, no_fetch).batch_size == int(size)


def test_slices_follow_a_smaller_batch():
    """Lowering the batch size alone must not need a second variable."""
    assert settings.fan_out(FAN_OUT | {"BACKFILL_LML_BATCH_SIZE": "2"}, no_fetch).pacing.slice_max == 2


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({"BACKFILL_LML_BATCH_SIZE": "3", "REFRESH_SLICE_MAX": "4"}, "REFRESH_SLICE_MAX", id="slice-batch"),
        pytest.param({"REFRESH_SLICE_MAX": "0"}, "REFRESH_SLICE_MAX", id="slice-of-none"),
        pytest.param({"DISCOGS_BUDGET_PER_MINUTE": "0"}, "DISCOGS_BUDGET_PER_MINUTE", id="no-budget"),
        pytest.param(
            {"DISCOGS_BUDGET_PER_MINUTE": str(settings.FASTEST_PACE + 1)},
            "DISCOGS_BUDGET_PER_MINUTE",
            id="more-than-half-of-Discogs-minute",
        ),
        pytest.param({"DISCOGS_BUDGET_PER_MINUTE": "1e1"}, "DISCOGS_BUDGET_PER_MINUTE", id="scientific"),
        pytest.param({"DISCOGS_BUDGET_PER_MINUTE": "2_0"}, "DISCOGS_BUDGET_PER_MINUTE", id="underscore"),
        pytest.param({"DISCOGS_BUDGET_PER_MINUTE": "+20"}, "DISCOGS_BUDGET_PER_MINUTE", id="sign"),
        pytest.param({"DISCOGS_BUDGET_PER_MINUTE": "٢٠"}, "DISCOGS_BUDGET_PER_MINUTE", id="digits-of-another-script"),
        pytest.param({"DISCOGS_BUDGET_PER_MINUTE": "9" * 5000}, "DISCOGS_BUDGET_PER_MINUTE", id="thousands-of-digits"),
        pytest.param({"REFRESH_MAX_ATTEMPTS": "0"}, "REFRESH_MAX_ATTEMPTS", id="no-attempt"),
        pytest.param({"MAX_ERROR_PERCENT": "101"}, "MAX_ERROR_PERCENT", id="above-a-hundred-percent"),
        pytest.param({"LOCAL_DEV": "true"}, "LOCAL_DEV", id="local-dev-in-words"),
    ],
)
def test_a_number_that_cannot_work_is_refused(changes, named):
    (line,) = problems(REFRESH | changes, settings.refresh)

    assert line.startswith(f"{named} ")
    assert len(line) < 200


def test_a_pace_that_would_have_the_djs_shed_is_refused_with_the_reason():
    (line,) = problems(REFRESH | {"DISCOGS_BUDGET_PER_MINUTE": str(settings.FASTEST_PACE + 1)}, settings.refresh)

    assert "1 to 30: at 57 calls a minute, whoever made them, LML's breaker sheds DJs" in line


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({"DB_PORT": "0"}, "DB_PORT", id="port-0"),
        pytest.param({"DB_PORT": "65536"}, "DB_PORT", id="port-too-high"),
        pytest.param({"DB_STATEMENT_TIMEOUT_MS": "0"}, "DB_STATEMENT_TIMEOUT_MS", id="no-statement-timeout"),
        pytest.param({"DB_TLS": "disable"}, "DB_TLS", id="plain-connection"),
        pytest.param({"DB_TLS": "no-such.pem"}, "DB_TLS", id="no-such-bundle"),
        pytest.param({"WXYC_SCHEMA_NAME": "s" * 64}, "WXYC_SCHEMA_NAME", id="name-that-postgres-would-cut"),
    ],
)
def test_a_database_that_cannot_work_is_refused(changes, named):
    (line,) = problems(FAN_OUT | changes)

    assert line.startswith(f"{named} ")


def test_a_bundle_to_verify_against_is_a_path(tmp_path):
    bundle = tmp_path / "rds.pem"
    bundle.touch()

    assert settings.fan_out(FAN_OUT | {"DB_TLS": str(bundle)}, no_fetch).database.tls == str(bundle)


@pytest.mark.parametrize("value", ["0", "0.0", "-1", "fast", "inf", "nan", "1e3", "1.", ""])
def test_a_clock_that_cannot_run_is_refused(value):
    environ = REFRESH | {"LOCAL_DEV": "1", "CLOCK_SPEED": value}

    if value:
        (line,) = problems(environ, settings.refresh)
        assert line.startswith("CLOCK_SPEED ")
    else:
        assert settings.refresh(environ, no_fetch).clock_speed == 1


@pytest.mark.parametrize("value", ["100", "0.5"])
def test_the_clock_is_only_changed_on_a_developers_machine(value):
    """In the cloud a faster clock would send many times the budget."""
    environ = DEAD_LETTER | {"CLOCK_SPEED": value}

    assert settings.dead_letter(environ | {"LOCAL_DEV": "1"}, no_fetch).clock_speed == float(value)
    (line,) = problems(environ, settings.dead_letter)
    assert line.startswith("CLOCK_SPEED ")
    assert "LOCAL_DEV" in line


@pytest.mark.parametrize(
    ("value", "rate"),
    [
        ("0", 0.0),
        ("0.25", 0.25),
        ("1", 1.0),
        ("", 1.0),
        ("much", 1.0),
        ("-0.1", 1.0),
        ("1.1", 1.0),
        ("nan", 1.0),
        ("inf", 1.0),
    ],
)
def test_a_sample_rate_that_is_none_costs_no_telemetry(value, rate):
    built = settings.refresh(REFRESH | {"SENTRY_TRACES_SAMPLE_RATE": value}, no_fetch)

    assert built.sentry.traces_sample_rate == rate


@pytest.mark.parametrize("ending", ["", "/", "/api/v1", "/api/v1/", "//"])
def test_the_address_may_end_in_the_api_path(ending):
    built = settings.refresh(REFRESH | {"LIBRARY_METADATA_URL": f"https://lml.example.org:8443/x{ending}"}, no_fetch)

    assert built.lml.url == "https://lml.example.org:8443/x"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://lml.example.org", id="no-tls"),
        pytest.param("ftp://lml.example.org", id="another-scheme"),
        pytest.param("lml.example.org", id="no-scheme"),
        pytest.param("https:///api/v1", id="no-host"),
        pytest.param("https://:8000", id="only-a-port"),
        pytest.param("https://lml.example.org:99999", id="port-too-high"),
        pytest.param("https://[::1", id="half-an-address"),
        pytest.param("https://user:hidden@lml.example.org", id="user"),
        pytest.param("https://lml.example.org?key=hidden", id="query"),
        pytest.param("https://lml.example.org/#hidden", id="fragment"),
        pytest.param("https://lml.example.org/hid den", id="space"),
        pytest.param("https://lml.exämple.org", id="not-ascii"),
        pytest.param("https://lml..org", id="empty-label"),
        pytest.param(f"https://{'l' * 64}.org", id="overlong-label"),
    ],
)
def test_an_address_that_cannot_work_is_refused_and_not_repeated(url):
    """It may hold a password."""
    (line,) = problems(REFRESH | {"LIBRARY_METADATA_URL": url}, settings.refresh)

    assert line.startswith("LIBRARY_METADATA_URL ")
    assert "hid" not in line


def test_a_developer_needs_no_tls_and_no_key():
    environ = {
        **FAN_OUT,
        "LOCAL_DEV": "1",
        "LIBRARY_METADATA_URL": "http://127.0.0.1:8000",
        "LML_API_KEY": "",
        "DB_TLS": "disable",
    }

    built = settings.fan_out(environ, no_fetch)

    assert (built.lml.url, built.lml.api_key.get()) == ("http://127.0.0.1:8000", None)


class Vault:
    """Holds one secret that somebody rotates; remembers how it was asked."""

    def __init__(self, *values):
        self.values = list(values)
        self.asked = []

    def __call__(self, arn, force):
        self.asked.append((arn, force))
        if force and len(self.values) > 1:
            self.values.pop(0)
        return self.values[0]


def test_a_secret_is_fetched_when_first_needed_and_kept():
    vault = Vault("key\n")
    environ = {**REFRESH, "LML_API_KEY": "", "LML_API_KEY_SECRET_ARN": "arn:key"}

    key = settings.refresh(environ, vault).lml.api_key

    assert vault.asked == []
    assert [key.get(), key.get()] == ["key", "key"]
    assert vault.asked == [("arn:key", False)]


def test_a_rotated_secret_is_fetched_anew():
    vault = Vault("old", "new")
    key = Secret("LML_API_KEY", arn="arn:key", fetch=vault)

    assert key.get() == "old"
    assert key.fetch_anew()
    assert key.get() == "new"
    assert vault.asked == [("arn:key", False), ("arn:key", True)]


def test_a_secret_of_the_environment_cannot_be_fetched_anew():
    key = Secret("LML_API_KEY", "plain", fetch=no_fetch)

    assert not key.fetch_anew()
    assert key.get() == "plain"


@pytest.mark.parametrize("value", [None, "", "  "])
def test_an_empty_secret_is_none(value):
    built = settings.refresh(REFRESH | {"SENTRY_DSN": value or ""}, no_fetch)

    assert built.sentry.dsn.get() is None
    assert built.sentry.dsn.is_unset


def fetched(text, name="LML_API_KEY"):
    return Secret(name, arn="arn:it", fetch=lambda _arn, _force: text)


@pytest.mark.parametrize("text", ["token", "\ufefftoken", "token\n", "token\r\n", " token\t\n", "\ufeff token \r\n"])
def test_a_token_is_read_without_what_an_editor_left_around_it(text):
    assert fetched(text).get() == "token"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "is empty", id="empty"),
        pytest.param("\n", "is empty", id="only a line break"),
        pytest.param("\ufeff", "is empty", id="only a byte order mark"),
        pytest.param('{"token": "planted-secret"}', "is JSON", id="JSON"),
        pytest.param('{"username": "u", "password": "planted-secret"}', "is JSON", id="a database's secret"),
        pytest.param("planted-secret\nplanted-secret", "HTTP header", id="a line break inside"),
        pytest.param("planted-secret-ß", "HTTP header", id="not ASCII"),
    ],
)
def test_a_token_that_cannot_be_used_is_refused_by_the_name_of_its_variable(text, reason):
    with pytest.raises(SettingsError, match=reason) as refused:
        fetched(text).get()

    assert str(refused.value).startswith("LML_API_KEY_SECRET_ARN")
    assert "planted" not in str(refused.value)


def test_a_secret_that_cannot_be_fetched_is_refused_with_the_reason():
    def denied(_arn, _force):
        raise SecretUnavailableError("this role may not read it")

    with pytest.raises(SettingsError, match=r"^LML_API_KEY_SECRET_ARN's secret .* this role may not read it$"):
        Secret("LML_API_KEY", arn="arn:it", fetch=denied).get()


@pytest.mark.parametrize(
    ("text", "login"),
    [
        ("pass word", (None, "pass word")),
        (" pass word \n", (None, " pass word ")),
        ("\ufeffpassword\r\n", (None, "password")),
        ("{curly", (None, "{curly")),
        ('["a"]', (None, '["a"]')),
        ('{"username": "reader", "password": "p", "engine": "postgres", "port": 5432}', ("reader", "p")),
        ('{"password": " p "}\n', (None, " p ")),
    ],
)
def test_a_database_s_password_is_a_text_or_json_as_rds_makes_it(text, login):
    assert fetched(text, "DB_PASSWORD").login() == login


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"Password": "planted-secret"}',
        '{"password": ""}',
        '{"password": 5}',
        '{"password": "planted-secret", "username": 5}',
        "a\0b",
    ],
)
def test_a_database_s_secret_without_a_password_is_refused_by_name(text):
    with pytest.raises(SettingsError, match=r"^DB_PASSWORD_SECRET_ARN's secret ") as refused:
        fetched(text, "DB_PASSWORD").login()

    assert "planted" not in str(refused.value)


def test_a_password_of_the_environment_keeps_its_blanks():
    built = settings.fan_out(FAN_OUT | {"DB_PASSWORD": " pass word "}, no_fetch)

    assert built.database.password.login() == (None, " pass word ")


def test_all_secrets_that_cannot_be_used_are_reported_at_once():
    with pytest.raises(SettingsError) as refused:
        read_all(fetched("").get, fetched("good").get, fetched("{}", "DB_PASSWORD").login)

    assert [line.split("'")[0] for line in str(refused.value).splitlines()] == [
        "LML_API_KEY_SECRET_ARN",
        "DB_PASSWORD_SECRET_ARN",
    ]


def test_of_json_the_secret_parts_are_hidden_too():
    text = '\ufeff{"username": "reader", "password": "p-a-s-s", "host": "db.example"}'

    assert hidden_texts(text) == [text.removeprefix("\ufeff"), "p-a-s-s"]


def test_a_secret_that_is_given_twice_is_a_problem_except_locally():
    """`sam local invoke` can override a variable of the template, but not remove one."""
    environ = REFRESH | {"LML_API_KEY_SECRET_ARN": "arn:key"}

    (line,) = problems(environ, settings.refresh)

    assert line.startswith("LML_API_KEY ")
    assert "LML_API_KEY_SECRET_ARN" in line
    assert settings.refresh(environ | {"LOCAL_DEV": "1"}, no_fetch).lml.api_key.get() == "key-of-lml"


def test_settings_can_be_printed_without_telling_a_secret():
    printed = repr(settings.fan_out(FAN_OUT, no_fetch)) + str(settings.fan_out(FAN_OUT, no_fetch).lml.api_key)

    assert "key-of-lml" not in printed
    assert "password-of-reader" not in printed
    assert "Secret(LML_API_KEY)" in printed


def test_settings_cannot_be_changed():
    built = settings.refresh(REFRESH, no_fetch)

    with pytest.raises(AttributeError, match="immutable"):
        built.max_attempts = 5


names = st.sampled_from([variable.name for variable in settings.VARIABLES])


def refusal(build, environ):
    try:
        build(environ, no_fetch)
    except SettingsError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize("build", [settings.fan_out, settings.refresh, settings.dead_letter])
@hypothesis.settings(deadline=None)
@given(environ=st.dictionaries(names, st.text(max_size=300).filter(lambda text: "\0" not in text)))
def test_any_environment_is_taken_or_refused_line_by_line(build, environ):
    """Whatever is in it: settings, or a message of which each line names a variable first and is no page."""
    lines = refusal(build, FAN_OUT | REFRESH | environ)

    assert {line.split()[0] for line in lines} <= {variable.name for variable in settings.VARIABLES}
    assert all(len(line) < 200 for line in lines)
