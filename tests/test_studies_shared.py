"""One study on two servers that share a PostgreSQL database: each answer counts once, whichever server it reaches."""

import threading
from contextlib import ExitStack

import pytest
from judging import answer_all, begin, give, new_project, new_rater, new_study, quiet_server, rows_of
from postgresql import new_database

pytestmark = pytest.mark.slow


@pytest.fixture
def servers(tmp_path, postgresql):
    address = new_database(postgresql)
    with ExitStack() as stack:
        yield [stack.enter_context(quiet_server(tmp_path / "data", database=address)) for _ in range(2)]


def test_a_study_goes_on_on_another_server(servers):
    one, other = servers
    study = new_study(one, new_project(one), training=1)
    rater = new_rater(other, study)
    state = give(one, rater, begin(one, rater), "left").json()["state"]
    assert other.get(f"{rater}/state").json()["state"] == state
    image = state["question"]["images"][0]["address"]
    assert other.get(image).content == one.get(image).content
    back = other.post(f"{rater}/undo", json={"answers": 1})
    assert back.status_code == 200 and back.json()["state"]["question"]["training"] == {"number": 1, "of": 1}
    assert answer_all(one, rater, lambda _: "left")["progress"] == {"done": 7, "of": 7}
    assert rows_of(one, study).equals(rows_of(other, study))


def test_of_requests_at_once_on_two_servers_one_counts(servers):
    study = new_study(servers[0], new_project(servers[0]))
    rater = new_rater(servers[0], study)
    state = begin(servers[0], rater)
    for _ in range(3):
        statuses, barrier = [], threading.Barrier(4)

        def answer(client, choice, state=state, statuses=statuses, barrier=barrier):
            barrier.wait()
            statuses.append(give(client, rater, state, choice, {"left": 1.0, "right": 2.0}[choice]).status_code)

        pairs = [(client, choice) for client in servers for choice in ("left", "right")]
        threads = [threading.Thread(target=answer, args=pair) for pair in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200, 200, 409, 409]
        state = servers[1].get(f"{rater}/state").json()["state"]
    assert len(rows_of(servers[1], study)) == 3
