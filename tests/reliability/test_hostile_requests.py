"""A part of the malformed requests; `hostile_requests` has more of them."""

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx2")

from reliability import hostile_requests


@pytest.mark.slow
def test_malformed_requests_do_no_harm():
    reports = []
    statuses = hostile_requests.send(300, 0, lambda *said: reports.append(said))
    assert reports == []
    assert set(statuses) >= {200, 400, 404, 405}
