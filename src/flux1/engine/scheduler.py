"""Who is drawn next: pure policy. It knows no torch, no thread and no clock; times are handed in.

One round is one model call, so its pictures are of one model and one size, and their tokens stay
within a budget. Each round is filled like this:

1. **Whose turn.** Every owner has an account: token-evaluations served, divided by the weight. The
   lowest account opens the round, and each picture that takes part is charged for, so over time
   owners who always have work get shares in the ratio of their weights. Nobody saves up: an owner
   who comes back, or who had all of its pictures served, starts level with those who wait.
2. **Which of its pictures.** Higher priority first; then a deadline that has come near; then the
   least work left, so that a small picture does not wait behind a big one, and what was begun
   ends; then the earlier deadline; then who came first.
3. **Who else.** What room is left goes to pictures of the same model and size by the same two
   rules. One that does not fit is passed over, not waited for. A picture larger than the whole
   budget opens a round like any other, and has it for itself.
4. **Nothing starves.** Every 16th place in flight, and one token in 16, are kept for whoever has
   waited the longest, whatever its owner, priority or size.

A picture may sit out any round (its state is small and keeps), so a newcomer never waits for the
end of somebody else's picture, only for a place among those in flight; a quarter of these is kept
for owners who have none.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

OLDEST_EVERY = 16  # tokens, and admissions: rare enough to leave the shares as they should be
NEAR = 4  # a deadline is near when less than this many times the work left remains


@dataclass(eq=False)
class Turn:
    """One picture of an order: what one evaluation of it costs, and how many are left.

    A call takes `rows` rows of `row_tokens` tokens (image and text). `deadline` and `arrival` are
    times of one clock, in seconds.
    """

    order: str
    image: int
    owner: str
    model: str
    row_tokens: int
    evaluations: int
    rows: int = 1
    weight: float = 1.0
    priority: int = 0
    deadline: float | None = None
    arrival: float = 0.0

    @property
    def tokens(self) -> int:
        return self.rows * self.row_tokens

    @property
    def work(self) -> int:
        """Token-evaluations left."""
        return self.tokens * self.evaluations

    @property
    def share(self) -> float:
        """The amount that the work left will add to its owner's account."""
        return self.work / self.weight


@dataclass(frozen=True)
class Moment:
    """All that the policy cannot know by itself: the time, and for each model the measured seconds
    of one token-evaluation (none before the first measure: nothing is predicted then)."""

    now: float = 0.0
    costs: Mapping[str, float] = field(default_factory=dict)

    def seconds(self, turns: Iterable[Turn]) -> float:
        """Return how long the work left takes if nothing else is done."""
        return sum(p.work * self.costs.get(p.model, 0.0) for p in turns)


@dataclass(frozen=True)
class Forecast:
    """`ahead` waiting pictures go first; seconds until the first of one's own should begin and
    the last should end."""

    ahead: int
    begin_s: float
    end_s: float


class Scheduler:
    """Pictures that wait, and pictures in flight (at most `max_running`), under the policy above.

    A picture is added, let in by `admit` (its prompt is then encoded), `ready`, chosen in rounds
    until it has no evaluations left, and removed.
    """

    def __init__(self, tokens_per_call: int, max_running: int) -> None:
        self.waiting: list[Turn] = []
        self.running: list[Turn] = []
        self._tokens_per_call, self._max_running = tokens_per_call, max_running
        self._accounts: dict[str, float] = {}
        self._last_round: dict[Turn, int] = {}  # of those ready
        self._rounds = self._admissions = 0
        self._kept: float = 0  # tokens for who sat out the longest

    def add(self, turn: Turn) -> None:
        """Let a picture wait."""
        self._accounts[turn.owner] = self._entry(turn.owner)
        self.waiting.append(turn)

    def remove(self, turn: Turn) -> None:
        """Forget a picture: done, failed or not wanted any more. Unknown ones are no error."""
        for group in (self.waiting, self.running):
            if turn in group:
                group.remove(turn)
        self._last_round.pop(turn, None)
        if not self._turns():
            self._accounts.clear()

    def expired(self, moment: Moment) -> list[Turn]:
        """Pictures that cannot be ready in time, even if nothing else were drawn."""
        return [
            p
            for p in self._turns()
            if p.deadline is not None and moment.now + moment.seconds([p]) >= p.deadline
        ]

    def admit(self, moment: Moment) -> list[Turn]:
        """Fill the free places in flight; each owner counts as charged for what it has there."""
        accounts = dict(self._accounts)
        for p in self.running:
            accounts[p.owner] += p.tokens / p.weight
        admitted: list[Turn] = []
        while candidates := self._admissible():
            self._admissions += 1
            if self._admissions % OLDEST_EVERY:
                chosen = min(candidates, key=lambda p: (accounts[p.owner], *_rank(p, moment)))
            else:
                chosen = min(candidates, key=lambda p: p.arrival)
            accounts[chosen.owner] += chosen.tokens / chosen.weight
            self.waiting.remove(chosen)
            self.running.append(chosen)
            admitted.append(chosen)
        return admitted

    def ready(self, turn: Turn) -> None:
        """An admitted picture may take part in rounds from now on."""
        if turn in self.running:
            self._last_round[turn] = self._rounds

    def round(self, moment: Moment) -> list[Turn]:
        """The pictures of the next call, each charged one evaluation; [] if none is ready."""
        able = list(self._last_round)
        if not able:
            return []
        ranks = {p: _rank(p, moment) for p in able}
        chosen = min(able, key=lambda p: self._last_round[p])
        if self._kept >= chosen.tokens:
            self._kept -= chosen.tokens
        else:
            chosen = min(able, key=lambda p: (self._accounts[p.owner], ranks[p]))
        self._rounds += 1
        size, room = (chosen.model, chosen.row_tokens), self._tokens_per_call
        able = [p for p in able if (p.model, p.row_tokens) == size]
        together: list[Turn] = []
        while True:
            together.append(chosen)
            self._accounts[chosen.owner] += chosen.tokens / chosen.weight
            self._last_round[chosen] = self._rounds
            chosen.evaluations -= 1
            room -= chosen.tokens
            able = [p for p in able if p is not chosen and p.tokens <= room]
            if not able:
                break
            chosen = min(able, key=lambda p: (self._accounts[p.owner], ranks[p]))
        nobody_sat_out = len(together) == len(self._last_round)
        self._kept += 0 if nobody_sat_out else sum(p.tokens for p in together) / OLDEST_EVERY
        self._level(together)
        return together

    def forecast(self, turns: Sequence[Turn], moment: Moment) -> Forecast:
        """When pictures of one order, here already or not, get their turn if nobody else comes.

        Everybody's work is taken to flow in the ratio of the weights, as a fluid.
        """
        owner, rank = turns[0].owner, _rank(turns[0], moment)
        queues: dict[str, list[Turn]] = defaultdict(list)
        for p in self._turns():
            if p not in turns:
                queues[p.owner].append(p)
        own = [p for p in queues.pop(owner, []) if _rank(p, moment) < rank]
        begin = self._entry(owner) + sum(p.share for p in own)
        end = begin + sum(p.share for p in turns)

        waiting = set(self.waiting)
        ahead = len(waiting.intersection(own))
        begin_s, end_s = moment.seconds(own), moment.seconds([*own, *turns])
        for other, queue in queues.items():
            account, seconds = self._accounts[other], moment.seconds(queue)
            whole = sum(p.share for p in queue) or 1.0  # none left: in its last call
            begin_s += seconds * min(1.0, max(0.0, (begin - account) / whole))
            end_s += seconds * min(1.0, max(0.0, (end - account) / whole))
            for p in sorted(queue, key=lambda p: _rank(p, moment)):
                ahead += account < begin and p in waiting
                account += p.share
        return Forecast(ahead, begin_s, end_s)

    def until_deadline(self, moment: Moment) -> float:
        """Seconds to the next deadline, at most an hour."""
        deadlines = [p.deadline - moment.now for p in self._turns() if p.deadline is not None]
        return max(0.0, min([3600.0, *deadlines]))

    def seconds(self, moment: Moment) -> float:
        """Until all that is here is done."""
        return moment.seconds(self._turns())

    def _turns(self) -> list[Turn]:
        return self.waiting + self.running

    def _entry(self, owner: str) -> float:
        """The account of an owner who is here, or the one it would come in with: what it was
        served ahead of the others still counts, what it left unused does not."""
        lowest = min((self._accounts[p.owner] for p in self._turns()), default=0.0)
        return max(lowest, self._accounts.get(owner, 0.0))

    def _admissible(self) -> list[Turn]:
        free = self._max_running - len(self.running)
        if free <= 0:
            return []
        if free > self._max_running // 4:
            return self.waiting
        in_flight = {p.owner for p in self.running}
        return [p for p in self.waiting if p.owner not in in_flight]

    def _level(self, served: Sequence[Turn]) -> None:
        """An owner that got all it asked for has no claim to more later: its account rises to the
        lowest of those who still wait (to the highest of all, if nobody does)."""
        part = set(served)
        kept_waiting = {p.owner for p in self._turns() if p not in part}
        present = kept_waiting | {p.owner for p in served}
        lowest = min(
            (self._accounts[owner] for owner in kept_waiting),
            default=max(self._accounts[owner] for owner in present),
        )
        for owner in present - kept_waiting:
            self._accounts[owner] = max(self._accounts[owner], lowest)


def _rank(turn: Turn, moment: Moment) -> tuple[float, ...]:
    """The place of a picture among its owner's; lower goes first."""
    deadline = math.inf if turn.deadline is None else turn.deadline
    near = deadline - moment.now < NEAR * moment.seconds([turn])
    return (
        -turn.priority,
        deadline if near else math.inf,
        turn.work,
        deadline,
        turn.arrival,
        turn.image,
    )
