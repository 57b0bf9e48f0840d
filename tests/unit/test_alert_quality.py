"""How good the alerts are, on a part of what the benchmark invents: `python -m bench.alerts`."""

from random import Random

from bench.alerts import HISTORIES, Score, invent, naive, ours


def scored(rule, cases):
    score = Score()
    for case in cases:
        score.add(case, rule(case))
    return score


def test_spikes_of_three_times_and_drops_are_found_and_little_else():
    draw = Random(4)  # noqa: S311 - repeatable on purpose
    cases = [
        invent(draw, history, injected)
        for history in HISTORIES
        for injected in ("3", "5", "20", "drop", "")
    ]
    score = scored(ours, cases)
    assert score.found >= 0.95 * score.there
    assert score.right >= 0.95 * score.told
    assert scored(naive, cases).right < 0.7 * scored(naive, cases).told


def test_what_is_invented_is_what_is_said():
    draw = Random(5)  # noqa: S311 - repeatable on purpose
    for history in HISTORIES:
        (steady, spiked, dropped) = (invent(draw, history, one) for one in ("", "10", "drop"))
        assert steady.days == ()
        assert max(spiked.amounts[day] for day in spiked.days) > 0
        assert {dropped.amounts[day] for day in dropped.days} == {0}
