"""The policy in closed form: shares, turns, deadlines, room. One unit of time is one round."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flux1.engine.scheduler import Moment, Scheduler, Turn

NOW = Moment()


class Desk:
    """Adds pictures, lets them in at once, and plays rounds."""

    def __init__(self, tokens_per_call=100, max_running=64):
        self.scheduler = Scheduler(tokens_per_call, max_running)
        self.made = 0

    def add(self, owner="ann", tokens=50, evaluations=10, **fields) -> Turn:
        self.made += 1
        fields = {"order": f"order-{self.made}", "arrival": float(self.made), "image": 0} | fields
        picture = Turn(
            owner=owner, model=fields.pop("model", "tiny"), row_tokens=tokens,
            evaluations=evaluations, **fields,
        )  # fmt: skip
        self.scheduler.add(picture)
        return picture

    def round(self, moment=NOW) -> list[Turn]:
        for picture in self.scheduler.admit(moment):
            self.scheduler.ready(picture)
        chosen = self.scheduler.round(moment)
        for picture in chosen:
            if not picture.evaluations:
                self.scheduler.remove(picture)
        return chosen

    def served(self, rounds, refill=None) -> Counter:
        """Token-evaluations by owner. `refill(owner)` follows each picture that ends."""
        tokens = Counter()
        for _ in range(rounds):
            for picture in self.round():
                tokens[picture.owner] += picture.tokens
                if refill and not picture.evaluations:
                    refill(picture.owner)
        return tokens


WEIGHTS = {"ann": 1.0, "bob": 2.0, "cyd": 3.0}


@pytest.mark.parametrize("budget", [50, 100, 300])
@pytest.mark.parametrize(
    "tokens",
    [
        {"ann": 50, "bob": 50, "cyd": 50},
        {"ann": 50, "bob": 100, "cyd": 100},
        {"ann": 400, "bob": 100, "cyd": 25},
    ],
)
def test_busy_owners_share_in_the_ratio_of_their_weights(budget, tokens):
    desk = Desk(budget)

    def refill(owner):
        desk.add(owner, tokens[owner], evaluations=7, weight=WEIGHTS[owner])

    for owner in WEIGHTS:
        for _ in range(12):
            refill(owner)
    served = desk.served(1200, refill)
    for owner, weight in WEIGHTS.items():
        assert served[owner] / served.total() == pytest.approx(weight / 6, rel=0.05)


def test_who_was_away_has_nothing_saved_up():
    desk = Desk(tokens_per_call=50)
    for owner in ("ann", "bob"):
        desk.add(owner, evaluations=10_000)
    desk.served(10)
    ann_alone, bob = desk.scheduler.running
    desk.scheduler.remove(bob)
    desk.served(1000)
    assert ann_alone.evaluations < 9_000
    desk.add("bob", evaluations=10_000)
    served = desk.served(100)
    assert abs(served["ann"] - served["bob"]) <= 2 * 50


def test_who_asks_for_little_has_nothing_saved_up():
    """Bob's one picture is served in every round; ann's flood takes the rest of the room."""
    desk = Desk(tokens_per_call=200)
    desk.add("bob", evaluations=10_000)
    for _ in range(20):
        desk.add("ann", evaluations=10_000)
    assert desk.served(500) == {"bob": 500 * 50, "ann": 500 * 150}
    for _ in range(20):
        desk.add("bob", evaluations=10_000)
    served = desk.served(100)
    assert served["bob"] == pytest.approx(served["ann"], rel=0.05)


def test_a_newcomer_does_not_wait_for_the_end_of_others_pictures():
    desk = Desk(tokens_per_call=100, max_running=8)
    for _ in range(50):
        desk.add("ann", evaluations=1000)
    desk.served(20)
    assert len(desk.scheduler.running) == 6  # two places are kept for others
    bob = desk.add("bob", evaluations=5)
    assert all(bob in desk.round() for _ in range(5))
    assert bob.evaluations == 0


def test_a_picture_that_does_not_fit_is_passed_over_and_still_gets_its_turn():
    desk = Desk(tokens_per_call=100)
    big = desk.add("ann", tokens=400, evaluations=3)
    small = [desk.add("bob", evaluations=100) for _ in range(4)]
    rounds = [desk.round() for _ in range(40)]
    assert rounds[0] == [big]  # ann came first; a picture above the budget has a round for itself
    assert sum(round == [big] for round in rounds) == 3
    assert big.evaluations == 0
    turns = [i for i, round in enumerate(rounds) if round == [big]]
    assert turns == [0, 6, 11]  # 400 tokens of ann's for 4 x 100 of bob's, who wins ties
    assert all(set(round) <= set(small) for round in rounds if big not in round)


def test_within_an_owner_small_pictures_do_not_wait_behind_a_big_one_nor_the_big_one_for_ever():
    desk = Desk(tokens_per_call=100)
    big = desk.add(tokens=400, evaluations=10)
    desk.round()
    small = desk.add(tokens=50, evaluations=4)
    assert [desk.round() for _ in range(4)] == [[small]] * 4
    rounds = 0
    while big.evaluations:  # an endless stream of small ones
        rounds += 1
        if not any(p is not big for p in desk.scheduler.running + desk.scheduler.waiting):
            desk.add(tokens=100, evaluations=4)
        desk.round()
    assert rounds < 9 * 4 * 16 * 1.3  # one token in 16, 4 rounds' worth each


def test_pictures_of_one_size_and_model_share_a_round():
    desk = Desk(tokens_per_call=200)
    mine = desk.add("ann", tokens=50)
    bob = desk.add("bob", tokens=60)
    same = [desk.add("cyd", tokens=50), desk.add("dan", tokens=50)]
    eve = desk.add("eve", tokens=50, evaluations=20, model="mini")
    double = desk.add("fay", tokens=50, evaluations=20, rows=2)
    assert desk.round() == [mine, *same]  # fay's two rows do not fit any more
    assert desk.round() == [bob]
    assert desk.round() == [eve]
    assert desk.round() == [double, mine, same[0]]


def test_an_owners_higher_priority_goes_first_and_does_not_touch_others():
    desk = Desk(tokens_per_call=50)
    low = desk.add("ann", evaluations=20)
    high = desk.add("ann", evaluations=20, priority=5)
    other = desk.add("bob", evaluations=40)
    rounds = [picture for _ in range(24) for picture in desk.round()]
    assert rounds.count(other) == 12
    assert rounds.count(high) >= 11  # but for the one token in 16
    assert rounds.count(low) <= 1


def test_the_lowest_priority_is_drawn_under_an_endless_stream_of_higher():
    desk = Desk(tokens_per_call=50, max_running=4)
    low = desk.add(evaluations=5)
    high = [desk.add(evaluations=5, priority=9) for _ in range(8)]
    for _ in range(1000):
        for picture in desk.round():
            if picture in high and not picture.evaluations:
                high.append(desk.add(evaluations=5, priority=9))
    assert low.evaluations == 0


def test_among_equals_the_earliest_deadline_goes_first_then_who_came_first():
    desk = Desk(tokens_per_call=50)
    never, late, soon = desk.add(), desk.add(deadline=900.0), desk.add(deadline=800.0)
    ends = []
    while desk.scheduler.running or not ends:
        ends += [picture for picture in desk.round() if not picture.evaluations]
    assert ends == [soon, late, never]


def test_a_deadline_that_comes_near_goes_before_less_work():
    desk = Desk(tokens_per_call=50)
    short = desk.add(evaluations=2)
    due = desk.add(evaluations=10, deadline=21.0)
    costs = {"tiny": 0.01}  # half a second an evaluation
    assert desk.round(Moment(0.0, costs)) == [short]  # 21 s are more than 4 x 5 s
    assert desk.round(Moment(2.0, costs)) == [due]


def test_what_cannot_be_ready_in_time_expires():
    desk = Desk()
    passed = desk.add(deadline=10.0)
    hopeless = desk.add(deadline=14.0)
    desk.add(deadline=16.0)
    desk.add()
    assert desk.scheduler.expired(Moment(9.9)) == []
    assert desk.scheduler.expired(Moment(10.0)) == [passed]  # no cost measured: no prediction
    assert desk.scheduler.expired(Moment(10.0, {"tiny": 0.01})) == [passed, hopeless]
    assert desk.scheduler.until_deadline(Moment(8.5)) == 1.5


def test_a_forecast_is_what_happens():
    """Equal weights, one picture a round, a second a round."""
    desk = Desk(tokens_per_call=50, max_running=1)
    costs = Moment(0.0, {"tiny": 1 / 50})
    desk.add("ann", evaluations=10)
    desk.add("ann", evaluations=10)
    desk.add("bob", evaluations=4)
    new = Turn("new", 0, "bob", "tiny", 50, evaluations=8, arrival=9.0)
    forecast = desk.scheduler.forecast([new], costs)
    assert (forecast.begin_s, forecast.end_s) == (4 + 4, 12 + 12)
    assert forecast.ahead == 2  # bob's own and ann's first
    alone = Turn("new", 0, "cyd", "tiny", 50, evaluations=100, arrival=9.0)
    forecast = desk.scheduler.forecast([alone], costs)
    assert (forecast.ahead, forecast.begin_s, forecast.end_s) == (0, 0.0, 124.0)
    assert desk.scheduler.seconds(costs) == 24.0


def test_a_heavier_owner_is_promised_an_earlier_end():
    desk = Desk(tokens_per_call=50)
    costs = Moment(0.0, {"tiny": 1 / 50})
    desk.add("ann", evaluations=1000)
    new = Turn("new", 0, "bob", "tiny", 50, evaluations=10, weight=5.0)
    assert desk.scheduler.forecast([new], costs).end_s == pytest.approx(10 + 2)


pictures = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([10, 40, 90, 250]),
        st.integers(1, 6),
        st.integers(1, 2),
        st.sampled_from([0.5, 1.0, 4.0]),
        st.integers(-1, 2),
        st.sampled_from(["tiny", "mini"]),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(pictures, st.integers(1, 9))
def test_whatever_comes_every_round_keeps_the_rules_and_every_picture_ends(kinds, max_running):
    desk = Desk(tokens_per_call=100, max_running=max_running)
    left = {
        desk.add(owner, tokens, evaluations, rows=rows, weight=weight, priority=p, model=model):
        evaluations
        for owner, tokens, evaluations, rows, weight, p, model in kinds
    }  # fmt: skip
    for _ in range(sum(left.values())):
        chosen = desk.round()
        assert len(chosen) == len(set(chosen)) <= max_running
        assert len({(p.model, p.row_tokens) for p in chosen}) <= 1
        assert len(chosen) == 1 or sum(p.tokens for p in chosen) <= 100
        assert chosen or not any(left.values())  # no round is wasted
        for picture in chosen:
            left[picture] -= 1
            assert left[picture] == picture.evaluations >= 0
    assert not any(left.values())
    assert desk.scheduler.running == desk.scheduler.waiting == []
