import pytest

from tests.unit.ops_sentry.standing import station


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A Sentry with nothing in it but other people's objects; commands write into an empty directory."""
    monkeypatch.chdir(tmp_path)
    with station() as made:
        for number in range(3):
            made.sentry.add("alert-rules", name=f"other {number}", triggers=[], query="level:error")
            made.sentry.add("dashboards", title=f"other {number}", widgets=[{"title": "Errors", "queries": []}])
        made.sentry.add("monitors", name="other", slug="other", project="backend")
        yield made
