"""The command lines of the comparisons, as far as nothing is started."""

import pytest

from benchmarks.choices import chosen, rotated
from benchmarks.environment import package_name, pip_reason
from benchmarks.peers import PEERS, Launch
from benchmarks.scenarios import OURS, PURE, SCENARIOS


def test_nothing_chosen_is_all():
    assert chosen(None, {"a": 1, "b": 2}) == [1, 2]


def test_a_choice_keeps_its_own_order():
    assert chosen("b, a", {"a": 1, "b": 2}) == [2, 1]


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="no such thing: c; there are: a, b"):
        chosen("a,c", {"a": 1, "b": 2})


def test_each_round_begins_with_another_one():
    assert [rotated("abc", turn) for turn in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]


def test_a_package_is_named_without_its_constraint():
    assert [package_name(each) for each in ("setuptools<81", "flask", "a[b]>=1")] == ["setuptools", "flask", "a"]


def test_the_reason_is_the_compilers_rather_than_pips_last_word():
    output = (
        "building\n x.c:1:10: fatal error: ev.h: No such file or directory\nerror: command 'gcc' failed\nERROR: -\n"
    )
    assert pip_reason(output) == "x.c:1:10: fatal error: ev.h: No such file or directory"
    assert pip_reason("\n") == "pip failed without a word"


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_command_names_its_application_and_its_port(peer):
    command = peer.command(Launch("/bin/python", "plain:hello", 8123, 500, 13))
    assert command[0] in {"/bin/python", "/bin/uwsgi", "/bin/kernel_alone"}  # of the environment, each way
    assert ("plain:hello" if peer.serves else "13") in command
    assert any("8123" in word for word in command)


def test_scenarios_and_servers_know_each_other():
    scenarios = {scenario.name for scenario in SCENARIOS}
    peers = {peer.name for peer in PEERS}
    assert all(set(peer.unfit) <= scenarios for peer in PEERS)
    assert all(set(scenario.peers) <= peers for scenario in SCENARIOS)
    assert all(OURS in scenario.peers for scenario in SCENARIOS)


def test_only_one_server_has_its_codec_chosen():
    assert [peer.name for peer in PEERS if peer.environ.get("GREENSERVE_CODEC") == "python"] == [PURE]


def test_nobody_has_a_turn_where_nobody_takes_part():
    assert rotated((), 1) == []
