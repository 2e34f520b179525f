"""What bench measures, with clocks, networks and loops of the tests."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cvkit.engine import bench
from cvkit.engine.bench import LayerClock, Leg, Measured, Timings, evenly, measure, recommended


@pytest.mark.parametrize(
    ("percent", "wanted"), [(50, 50), (90, 90), (99, 99), (100, 100), (0.1, 1)]
)
def test_a_percentile_is_one_of_the_latencies(percent, wanted):
    values = [float(n) for n in range(1, 101)]
    assert Timings(latencies=values[::-1]).latency(percent) == wanted
    assert Timings(latencies=[3.0]).latency(percent) == 3.0


def test_rates_have_a_median_and_a_spread():
    found = Timings(rates=[8.0, 10.0, 11.0])
    assert (found.rate, found.spread) == (10.0, 0.3)


def test_shares_add_up():
    found = Timings()
    found.stages |= {"decode": 1.0, "model": 2.0, "write": 1.0}
    assert found.shares() == {"decode": 0.25, "model": 0.5, "post-process": 0.0, "write": 0.25}


@pytest.mark.parametrize(("count", "wanted"), [(9, [0, 1, 2, 3]), (4, [0, 1, 2, 3]), (2, [0, 2])])
def test_inputs_are_evenly_spaced(count, wanted):
    assert evenly(list(range(4)), count) == wanted


RATES = [
    ([Measured(rate=1), Measured(rate=3)], None, 1),
    ([Measured(rate=1, agreement=1), Measured(rate=3, agreement=0.998)], None, 0),
    ([Measured(rate=1, agreement=1), Measured(rate=3, agreement=0.9995)], None, 1),
    ([Measured(rate=1, metric=0.8), Measured(rate=3, metric=0.7991)], 0.8, 1),
    ([Measured(rate=1, metric=0.8), Measured(rate=3, metric=0.799)], 0.8, 1),  # 0.1 point
    ([Measured(rate=1, metric=0.8), Measured(rate=3, metric=0.7989)], 0.8, 0),
    ([Measured(rate=1, metric=0.8), Measured(rate=3, metric=0.9, agreement=0.1)], 0.8, 1),
    ([Measured(rate=3), Measured(rate=3.05)], None, 0),  # equally fast
    ([Measured(rate=3, metric=0.5)], 0.8, None),
]


@pytest.mark.parametrize(("found", "reference", "wanted"), RATES)
def test_the_fastest_that_loses_nothing_is_recommended(found, reference, wanted):
    assert recommended(dict(enumerate(found)), reference) == wanted


class Clock:
    """Seconds that pass as a network says."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(bench, "time", clock)
    return clock


class Slow(nn.Module):
    def __init__(self, clock, seconds, inner=None):
        super().__init__()
        self.clock, self.seconds, self.inner = clock, seconds, inner

    def forward(self, value):
        self.clock.now += self.seconds
        return self.inner(value) if self.inner else value


class Network(nn.Module):
    """Is called by another method than `forward`, as detectors are."""

    def __init__(self, clock):
        super().__init__()
        self.clock, self.first = clock, Slow(clock, 1.0, Slow(clock, 2.0))
        self.second = Slow(clock, 4.0)

    def detect(self, value):
        value = self.first(value)
        self.clock.now += 50.0  # suppression of boxes, for example
        return self.second(value)


def leg_of(model, **more):
    cpu = SimpleNamespace(device=torch.device("cpu"))
    return Leg(
        **{"task": None, "model": model, "fabric": cpu, "workers": 0, "batch_size": 1} | more
    )


def test_only_layers_are_time_of_the_model_and_inner_ones_count_once(clock):
    model = Network(clock)
    with LayerClock(leg_of(model)) as watch:
        model.detect(torch.zeros(1))
    assert watch.seconds == 7.0
    model.detect(torch.zeros(1))
    assert watch.seconds == 7.0, "nothing is watched any more"


def test_a_layer_that_fails_is_left(clock):
    class Failing(nn.Module):
        def forward(self, value):
            clock.now += 1.0
            raise ValueError

    model = nn.Sequential(Failing())
    with LayerClock(leg_of(model)) as watch:
        for _ in range(2):
            with pytest.raises(ValueError):
                model(torch.zeros(1))
    assert watch.seconds == 2.0


def test_legs_alternate_and_each_round_turns_their_order(monkeypatch, tmp_path):
    order, files = [], [SimpleNamespace(key=str(n)) for n in range(50)]
    seen = []
    speeds = {1: 0.25, 2: 0.5, 4: 0.125}
    monkeypatch.setattr(bench, "warmed_up", lambda leg, files: speeds[leg.batch_size])

    def rate(leg, chosen, folder, seconds):
        order.append(leg.batch_size)
        seen.append((len(chosen), seconds))
        return 10.0 * leg.batch_size + len(order)

    def times(leg, chosen, folder, seconds, timings):
        timings.latencies.append(float(leg.batch_size))

    monkeypatch.setattr(bench, "rate_of_predict", rate)
    monkeypatch.setattr(bench, "time_batches", times)
    legs, done = [leg_of(None, batch_size=size) for size in speeds], []
    found = measure(legs, files, tmp_path, seconds=24.0, advance=lambda n: done.append(n), rounds=3)
    assert order == [1, 2, 4, 4, 2, 1, 1, 2, 4]
    assert done == list(range(1, 10))
    assert [each.rates for each in found] == [[11, 16, 17], [22, 25, 28], [43, 44, 49]]
    assert [each.latencies for each in found] == [[1.0] * 3, [2.0] * 3, [4.0] * 3]
    assert set(seen) == {(8, 4.0)}, "as many inputs as the slowest can predict, the same for all"
