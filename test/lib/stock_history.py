"""Is what many clients saw of one item possible, had their requests happened one after the other, each at some moment
between its beginning and its end? (M. Herlihy, J. Wing, "Linearizability", 1990; the search is G. Lowe's just-in-time
linearization, "Testing for linearizability", 2016.)

    reserve    "held"         there were as many free, and the order was not there before
               "again"        the order was there
               "sold_out"     fewer were free
               "other"        the order's id was taken by an order of something else
               None           nobody knows (no answer came): it may have held, at any time after it began, or not
    release    "released"     the order was held; its units are free again
               "again"        it was released before
               "unknown"      there was no such order

What a set of requests leaves behind does not depend on their order, only whether each was possible does. So a
configuration is the set of those that have happened among the ones that are under way.
"""
from collections import ChainMap
from dataclasses import dataclass, field
from itertools import count

numbers = count()


@dataclass
class Op:
    kind: str
    order: str
    quantity: int
    begin: float
    end: float = float("inf")
    result: str = None
    number: int = field(default_factory=lambda: next(numbers))


class State:
    """What has happened so far, whatever the order."""

    def __init__(self, free):
        self.free = free
        self.held = {}  # order -> quantity, as it was first reserved
        self.released = {}

    def copy(self):
        """Good until this one changes."""
        other = State(self.free)
        other.held, other.released = ChainMap({}, self.held), ChainMap({}, self.released)
        return other

    def possible(self, op, result):
        there = op.order in self.held
        if op.kind == "reserve":
            if result == "held":
                return not there and self.free >= op.quantity
            if result == "again":
                return there and self.held[op.order] == op.quantity
            if result == "other":
                return there and self.held[op.order] != op.quantity
            return result == "sold_out" and not there and self.free < op.quantity
        if result == "released":
            return there and op.order not in self.released
        if result == "again":
            return op.order in self.released
        return result == "unknown" and not there

    def happen(self, op, result):
        if result == "held":
            self.held[op.order] = op.quantity
            self.free -= op.quantity
        elif result == "released":
            self.free += self.held[op.order]
            self.released[op.order] = True


def outcomes(op):
    """What an op may have been; the one without an answer may also never happen."""
    return [op.result] if op.result else ["held", "again"]


def check(ops, total):
    """None: it is possible. Else a sentence about the first answer that is not."""
    events = sorted([(op.begin, 1, op) for op in ops] + [(op.end, 0, op) for op in ops if op.result], key=lambda e: e[:2])
    by_number = {op.number: op for op in ops}
    base = State(total)  # of those that have ended
    configs = {frozenset()}  # {(number, outcome)} of those under way that have happened
    pending = set()

    def state_of(config):
        state = base.copy()
        # held before released: a release under way may be of an order under way
        for number, outcome in sorted(config, key=lambda c: c[1] == "released"):
            state.happen(by_number[number], outcome)
        return state

    def until_happened(config, op):
        """Every way on from config in which op has happened."""
        todo, seen, found = [config], {config}, set()
        while todo:
            at = todo.pop()
            done = dict(at)
            if op.number in done:
                found.add(at)
                continue
            state = state_of(at)
            for number in pending - set(done):
                for outcome in outcomes(by_number[number]):
                    if not state.possible(by_number[number], outcome):
                        continue
                    on = at | {(number, outcome)}
                    if on not in seen:
                        seen.add(on)
                        todo.append(on)
        return found

    for _, begins, op in events:
        if begins:
            pending.add(op.number)
            continue
        configs = set().union(*(until_happened(c, op) for c in configs))
        if not configs:
            return (f"{op.kind} of {op.quantity} by {op.order} was answered {op.result}, which cannot be "
                    f"({base.free} of {total} free before what was under way)")
        base.happen(op, op.result)
        configs = {c - {(op.number, op.result)} for c in configs}
        pending.discard(op.number)
    return None
