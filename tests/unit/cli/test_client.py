from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from agency import errors
from agency.client import Client, make_error, problem_of
from agency.errors import AnswerLost, DaemonUnreachable, InvalidInput
from tests.unit.cli.playing import GUARD_S, RUN_ID, PlayedDaemon, Reply, run_document


def all_errors(root: type[errors.AgencyError]) -> list[type[errors.AgencyError]]:
    return [root] + [found for kind in root.__subclasses__() for found in all_errors(kind)]


@pytest.mark.parametrize("kind", all_errors(errors.AgencyError), ids=lambda kind: kind.code)
def test_every_problem_becomes_the_error_of_its_code(kind: type[errors.AgencyError]) -> None:
    document = {"code": kind.code, "detail": "So it is.", "hint": "Do this.", "run_id": RUN_ID}

    error = make_error(400, document, {})

    assert type(error) is kind
    assert error.message == "So it is."
    assert str(error) == "So it is."
    assert error.hint == "Do this."
    assert error.data["run_id"] == RUN_ID


def test_problem_keeps_what_http_said() -> None:
    document = {"code": "run_ended", "detail": "It has.", "status": 409, "correlationId": "c-1"}

    error = make_error(409, {**document, "run_id": RUN_ID, "run_status": "failed"}, {})

    said = problem_of(error)
    assert said is not None
    assert (said.status, said.code, said.correlation_id) == (409, "run_ended", "c-1")
    assert error.data == {"run_id": RUN_ID, "status": "failed"}


def test_problem_without_a_hint_has_that_of_its_class() -> None:
    error = make_error(404, {"code": "run_not_found", "detail": "None."}, {})

    assert error.hint == errors.RunNotFound.hint


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidInput),
        (401, errors.Forbidden),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (413, errors.LimitExceeded),
        (422, InvalidInput),
        (429, errors.LimitExceeded),
        (500, errors.AgencyError),
        (502, errors.Failed),
        (503, errors.Unavailable),
        (507, errors.LimitExceeded),
    ],
)
def test_unknown_code_falls_back_on_the_status(status: int, kind: type[errors.AgencyError]) -> None:
    error = make_error(status, {"code": "of_the_future", "detail": "New."}, {})

    assert type(error) is kind


def test_answer_that_is_no_problem_document_is_still_an_error() -> None:
    error = make_error(500, ["?"], {})

    assert error.message == "The daemon answered HTTP 500."


def test_faults_and_retry_after_arrive() -> None:
    faults = [{"pointer": "/message", "detail": "It is missing.", "hint": "Add it."}]
    invalid = make_error(422, {"code": "invalid_input", "errors": faults}, {})
    stopping = make_error(503, {"code": "shutting_down"}, {"retry-after": "5"})

    assert isinstance(invalid, InvalidInput)
    assert [("/message", "It is missing.", "Add it.")] == [
        (fault.where, fault.what, fault.hint) for fault in invalid.faults
    ]
    assert isinstance(stopping, errors.ShuttingDown)
    assert stopping.retry_after_s == 5.0


def test_request_carries_token_and_preference_and_key(daemon: PlayedDaemon) -> None:
    daemon.on("POST", "/api/v1/runs", Reply({"run_id": RUN_ID, "status": "pending"}, 202))

    Client(daemon.url, "agy_secret").start(
        "order", {"sku": "ä"}, name="one", wait_s=3, idempotency_key="k"
    )

    (seen,) = daemon.seen
    assert seen.headers["authorization"] == "Bearer agy_secret"
    assert seen.headers["prefer"] == "wait=3"
    assert seen.headers["idempotency-key"] == "k"
    assert seen.headers["content-type"] == "application/json"
    assert seen.body == {"workflow": "order", "input": {"sku": "ä"}, "name": "one"}


def test_names_are_quoted_in_paths(daemon: PlayedDaemon) -> None:
    daemon.on("GET", "/api/v1/workflows/a%2Fb%3F%20%C3%A4", Reply(run_document(name="a/b? ä")))

    assert Client(daemon.url).run_named("a/b? ä")["name"] == "a/b? ä"


def test_lists_repeat_filters_and_tell_where_to_go_on(daemon: PlayedDaemon) -> None:
    daemon.on("GET", "/api/v1/runs", Reply({"runs": [run_document()], "next_cursor": "c"}))

    page = Client(daemon.url).runs(status=("failed", "cancelled"), limit=1)

    assert page.cursor == "c"
    assert [RUN_ID] == [run["id"] for run in page.items]
    assert daemon.seen[0].path == "/api/v1/runs?status=failed&status=cancelled&limit=1"


def test_unchanged_run_is_told_by_its_tag(daemon: PlayedDaemon) -> None:
    path = f"/api/v1/runs/{RUN_ID}"
    daemon.on("GET", path, Reply(run_document(), headers={"ETag": '"1"'}), Reply(status=304))
    client = Client(daemon.url)

    first, tag = client.changed_run(RUN_ID, None, wait_s=5)
    second, same_tag = client.changed_run(RUN_ID, tag, wait_s=5)

    assert first is not None
    assert (second, same_tag) == (None, '"1"')
    assert "prefer" not in daemon.seen[0].headers
    assert daemon.seen[1].headers["if-none-match"] == '"1"'
    assert daemon.seen[1].headers["prefer"] == "wait=5"


def test_unhealthy_daemon_answers_all_the_same(daemon: PlayedDaemon) -> None:
    daemon.on("GET", "/health", Reply({"status": "unhealthy"}, 503))

    assert Client(daemon.url).health()["status"] == "unhealthy"


def test_path_in_front_of_the_interface_is_kept(daemon: PlayedDaemon) -> None:
    daemon.on("GET", "/agency/health", Reply({"status": "healthy"}))

    assert Client(f"{daemon.url}/agency/").health()["status"] == "healthy"


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8080",
        "ftp://host",
        "http://",
        "http://user:word@host",
        "http://host:port",
        "http://host/?a=1",
        "http://[::1",
    ],
)
def test_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="is not one of a daemon"):
        Client(url)


def test_nobody_there_is_unreachable() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"

        with pytest.raises(DaemonUnreachable, match="connection refused"):
            Client(url).health()


def test_unknown_host_is_unreachable() -> None:
    with pytest.raises(DaemonUnreachable):
        Client("http://nowhere.invalid").health()


def test_tls_daemon_is_asked_when_its_certificate_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = shutil.which("openssl")
    if command is None:
        pytest.skip("needs the command openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    options = f"req -x509 -newkey rsa:2048 -nodes -days 1 -keyout {key} -out {certificate}"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([command, *options.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    daemon = PlayedDaemon(tls=context)
    daemon.on("GET", "/health", Reply({"status": "healthy"}))
    url = daemon.url.replace("127.0.0.1", "localhost")

    with pytest.raises(DaemonUnreachable, match="certificate"):
        Client(url).health()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    health = Client(url).health()

    daemon.close()
    assert health["status"] == "healthy"


def test_tls_to_a_plain_port_is_unreachable(daemon: PlayedDaemon) -> None:
    with pytest.raises(DaemonUnreachable):
        Client(daemon.url.replace("http:", "https:")).health()


@pytest.mark.parametrize(
    "reply",
    [
        Reply("<html>It works</html>", content_type="text/html"),
        Reply("<html>Bad Gateway</html>", 502, content_type="text/html"),
        Reply(status=301, headers={"Location": "/elsewhere"}),
    ],
)
def test_something_else_that_answers_is_not_the_daemon(daemon: PlayedDaemon, reply: Reply) -> None:
    daemon.on("GET", "/api/v1/definitions", reply)

    with pytest.raises(DaemonUnreachable, match="what answers there"):
        Client(daemon.url).definitions()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no http\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Type: application/json\r\n\r\n{",
    ],
    ids=["hung up", "not http", "cut off", "half a value"],
)
def test_lost_answer_is_told_from_an_unsent_request(daemon: PlayedDaemon, raw: bytes) -> None:
    daemon.on("GET", "/health", Reply(raw=raw))

    with pytest.raises(AnswerLost):
        Client(daemon.url).health()


def test_silence_ends_with_the_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"

        with pytest.raises(AnswerLost, match="did not answer in time"):
            Client(url, timeout_s=0.05).health()


def test_refusal_of_a_large_body_is_read_though_the_rest_was_not_taken() -> None:
    """A daemon answers 413 and closes while the body is still on its way."""
    answer = b'{"code": "body_too_large", "detail": "It is too large."}'
    head = b"HTTP/1.1 413 X\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n\r\n"

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1024)
            connection.sendall(head % len(answer) + answer)
            connection.shutdown(socket.SHUT_WR)
            # Read to the end, so that no reset overtakes the answer.
            while connection.recv(1 << 20):
                pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        with pytest.raises(errors.BodyTooLarge):
            Client(url).start("order", "x" * 5_000_000)

        thread.join(GUARD_S)
