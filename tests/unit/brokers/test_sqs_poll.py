"""The question that an idle cluster has open: what becomes of its answer."""

from __future__ import annotations

import select
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Any

import pytest

from django_q.brokers.sqs_poll import Poll
from django_q.exceptions import BrokerUnavailable
from tests.waiting import wait_until


class Office:
    """Answers when it is told what."""

    def __init__(self) -> None:
        self.answers: SimpleQueue[Any] = SimpleQueue()
        self.asked: list[int] = []
        self.returned: list[Any] = []
        self.closings = 0

    def receive(self, count: int) -> Sequence[Any]:
        self.asked.append(count)
        answer = self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    def close(self) -> None:
        self.closings += 1

    def poll(self, fresh: float = 60) -> Poll:
        return Poll(self.receive, self.returned.extend, self.close, fresh)


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office()
    yield office
    office.answers.put(())


def is_called(poll: Poll) -> bool:
    return bool(select.select([poll.descriptor], [], [], 0)[0])


def test_answer_calls_and_is_taken_once(office: Office) -> None:
    poll = office.poll()
    poll.ask(3)
    poll.ask(3)
    office.answers.put(["a", "b"])
    wait_until(lambda: is_called(poll))
    assert poll.is_answered
    assert poll.take() == ["a", "b"]
    assert poll.take() == ()
    assert not is_called(poll)
    assert office.asked == [3]
    poll.end()
    assert office.closings == 1


def test_empty_answer_calls_nobody_and_the_next_question_follows(
    office: Office,
) -> None:
    poll = office.poll()
    poll.ask(1)
    office.answers.put([])
    wait_until(lambda: not poll.is_asking)
    assert not poll.is_answered
    assert not is_called(poll)
    poll.ask(2)
    wait_until(lambda: office.asked == [1, 2])
    poll.end()


def test_error_is_raised_where_the_answer_is_taken(office: Office) -> None:
    poll = office.poll()
    poll.ask(1)
    office.answers.put(BrokerUnavailable("away"))
    wait_until(lambda: is_called(poll))
    with pytest.raises(BrokerUnavailable, match="away"):
        poll.take()
    assert not poll.is_answered
    poll.end()


def test_answer_that_nobody_took_in_time_is_given_back(office: Office) -> None:
    poll = office.poll(fresh=0)
    poll.ask(1)
    office.answers.put(["old"])
    wait_until(lambda: poll.is_answered)
    assert poll.take() == ()
    assert office.returned == ["old"]
    poll.end()


def test_answer_that_lies_there_at_the_end_is_given_back(office: Office) -> None:
    poll = office.poll()
    poll.ask(1)
    office.answers.put(["unwanted"])
    wait_until(lambda: poll.is_answered)
    poll.end()
    poll.end()
    assert office.returned == ["unwanted"]


def test_answer_that_comes_after_the_end_is_given_back(office: Office) -> None:
    poll = office.poll()
    poll.ask(1)
    wait_until(lambda: office.asked)
    poll.end()
    assert office.closings == 0, "the question is on its way"
    office.answers.put(["late"])
    wait_until(lambda: office.returned == ["late"])
    assert office.closings == 1
