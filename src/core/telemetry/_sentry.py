"""The Sentry SDK as it is used here: streamed spans, nothing automatic, and a flush that knows how it went."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import certifi
import sentry_sdk
from sentry_sdk.crons import capture_checkin
from sentry_sdk.traces import StreamedSpan, continue_trace, start_span
from sentry_sdk.transport import HttpTransport

from core import tls
from core.redaction import Redaction
from core.telemetry._names import RUN_OP, TOOL, TOTALS_OP

if TYPE_CHECKING:
    from sentry_sdk._types import Attributes as SdkAttributes
    from sentry_sdk._types import EventDataCategory, LogLevelStr, MonitorConfig, SpanJSON
    from sentry_sdk.envelope import Envelope, Item
    from sentry_sdk.types import Event, Hint

    from core import settings
    from core.telemetry._names import TraceHeaders

Attributes: TypeAlias = Mapping[str, str | int | None]
"""Attributes of a span from its beginning; None is left out."""

_PUBLIC_KEY: Final = "sentry-public_key="  # an item of the baggage


class _Transport(HttpTransport):
    """The SDK's transport, with a limit for a whole flush, which returns whether Sentry took everything."""

    TIMEOUT = 2  # seconds of a request; 30 would keep those of the next invocation waiting behind a dead connection

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self.took_all = True
        self._refused = False
        self._ended_spans = 0  # that the SDK has not yet put into an envelope
        self._enveloped = threading.Condition()

    def _get_pool_options(self) -> dict[str, Any]:
        options = super()._get_pool_options()
        if (
            options["ca_certs"] == certifi.where()
        ):  # nobody has named another one; the SDK would read it in the first flush
            options |= {"ca_certs": None, "ssl_context": tls.context()}
        return options

    def span_ended(self) -> None:
        with self._enveloped:
            self._ended_spans += 1

    def capture_envelope(self, envelope: "Envelope") -> None:
        super().capture_envelope(envelope)
        spans = sum(item.headers.get("item_count", 0) for item in envelope.items if item.type == "span")
        with self._enveloped:
            self._ended_spans = max(0, self._ended_spans - spans)
            self._enveloped.notify_all()

    def on_dropped_event(self, _reason: str) -> None:
        """Note an envelope that the SDK has lost: no connection, another status than 2xx, a full queue."""
        self._refused = True

    def record_lost_event(
        self,
        reason: str,
        data_category: "EventDataCategory | None" = None,
        item: "Item | None" = None,
        *,
        quantity: int = 1,
    ) -> None:
        """Note what is held back while Sentry limits our rate; of spans `on_dropped_event` does not hear."""
        if reason == "ratelimit_backoff":
            self._refused = True
        super().record_lost_event(reason, data_category, item, quantity=quantity)

    def flush(self, timeout: float, callback: Callable[[int, float], None] | None = None) -> None:  # noqa: ARG002 - the SDK's
        deadline = time.monotonic() + timeout
        with self._enveloped:
            # The SDK's thread may hold spans that are in no buffer any more and in no envelope yet.
            enveloped = self._enveloped.wait_for(lambda: not self._ended_spans, timeout)
            self._ended_spans = 0  # the SDK has dropped them
        drained = threading.Event()  # the queue is worked in order
        sent = self._worker.submit(drained.set) and drained.wait(max(0.0, deadline - time.monotonic()))
        self.took_all = enveloped and sent and not self._refused
        self._refused = False
        if sent:
            self._pool.clear()  # no connection outlives a freeze of the environment


class SentrySdk:
    """The SDK, for this process; while it is not started, and without a DSN, all of this goes nowhere."""

    def start(self, settings: "settings.Sentry", redact: Redaction) -> None:
        """Start the SDK, which sends nothing without a DSN; raises when the DSN is malformed or cannot be fetched.

        Nothing is automatic: what is not used takes time, and could send what nobody saw (docs/design/local.md).
        """
        sentry_sdk.get_global_scope().set_client(None)
        dsn = settings.dsn.get()
        if dsn is None:
            return

        def sample_rate(context: Mapping[str, Any]) -> float:
            # One random number a trace is compared with this: of the other spans all or none of a trace are kept.
            always = context["transaction_context"]["op"] in {RUN_OP, TOTALS_OP}
            return 1.0 if always and settings.traces_sample_rate > 0 else settings.traces_sample_rate

        def before_send(event: "Event", _hint: "Hint") -> "Event":
            kept = {key: redact(value) for key, value in event.items() if value != ""}
            return cast("Event", kept)

        def before_send_span(span: "SpanJSON", _hint: "Hint") -> "SpanJSON":
            transport = sentry_sdk.get_client().transport
            if isinstance(transport, _Transport):
                transport.span_ended()
            attributes = span.get("attributes", {})
            kept = {key: redact(value) for key, value in attributes.items() if key != "process.command_args"}
            return cast("SpanJSON", {**span, "attributes": kept})

        sentry_sdk.init(
            dsn=dsn,
            release=settings.release or "",  # None would ask git; `before_send` drops it
            environment=settings.environment,
            server_name=TOOL,  # else the host's
            trace_lifecycle="stream",
            traces_sampler=sample_rate,
            transport=_Transport,
            before_send=before_send,
            before_send_span=before_send_span,
            default_integrations=False,
            auto_enabling_integrations=False,
            auto_session_tracking=False,
            enable_backpressure_handling=False,  # it would sample the totals away
            send_client_reports=False,  # the SDK sends them after what it reports on: too late for a flush
            include_local_variables=False,  # they hold secrets
            max_breadcrumbs=0,
            debug=False,
            spotlight=False,
        )

    @contextmanager
    def root_span(
        self, name: str, op: str, attributes: Attributes, *, headers: "TraceHeaders"
    ) -> Iterator[StreamedSpan]:
        """Open a span under none of this process, in the trace of `headers` or, without any, in a new one.

        The SDK's scopes are as before once it ends, so that nothing is left to the next warm invocation.
        """
        with sentry_sdk.isolation_scope():
            continue_trace(_with_public_key(headers))
            with start_span(name, _attributes(op, attributes), parent_span=None) as span:
                yield span

    def child_span(self, name: str, op: str, attributes: Attributes) -> StreamedSpan:
        """Begin a span under the one that is open."""
        return start_span(name, _attributes(op, attributes))

    def trace_headers(self) -> "TraceHeaders":
        """Return what continues this trace elsewhere, without the DSN's key: queue and ledger keep no part of a DSN."""
        if not sentry_sdk.is_initialized():
            return {}
        baggage = (sentry_sdk.get_baggage() or "").split(",")
        headers = {
            "sentry-trace": sentry_sdk.get_traceparent() or "",
            "baggage": ",".join(item for item in baggage if not item.startswith(_PUBLIC_KEY)),
        }
        return {name: value for name, value in headers.items() if value}

    def flush(self, seconds: float) -> bool:
        """Send what is waiting, in that time at most; False if Sentry did not take everything."""
        client = sentry_sdk.get_client()
        client.flush(seconds)
        return not isinstance(client.transport, _Transport) or client.transport.took_all

    def new_trace(self) -> None:
        """Begin a trace: else events outside a span would join those of the last invocation."""
        sentry_sdk.traces.new_trace()

    def check_in(self, check_in_id: str, status: str, seconds: float | None, monitor: "MonitorConfig | None") -> None:
        capture_checkin(TOOL, check_in_id, status, seconds, monitor)

    def message(self, text: str, level: "LogLevelStr", fingerprint: Sequence[str] | None, **scope: Any) -> None:  # noqa: ANN401 - the SDK's
        kept = None if fingerprint is None else list(fingerprint)
        sentry_sdk.capture_message(text, level, fingerprint=kept, **scope)

    def exception(self, error: BaseException, **scope: Any) -> None:  # noqa: ANN401 - the SDK's
        sentry_sdk.capture_exception(error, **scope)


def _attributes(op: str, attributes: Attributes) -> "SdkAttributes":
    return {"sentry.op": op, **{name: value for name, value in attributes.items() if value is not None}}


def _with_public_key(headers: "TraceHeaders") -> dict[str, str]:
    """Undo what `trace_headers` took away: Sentry reads an envelope's trace header only with the key in it."""
    incoming = dict(headers)
    dsn = sentry_sdk.get_client().parsed_dsn
    if dsn is not None and incoming.get("baggage"):
        incoming["baggage"] += f",{_PUBLIC_KEY}{dsn.public_key}"
    return incoming
