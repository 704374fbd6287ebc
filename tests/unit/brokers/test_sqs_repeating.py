"""What is asked of Amazon SQS a second time, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("boto3")

from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ReadTimeoutError,
)

from django_q.brokers import sqs_client
from django_q.brokers.sqs_client import verb_of


def answered(code: str, status: int) -> ClientError:
    facts: Any = {
        "Error": {"Code": code},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(facts, "SendMessageBatch")


LOST = (
    ConnectionClosedError(endpoint_url="http://sqs"),
    ReadTimeoutError(endpoint_url="http://sqs"),
    answered("InternalFailure", 500),
)
BUSY = answered("ThrottlingException", 400)
REFUSED = answered("AccessDenied", 403)


class Client:
    """Fails so often, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked = 0

    def ask(self, **words: Any) -> dict[str, Any]:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return words

    receive_message = delete_message_batch = send_message_batch = ask


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqs_client, "SHORT_PAUSE", 0.0)


def asking(client: Client, name: str) -> Callable[[], Any]:
    return lambda: verb_of(client, name)(QueueUrl="here")


@pytest.mark.parametrize("name", ["receive_message", "delete_message_batch"])
@pytest.mark.parametrize("error", [*LOST, BUSY])
def test_what_does_no_harm_is_asked_twice(name: str, error: Exception) -> None:
    client = Client(error)
    assert asking(client, name)() == {"QueueUrl": "here"}
    assert client.asked == 2


@pytest.mark.parametrize("error", LOST)
def test_sending_is_not_repeated_when_it_was_perhaps_done(error: Exception) -> None:
    client = Client(error)
    with pytest.raises(type(error)):
        asking(client, "send_message_batch")()
    assert client.asked == 1


def test_sending_is_repeated_when_it_was_not_done() -> None:
    client = Client(BUSY)
    assert asking(client, "send_message_batch")() == {"QueueUrl": "here"}


@pytest.mark.parametrize("error", [LOST[0], BUSY])
def test_a_second_failure_is_the_last(error: Exception) -> None:
    client = Client(error, error)
    with pytest.raises(type(error)):
        asking(client, "receive_message")()
    assert client.asked == 2


def test_refusal_stands() -> None:
    client = Client(REFUSED)
    with pytest.raises(ClientError):
        asking(client, "receive_message")()
    assert client.asked == 1
