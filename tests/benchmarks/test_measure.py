"""One turn of a server: its answers to requests as they come, what counts as an error, its start."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.answers import Answer, page
from benchmarks.check import KINDS, WrongAnswer, check, first_requests, log_in
from benchmarks.environment import Environment
from benchmarks.load import Load, LoadFailed
from benchmarks.measure import answer_bytes, measure, script_arguments, unexpected
from benchmarks.peers import KERNEL_SOURCE, PEERS, Launch
from benchmarks.process import ServerFailed, cores, free_port, running
from benchmarks.scenarios import KERNEL, OURS, SCENARIOS, Metric
from benchmarks.start import time_start
from benchmarks.traffic import site
from tests.benchmarks.test_check import answering
from tests.conftest import require_program

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
PEER = {peer.name: peer for peer in PEERS}
SITE = BY_NAME["site"]


def command(peer, scenario, port, python=sys.executable):
    return peer.command(Launch(python, scenario.app, port, None, 13))


@pytest.mark.parametrize("name", ["site", "browser", "flask", "django", "falcon"])
def test_the_applications_answer_as_they_are_expected_to(name, tmp_path):
    scenario, port = BY_NAME[name], free_port()
    with running(command(PEER[OURS], scenario, port), port, cores()[0], tmp_path / "log"):
        session = log_in(port) if scenario.logs_in else ""
        assert check(port, scenario, session) == ()
        if scenario.logs_in:
            with pytest.raises(WrongAnswer, match="status 500 for /products/0/"):
                check(port, scenario, "forged")


def test_each_kind_of_answer_is_among_those_that_are_checked():
    answers = [page(request) for request in first_requests(SITE)]
    assert len(answers) == KINDS
    assert [answer.status for answer in answers].count(404) == KINDS // 20
    pages = [answer for answer in answers if answer.status == 200]
    assert {len(answer.fields) for answer in pages} == {6}
    assert len({dict(answer.fields)["ETag"] for answer in pages}) == len(pages)
    assert b"300 bytes posted" in page(site(1)).body


def test_a_wrong_field_is_no_answer():
    scenario = replace(BY_NAME["hello"], answer=lambda _: Answer(b"Hello, World!", fields=(("ETag", '"1"'),)))
    with answering() as port, pytest.raises(WrongAnswer, match='ETag: None, expected "1"'):
        check(port, scenario)


def test_a_login_without_a_cookie_is_no_session():
    with answering() as port, pytest.raises(WrongAnswer, match="brought no session: status 200"):
        log_in(port)


def test_json_is_compared_by_what_it_says():
    answer = Answer({"product": 1})
    assert answer.has_body(b'{"product": 1}\n')
    assert not answer.has_body(json.dumps({"product": 2}).encode())
    assert not answer.has_body(b"product 1")


def loaded(requests, non_2xx):
    return Load(requests=requests, rate=1.0, p50=1.0, p99=1.0, socket_errors=0, timeouts=0, non_2xx=non_2xx)


@pytest.mark.parametrize(
    ("scenario", "requests", "non_2xx", "errors"),
    [
        ("site", 20_000, 1000, 0),
        ("site", 20_000, 1064, 0),  # those on their way at the end
        ("site", 20_000, 1065, 1),
        ("site", 20_000, 0, 936),  # what is not there was answered with 200
        ("site", 20_000, 20_000, 18_936),
        ("hello", 20_000, 1, 1),
    ],
)
def test_answers_that_are_not_2xx_are_errors_unless_they_were_asked_for(scenario, requests, non_2xx, errors):
    assert unexpected(loaded(requests, non_2xx), BY_NAME[scenario]) == errors


def test_the_script_is_told_its_requests_and_its_session(tmp_path):
    assert script_arguments(BY_NAME["hello"], "", tmp_path) == []
    assert script_arguments(BY_NAME["returning"], "", tmp_path) == [str(tmp_path / "returning")]
    assert script_arguments(replace(BY_NAME["returning"], logs_in=True), "s", tmp_path)[1] == "s"


def test_a_turn_brings_the_processor_time_of_a_request(tmp_path):
    require_program("wrk")
    sample = measure(PEER[OURS], BY_NAME["returning"], sys.executable, cores()[0], 1, tmp_path)
    values = sample.values
    assert values[Metric.CPU] == pytest.approx(values[Metric.CPU_USER] + values[Metric.CPU_SYSTEM])
    assert values[Metric.CPU] > 0
    assert values[Metric.ERRORS] == values[Metric.NON_2XX] == 0


def test_a_server_that_answers_nothing_has_no_number(tmp_path):
    require_program("wrk")
    silent = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"
    peer = replace(PEER[KERNEL], command=lambda it: [sys.executable, "-c", silent, str(it.port)])
    with pytest.raises(LoadFailed, match="answered no request in 1 s"):
        measure(peer, BY_NAME["hello"], sys.executable, cores()[0], 1, tmp_path)


def test_the_kernels_part_is_measured_by_a_program_that_answers_anything(tmp_path):
    require_program("cc")
    (tmp_path / "bin").mkdir()
    place = Environment(tmp_path)
    assert place.compile(KERNEL_SOURCE) is None
    port = free_port()
    with running(command(PEER[KERNEL], SITE, port, place.python), port, cores()[0], tmp_path / "log"):
        check(port, replace(SITE, answer=lambda _: Answer(b"x" * 13)))
    assert answer_bytes(BY_NAME["hello"]) == 13
    assert answer_bytes(SITE) > 200


def test_a_program_that_does_not_compile_says_why(tmp_path):
    require_program("cc")
    (tmp_path / "bin").mkdir()
    broken = tmp_path / "broken.c"
    broken.write_text("int main(void) { return missing; }\n")
    assert "missing" in Environment(tmp_path).compile(broken)


def test_the_codec_is_that_of_the_installed_package(monkeypatch):
    monkeypatch.setenv("GREENSERVE_CODEC", "python")  # is not for the servers either
    found = Environment(Path(sys.prefix)).codec()
    monkeypatch.delenv("GREENSERVE_CODEC")
    command = [sys.executable, "-m", "greenserve", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found == ("compiled" if "compiled codec" in said else "python")


def test_a_start_is_timed_to_its_first_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.start.STARTS", 1)
    port = free_port()
    start = time_start(command(PEER[OURS], BY_NAME["start"], port), port, cores()[0], tmp_path / "log", {})
    assert start.ms > 0
    assert start.memory_mib > 1


def test_a_server_that_does_not_start_has_no_time(tmp_path):
    failing = [sys.executable, "-c", "import sys; sys.exit('no such application')"]
    with pytest.raises(ServerFailed, match="no such application"):
        time_start(failing, free_port(), cores()[0], tmp_path / "log", {})
