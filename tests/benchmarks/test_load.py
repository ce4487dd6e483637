"""What is read from wrk's output."""

import pytest

from benchmarks.load import LoadFailed, parse_wrk

PLAIN = """Running 4s test @ http://127.0.0.1:9310/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.44ms    3.41ms  66.63ms   86.99%
    Req/Sec    43.10k     2.21k   44.74k    82.50%
  Latency Distribution
     50%  711.00us
     75%    1.04ms
     90%    1.50ms
     99%    1.23s
  171523 requests in 4.00s, 22.10MB read
Requests/sec:  42880.75
Transfer/sec:      5.53MB
"""


def test_rate_and_percentiles_are_read_in_milliseconds():
    load = parse_wrk(PLAIN, client_cpu=0.4)
    assert load.requests == 171_523
    assert (load.rate, load.p50, load.p99) == (42880.75, pytest.approx(0.711), pytest.approx(1230))
    assert (load.socket_errors, load.timeouts, load.non_2xx, load.client_cpu) == (0, 0, 0, 0.4)


def test_errors_are_counted_apart_from_timeouts():
    output = PLAIN + "  Socket errors: connect 1, read 20, write 300, timeout 7\n  Non-2xx or 3xx responses: 5\n"
    load = parse_wrk(output)
    assert (load.socket_errors, load.timeouts, load.non_2xx) == (321, 7, 5)


def test_minutes_are_a_unit_of_latency_too():
    assert parse_wrk(PLAIN.replace("1.23s", "1.50m")).p99 == pytest.approx(90_000)


@pytest.mark.parametrize("lost", ["Requests/sec", "50%  711", "99%    1", "171523"])
def test_an_output_without_a_number_is_refused(lost):
    with pytest.raises(LoadFailed, match="no match"):
        parse_wrk(PLAIN.replace(lost, "?"))
