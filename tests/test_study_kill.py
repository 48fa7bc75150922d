"""A server that is killed at any moment has lost no answer that a rater was told is saved."""

import os
import signal
import threading
import time

import httpx
import pytest
from judging import begin, give, new_project, new_rater, new_study, picture, rows_of
from served import PATIENCE, served_apart

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="a signal that ends at once")]


def client_of(address):
    return httpx.Client(base_url=address, timeout=PATIENCE, follow_redirects=True)


def test_kill_9_loses_no_answer(tmp_path):
    data, told = tmp_path / "data", []
    with served_apart(data) as (process, address), client_of(address) as client:
        project = new_project(client, {f"a/{number}.jpg": picture(number) for number in range(40)})
        study = new_study(client, project)
        raters = [new_rater(client, study, name) for name in ("Ann", "Bob")]

        def rate(rater, seconds):
            with client_of(address) as own:
                state = begin(own, rater)
                while True:
                    try:
                        reply = give(own, rater, state, "left", seconds)
                    except httpx.HTTPError:
                        return
                    told.append((seconds, reply.json()["counted"]))
                    seconds, state = seconds + 1, reply.json()["state"]

        threads = [threading.Thread(target=rate, args=(rater, 1000 * place)) for place, rater in enumerate(raters, 1)]
        for thread in threads:
            thread.start()
        late = time.monotonic() + PATIENCE
        while len(told) < 20 and time.monotonic() < late:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join(PATIENCE)
    assert len(told) >= 20 and all(counted for _, counted in told)
    with served_apart(data) as (_, address), client_of(address) as client:
        kept = rows_of(client, study)["seconds"].astype(float).tolist()
        lost = {seconds for seconds, _ in told} - {*kept}
        assert lost == set() and len(kept) == len({*kept})
        assert len(kept) <= len(told) + len(raters)  # a rater's last one may be saved without a word of it
        for rater in raters:
            state = client.get(f"{rater}/state").json()["state"]
            assert give(client, rater, state, "right").status_code == 200
