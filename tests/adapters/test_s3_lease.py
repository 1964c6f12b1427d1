"""The same lock in S3: moto's server keeps the conditions of If-None-Match and If-Match."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from moso.adapters.s3_lease import S3Place
from moso.retraining.lease import LeaseHeld, LeaseLost, take


@pytest.fixture
def place(s3, s3_server):
    _, bucket = s3
    return lambda: S3Place(f"s3://{bucket}/store", "http://{}:{}".format(*s3_server))


def _outcome(place, now):
    try:
        return take(place(), 60.0, clock=lambda: now)
    except LeaseHeld:
        return None


@pytest.mark.parametrize("expired", [False, True])
def test_of_six_at_once_one_takes_the_lock(place, expired):
    if expired:
        take(place(), 1.0, clock=lambda: 0.0)
    with ThreadPoolExecutor(6) as pool:
        taken = [lease for lease in pool.map(lambda _: _outcome(place, 1000.0), range(6)) if lease]
    assert len(taken) == 1
    taken[0].renew()


def test_a_lock_that_was_taken_over_is_lost_and_a_released_one_is_free(place):
    old = take(place(), 60.0, clock=lambda: 1000.0)
    with pytest.raises(LeaseHeld, match="s3://"):
        take(place(), 60.0, clock=lambda: 1059.0)
    new = take(place(), 60.0, clock=lambda: 1060.0)
    for change in (old.renew, old.release):
        with pytest.raises(LeaseLost):
            change()
    new.release()
    take(place(), 60.0, clock=lambda: 1061.0)


def test_the_lock_is_one_object_below_the_address(place, s3):
    client, bucket = s3
    take(place(), 60.0)
    assert [item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]] == ["store/retraining.lock.json"]
