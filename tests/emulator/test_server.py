"""The same hosts on real sockets: every system on a port of its own, links that stay there."""

from __future__ import annotations

import contextlib
import gzip
import socket
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import certifi
import pytest
import requests

from emulator.control import PUBLIC_URLS
from emulator.server import Loopback
from tests.emulator.hand_world import CUSTOMERS, INVOICE


@pytest.fixture
def loopback(desk):
    with Loopback(desk.emulator).start(), requests.Session() as session:
        desk.session = session
        yield desk


def test_every_system_has_a_port_and_the_names_come_back(desk):
    with Loopback(desk.emulator).start():
        urls = dict(desk.emulator.base_urls)
        assert len(set(urls.values())) == len(PUBLIC_URLS)
        assert all(url.startswith("http://127.0.0.1:") for url in urls.values())
        overview = requests.get(urls["control"] + "/_emulator/", timeout=5).json()
        assert overview["base_urls"] == urls
    assert desk.emulator.base_urls == PUBLIC_URLS


def a_free_block(size, first):
    """Find ports in a row below the range from which the system hands out its own."""
    for port in range(first, 32_000, size):
        with contextlib.ExitStack() as probes:
            try:
                for offset in range(size):
                    probe = probes.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port + offset))
            except OSError:
                continue
            return port
    raise AssertionError("no free ports in a row")


def test_a_chosen_port_is_the_control_planes_and_the_others_follow(desk, worker_id):
    # Each test process looks in a range of its own.
    first = 20_000 + 1_000 * int(worker_id.removeprefix("gw").replace("master", "0"))
    port = a_free_block(len(PUBLIC_URLS), first)
    with Loopback(desk.emulator, port=port).start():
        urls = desk.emulator.base_urls
        assert urls["control"] == f"http://127.0.0.1:{port}"
        ports = sorted(urlsplit(url).port for url in urls.values())
        assert ports == list(range(port, port + len(urls)))


def test_a_taken_port_is_told_and_leaves_nothing_open(desk, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="is taken"):
            Loopback(desk.emulator, port=taken.getsockname()[1])
    assert capsys.readouterr() == ("", "")
    assert desk.emulator.base_urls == PUBLIC_URLS


def test_sign_in_page_and_export_over_sockets(loopback):
    desk = loopback
    page = desk.pc("/v1/customers?size=3").json()
    assert [row["id"] for row in page["items"]] == CUSTOMERS[:3]
    path = "/v1.0/reports/partners/billing/usage/billed/export"
    started = desk.graph(path, "POST", json={"invoiceId": INVOICE})
    location = started.headers["Location"]
    assert location.startswith(desk.emulator.base_urls["graph"])
    desk.graph(location)
    operation = desk.graph(location).json()
    manifest = desk.graph(operation["resourceLocation@odata.navigationLink"]).json()
    rows = b""
    for blob in manifest["blobs"]:
        url = f"{manifest['rootDirectory']}/{blob['name']}?{manifest['sasToken']}"
        rows += gzip.decompress(desk.session.get(url, timeout=5).content)
    assert rows.count(b"\n") == 23


def test_public_audiences_are_taken_on_loopback_too(loopback):
    granted = loopback.sign_in(PUBLIC_URLS["partner_center"]).json()
    assert loopback.pc("/v1/customers", token=granted["access_token"]).status_code == 200


def test_the_only_date_is_the_emulators(loopback):
    loopback.clock.advance(timedelta(days=1))
    answer = loopback.session.get(loopback.emulator.base_urls["graph"], timeout=5)
    assert answer.headers["Date"] == "Tue, 10 Nov 2026 06:00:00 GMT"


def test_a_dropped_connection_is_a_closed_socket(loopback):
    loopback.control.fail_next("price", kind="drop_before")
    with pytest.raises(requests.ConnectionError):
        loopback.session.get(loopback.emulator.base_urls["price"], timeout=5)


def test_a_torn_answer_ends_before_its_announced_length(loopback):
    loopback.control.fail_next("partner_center", path="/v1/customers", kind="drop_during")
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        loopback.pc("/v1/customers")
    assert loopback.pc("/v1/customers").status_code == 200


@pytest.mark.parametrize("kind", ["stall_before", "stall_after"])
def test_a_stalled_request_runs_into_the_clients_time_out(loopback, kind):
    price = loopback.emulator.base_urls["price"]
    loopback.control.fail_next("price", kind=kind)
    with pytest.raises(requests.ReadTimeout):
        loopback.session.get(price, timeout=0.2)
    assert loopback.session.get(price, timeout=5).status_code == 401


def test_a_stalled_client_is_let_go_when_the_server_stops(desk):
    desk.control.fail_next("price", kind="stall_before")
    with ThreadPoolExecutor(1) as pool:
        with Loopback(desk.emulator).start():
            asked = pool.submit(requests.get, desk.emulator.base_urls["price"], timeout=60)
            while not any(entry["fault"] for entry in desk.control.requests()):
                time.sleep(0.01)
        with pytest.raises(requests.ConnectionError):
            asked.result(timeout=10)


def test_a_body_may_come_in_chunks_of_unknown_length(loopback):
    row = b'{"name": "Contoso"}'
    url = "/api/data/v9.2/accounts"
    pieces = (row[start : start + 5] for start in range(0, len(row), 5))
    made = loopback.call("dataverse", "POST", url, app=True, data=pieces)
    there = made.headers["OData-EntityId"]
    assert loopback.call("dataverse", "GET", there, app=True).json()["name"] == "Contoso"


# TLS


@pytest.fixture
def secure(desk, monkeypatch):
    with Loopback(desk.emulator, tls=True).start() as server, requests.Session() as session:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_bundle))
        desk.session = session
        desk.server = server
        yield desk


def test_with_tls_every_host_of_microsofts_speaks_it(secure):
    urls = dict(secure.emulator.base_urls)
    for plain in ("control", "identity"):  # at Azure too the identity is asked over plain HTTP
        assert urls.pop(plain).startswith("http://127.0.0.1:")
    assert all(url.startswith("https://127.0.0.1:") for url in urls.values())
    page = secure.pc("/v1/customers?size=3").json()
    assert [row["id"] for row in page["items"]] == CUSTOMERS[:3]
    by_name = urls["price"].replace("127.0.0.1", "localhost")
    assert secure.session.get(by_name, timeout=5).status_code == 401


def test_who_does_not_know_the_authority_is_not_served_and_nothing_is_printed(secure, capfd):
    with pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        secure.session.get(secure.emulator.base_urls["price"], timeout=5, verify=certifi.where())
    plain = secure.emulator.base_urls["price"].replace("https", "http")
    with pytest.raises(requests.ConnectionError):
        secure.session.get(plain, timeout=5)
    assert secure.session.get(secure.emulator.base_urls["price"], timeout=5).status_code == 401
    assert capfd.readouterr() == ("", "")


def test_the_key_is_gone_once_loaded_and_the_rest_when_the_server_stops(desk, monkeypatch):
    seen = []
    unlink = Path.unlink

    def looked_at(path, *arguments):
        seen.append((path.name, stat.S_IMODE(path.stat().st_mode)))
        unlink(path, *arguments)

    monkeypatch.setattr(Path, "unlink", looked_at)
    with Loopback(desk.emulator, tls=True) as server:
        folder = server.ca_bundle.parent
        assert seen == [("server.key", 0o600)]
        assert sorted(path.name for path in folder.iterdir()) == ["ca.pem", "server.pem"]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_a_connection_that_never_begins_the_handshake_holds_up_no_one(secure):
    port = int(secure.emulator.base_urls["price"].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)):
        answer = secure.session.get(secure.emulator.base_urls["price"], timeout=5)
    assert answer.status_code == 401


def test_faults_of_the_connection_happen_over_tls_too(secure):
    price = secure.emulator.base_urls["price"]
    for kind, raised in (
        ("drop_before", requests.ConnectionError),
        ("drop_during", requests.exceptions.ChunkedEncodingError),
        ("stall_after", requests.ReadTimeout),
    ):
        secure.control.fail_next("price", kind=kind)
        with pytest.raises(raised):
            secure.session.get(price, timeout=0.3)
    assert secure.session.get(price, timeout=5).status_code == 401


def test_threads_are_served_and_the_log_misses_none(loopback):
    desk = loopback
    token = desk.token("partner_center")
    desk.control.clear_log()

    def ask(number):
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{desk.emulator.base_urls['partner_center']}/v1/customers/{CUSTOMERS[number % 7]}"
        return requests.get(url, headers=headers, timeout=10).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(40))) == {200}
    assert [entry["n"] for entry in desk.control.requests()] == list(range(1, 41))
