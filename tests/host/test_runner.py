"""The stand-in of the Functions host keeps the rules that functions can notice."""

import base64
import contextlib
import json
import secrets
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import azure.functions as func
import pytest
from azure.storage.queue import QueueClient

from host.declared import (
    App,
    NotRunnable,
    QueueRules,
    host_file,
    indexed,
    queue_rules,
    span,
    supported,
)
from host.invocation import Invoker
from host.routes import pattern
from host.runner import Host
from host.timers import Clock, checked, occurrence

RULES = QueueRules(
    batch_size=4,
    new_batch_threshold=2,
    max_dequeue_count=3,
    max_polling_interval=timedelta(milliseconds=100),
)


def until(happens, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not (found := happens()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found


class Queues:
    """Queues of one test, seen from outside."""

    def __init__(self, connection):
        self.connection = connection
        self.name = f"work-{secrets.token_hex(4)}"
        self._clients = contextlib.ExitStack()

    def client(self, name):
        return self._clients.enter_context(
            QueueClient.from_connection_string(self.connection, name)
        )

    def send(self, text, queue=None):
        content = text if isinstance(text, str) else base64.b64encode(text).decode()
        self.client(queue or self.name).send_message(content)

    def length(self, queue=None):
        """All messages, also those that are out of sight."""
        properties = self.client(queue or self.name).get_queue_properties()
        return properties.approximate_message_count

    def seen(self, queue):
        """What could be received now."""
        return [one.content for one in self.client(queue).peek_messages(32)]

    def close(self):
        self._clients.close()


@pytest.fixture
def queues(azurite):
    made = Queues(azurite)
    yield made
    made.close()


def queue_app(queues, work, poison=None, rules=RULES):
    """An app with one queue function, and one for its poison queue where a test wants it."""
    app = func.FunctionApp()

    @app.queue_trigger(arg_name="message", queue_name="%WORK%", connection="WORKER_QUEUE")
    def take(message: func.QueueMessage) -> None:
        work(message)

    if poison is not None:

        @app.queue_trigger(
            arg_name="message", queue_name="%WORK%-poison", connection="WORKER_QUEUE"
        )
        def give_up(message: func.QueueMessage) -> None:
            poison(message)

    settings = {"WORK": queues.name, "WORKER_QUEUE": queues.connection}
    return App(functions=indexed(app), settings=settings, queues=rules)


# --- queues ------------------------------------------------------------------------------------------


def test_a_message_leaves_the_queue_after_its_function_succeeded(queues, tmp_path):
    seen = []
    app = queue_app(queues, lambda m: seen.append((m.get_body(), m.dequeue_count, m.id)))
    with Host(app, Invoker(tmp_path), port=None) as host:
        queues.send("Größe".encode())
        until(lambda: seen and host.idle())
        ((body, count, number),) = seen
        assert (body.decode(), count, bool(number)) == ("Größe", 1, True)
        assert queues.length() == 0


def test_a_message_that_fails_comes_again_and_after_its_last_try_goes_to_the_poison_queue(
    queues, tmp_path, caplog
):
    tries, given_up = [], []

    def fails(message):
        tries.append(message.dequeue_count)
        raise RuntimeError("no")

    app = queue_app(queues, fails, lambda m: given_up.append((m.get_body(), m.dequeue_count)))
    with Host(app, Invoker(tmp_path), port=None):
        queues.send(b"{}")
        until(lambda: given_up)
    assert tries == [1, 2, 3]
    assert given_up == [(b"{}", 1)]
    assert (queues.length(), queues.length(f"{queues.name}-poison")) == (0, 0)


def test_a_message_that_failed_is_out_of_sight_for_as_long_as_host_json_says(queues, tmp_path):
    times = []

    def fails_once(_):
        times.append(time.monotonic())
        if len(times) == 1:
            raise RuntimeError("no")

    rules = QueueRules(
        visibility_timeout=timedelta(seconds=1), max_polling_interval=RULES.max_polling_interval
    )
    with Host(queue_app(queues, fails_once, rules=rules), Invoker(tmp_path), port=None):
        queues.send(b"{}")
        until(lambda: len(times) == 2)
    assert 0.9 < times[1] - times[0] < 4


def test_what_is_not_base64_is_given_up_without_a_try(queues, tmp_path):
    tries = []
    with Host(queue_app(queues, tries.append), Invoker(tmp_path), port=None) as host:
        queues.send('{"kind": "sync"}')
        poison = f"{queues.name}-poison"
        assert until(lambda: queues.seen(poison)) == ['{"kind": "sync"}']
        until(lambda: host.idle() and queues.length() == 0)
    assert tries == []


def test_a_queue_is_listened_to_although_a_message_could_not_be_given_up(queues, tmp_path, caplog):
    worked = []
    app = queue_app(queues, lambda m: worked.append(m.get_body()))
    with Host(app, Invoker(tmp_path), port=None):
        queues.client(f"{queues.name}-poison").delete_queue()
        queues.send("not Base64 !")
        until(lambda: "cannot be written" in caplog.text)
        queues.send(b"good")
        until(lambda: worked == [b"good"])
    assert queues.length() == 1  # leased, and seen again when that ends


def test_what_fails_on_a_poison_queue_stays_there_out_of_sight(queues, tmp_path):
    tries = []

    def fails(_):
        tries.append(1)
        raise RuntimeError("no")

    app = queue_app(queues, lambda _: None, fails)
    poison = f"{queues.name}-poison"
    with Host(app, Invoker(tmp_path), port=None):
        queues.send(b"{}", poison)
        until(lambda: tries)
        time.sleep(0.5)
    assert tries == [1]
    assert (queues.length(poison), queues.seen(poison)) == (1, [])


def test_no_more_run_at_once_than_a_batch_and_its_threshold(queues, tmp_path):
    lock, running, most, done = threading.Lock(), [0], [0], []

    def slow(_):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.1)
        with lock:
            running[0] -= 1
            done.append(1)

    app = queue_app(queues, slow)
    with Host(app, Invoker(tmp_path), port=None) as host:
        assert host.invoker.threads >= RULES.batch_size
        for _ in range(16):
            queues.send(b"{}")
        until(lambda: len(done) == 16)
    assert 2 <= most[0] <= RULES.batch_size + RULES.new_batch_threshold


def test_a_message_stays_leased_for_as_long_as_its_function_runs(queues, tmp_path):
    tries = []

    def long(_):
        tries.append(1)
        time.sleep(3.5)

    rules = QueueRules(lease=timedelta(seconds=2), max_polling_interval=timedelta(milliseconds=100))
    with Host(queue_app(queues, long, rules=rules), Invoker(tmp_path), port=None) as host:
        queues.send(b"{}")
        until(lambda: tries)
        until(host.idle)
        assert queues.length() == 0
    assert tries == [1]


def test_at_the_end_what_runs_is_worked_to_its_end_and_what_waits_is_on_the_queue(
    queues, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHON_THREADPOOL_THREAD_COUNT", "1")
    began, done, go = threading.Event(), [], threading.Event()

    def work(message):
        began.set()
        go.wait(5)
        done.append(message.get_body())

    host = Host(queue_app(queues, work), Invoker(tmp_path), port=None)
    for number in range(3):
        queues.send(str(number).encode())
    host.start()
    began.wait(5)
    until(lambda: host.listeners[0].running > 1)
    threading.Timer(0.2, go.set).start()
    host.stop()
    assert len(done) == 1
    assert len(queues.seen(queues.name)) == 2


# --- timers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("0 0 5 * * *", "2026-11-09T05:00:00", "2026-11-10T05:00:00"),
        ("*/15 * * * * *", "2026-11-09T05:00:16", "2026-11-09T05:00:30"),
        ("0 30 9 * * 0", "2026-11-09T00:00:00", "2026-11-15T09:30:00"),  # Sunday is 0
        ("0 0 7 9 * MON", "2026-11-10T00:00:00", "2027-08-09T07:00:00"),  # both must fit
    ],
)
def test_when_a_schedule_fires_next(schedule, after, expected):
    told = occurrence(schedule, datetime.fromisoformat(after).replace(tzinfo=UTC))
    assert told == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("0 5 * * *", "has 5 fields and needs six"),
        ("0 0 25 * * *", "is no schedule"),
        ("1.00:00:00", "has 1 fields"),
    ],
)
def test_a_schedule_that_the_platform_would_refuse_is_refused(schedule, problem):
    with pytest.raises(NotRunnable, match=problem):
        checked(schedule, where="timer daily")


def timer_app(work, **settings):
    app = func.FunctionApp()

    @app.timer_trigger(arg_name="timer", schedule="%WHEN%", run_on_startup=False)
    def daily(timer: func.TimerRequest, context: func.Context) -> None:
        work(timer, context)

    return App(functions=indexed(app), settings=settings)


def test_a_timer_fires_at_its_time_and_is_told_so(tmp_path):
    fired = []
    app = timer_app(lambda *given: fired.append(given), WHEN="* * * * * *")
    with Host(app, Invoker(tmp_path), port=None):
        until(lambda: len(fired) >= 2, 5)
    timer, context = fired[0]
    assert timer.past_due is False
    assert timer.schedule_status["Next"] > timer.schedule_status["LastUpdated"]
    assert (context.function_name, context.function_directory) == ("daily", str(tmp_path))
    assert fired[0][1].invocation_id != fired[1][1].invocation_id


def test_a_timer_that_still_runs_is_not_fired_again(tmp_path):
    go, fired = threading.Event(), []

    def slow(*given):
        fired.append(given)
        go.wait(5)

    invoker = Invoker(tmp_path)
    clock = Clock(timer_app(slow, WHEN="0 0 5 * * *"), invoker)
    at = datetime(2026, 11, 9, 5, tzinfo=UTC)
    clock.fire("daily", at)
    clock.fire("daily", at + timedelta(days=1))
    go.set()
    until(lambda: invoker.ended.get("daily") == [1, 0])
    clock.fire("daily", at + timedelta(days=2))
    until(lambda: invoker.ended.get("daily") == [2, 0])
    invoker.close()
    assert len(fired) == 2


class Slept(Clock):
    """A clock of a machine that falls asleep while it waits, and is shut down after it woke."""

    def __init__(self, app, invoker, *, at, hours):
        self.times = [at, at + timedelta(hours=hours)]
        super().__init__(app, invoker, now=lambda: self.times[0])
        self._stopping.wait = self._sleep

    def _sleep(self, _):
        if len(self.times) == 1:
            return True
        self.times.pop(0)
        return False


@pytest.mark.parametrize(
    ("hours", "fired"),
    [
        (8, [("daily", "06:00", True)]),
        (7, [("daily", "05:00", False)]),
        (6, []),
        (80, [("daily", "06:00", True)]),
    ],
)
def test_times_that_passed_while_the_machine_slept_are_one_firing_past_due(tmp_path, hours, fired):
    seen = []

    def work(timer, context):
        at = datetime.fromisoformat(timer.schedule_status["LastUpdated"])
        seen.append((context.function_name, f"{at:%H:%M}", timer.past_due))

    invoker = Invoker(tmp_path)
    app = timer_app(work, WHEN="0 0 5 * * *")
    Slept(app, invoker, at=datetime(2026, 11, 9, 22, tzinfo=UTC), hours=hours)._run()
    invoker.close()
    assert seen == fired


def test_a_setting_that_is_missing_is_named():
    with pytest.raises(NotRunnable, match="timer daily needs the setting WHEN, which is not set"):
        Clock(timer_app(print), None)


# --- HTTP --------------------------------------------------------------------------------------------


@pytest.fixture
def door(tmp_path):
    app = func.FunctionApp()

    @app.route(route="runs/{run_id}", methods=["GET"])
    def read(req: func.HttpRequest) -> func.HttpResponse:
        told = {
            "run": req.route_params["run_id"],
            "q": req.params.get("q"),
            "head": req.headers.get("X-Asked"),
        }
        return func.HttpResponse(
            json.dumps(told), mimetype="application/json", headers={"Retry-After": "10"}
        )

    @app.route(route="runs", methods=["POST"])
    def start(req: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse(req.get_body(), status_code=202)

    @app.route(route="broken")
    async def broken(req: func.HttpRequest) -> func.HttpResponse:
        raise RuntimeError("a secret")

    @app.timer_trigger(arg_name="timer", schedule="0 0 5 * * *")
    def daily(timer: func.TimerRequest) -> None:
        daily_fired.append(timer)

    daily_fired = []
    with Host(App(functions=indexed(app), settings={}), Invoker(tmp_path)) as host:
        host.fired = daily_fired
        yield host


def ask(url, method="GET", body=None, headers=None):
    request = urllib.request.Request(url, method=method, data=body, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def test_a_route_gives_its_parts_its_query_and_its_headers(door):
    url = f"{door.url}/api/Runs/sync.2026-11-09?q=a%20b"
    status, body, headers = ask(url, headers={"X-Asked": "yes"})
    assert (status, json.loads(body)) == (
        200,
        {"run": "sync.2026-11-09", "q": "a b", "head": "yes"},
    )
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["Retry-After"] == "10"


def test_a_body_comes_and_goes_as_it_is(door):
    content = bytes(range(256))
    assert ask(f"{door.url}/api/runs", "POST", content)[:2] == (202, content)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("DELETE", "/api/runs", 405),
        ("POST", "/api/runs/1", 405),
        ("GET", "/api/nothing", 404),
        ("GET", "/runs/1", 404),
        ("GET", "/api/runs/1/2", 404),
        ("GET", "/api/broken", 500),
        ("GET", "/admin/host/status", 200),
        ("POST", "/admin/functions/nobody", 404),
        ("GET", "/admin/functions/daily", 405),
    ],
)
def test_what_is_not_answered_by_a_function(door, method, path, status):
    code, body, _ = ask(door.url + path, method, b"{}" if method == "POST" else None)
    assert code == status
    assert b"secret" not in body
    assert (body == b"") or status in {200, 404}


def test_any_function_can_be_invoked_by_the_address_that_the_platform_has_for_it(door):
    assert ask(f"{door.url}/admin/functions/daily", "POST", b'{"input": ""}')[0] == 202
    until(lambda: len(door.fired) == 1)
    assert ask(f"{door.url}/admin/functions/daily", "POST", b"[]")[0] == 400


@pytest.mark.parametrize(
    ("route", "path", "parts"),
    [
        (
            "invoices/{number}/lines/{line:int}",
            "invoices/A-1/lines/3",
            {"number": "A-1", "line": "3"},
        ),
        ("invoices/{number}/lines/{line:int}", "invoices/A-1/lines/x", None),
        ("files/{*rest}", "files/a/b", {"rest": "a/b"}),
        ("runs/{run_id?}", "runs", {"run_id": None}),
        ("runs/{run_id?}", "runs/1", {"run_id": "1"}),
        ("runs/{run_id?}", "", None),
        ("a.b/{x}", "aXb/1", None),
    ],
)
def test_routes_match_as_they_are_written(route, path, parts):
    found = pattern(route).fullmatch(path)
    assert (found and found.groupdict()) == parts


# --- what is declared --------------------------------------------------------------------------------


def test_settings_override_the_host_file_as_on_the_platform(tmp_path):
    path = tmp_path / "host.json"
    path.write_text('{"extensions": {"queues": {"batchSize": 16, "maxDequeueCount": 5}}}')
    name = "AzureFunctionsJobHost__extensions__queues__"
    rules = host_file(path, {f"{name}batchSize": "1", f"{name}maxPollingInterval": "00:00:02"})
    told = queue_rules(rules["extensions"]["queues"])
    assert (told.batch_size, told.new_batch_threshold, told.max_dequeue_count) == (1, 0, 5)
    assert told.max_polling_interval == timedelta(seconds=2)
    assert told.lease == timedelta(minutes=10)


@pytest.mark.parametrize(
    ("text", "seconds"), [("00:02:00", 120), ("00:00:00.5", 0.5), ("1.00:00:00", 86400)]
)
def test_time_spans_are_read_as_dotnet_writes_them(text, seconds):
    assert span(text, timedelta(0)).total_seconds() == seconds
    with pytest.raises(NotRunnable, match="no time span"):
        span("2 minutes", timedelta(0))


def test_a_folder_without_a_host_file_and_a_broken_one_are_refused(tmp_path):
    with pytest.raises(NotRunnable, match="not the folder of a functions app"):
        host_file(tmp_path / "host.json", {})
    (tmp_path / "host.json").write_text("{")
    with pytest.raises(NotRunnable, match="is not JSON"):
        host_file(tmp_path / "host.json", {})


def test_a_binding_that_is_not_stood_in_for_is_refused():
    app = func.FunctionApp()

    @app.queue_trigger(arg_name="message", queue_name="work", connection="W")
    @app.queue_output(arg_name="out", queue_name="more", connection="W")
    def take(message: func.QueueMessage, out: func.Out[str]) -> None:
        out.set("{}")

    with pytest.raises(
        NotRunnable, match="take has a binding that is not stood in for here: queue"
    ):
        supported(*indexed(app))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "the connection WORKER_QUEUE, which is not set"),
        ({"WORKER_QUEUE__queueServiceUri": "https://x"}, "is set by identity"),
    ],
)
def test_a_connection_that_cannot_be_used_here_is_said(settings, problem, tmp_path):
    app = func.FunctionApp()

    @app.queue_trigger(arg_name="message", queue_name="work", connection="WORKER_QUEUE")
    def take(message: func.QueueMessage) -> None:
        del message

    with pytest.raises(NotRunnable, match=problem):
        Host(App(functions=indexed(app), settings=settings), Invoker(tmp_path), port=None)
