"""The broker for Amazon SQS: its settings, its queue, its limits, and what fails."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import pytest

from django_q import clock
from django_q.brokers import Broker, get_broker, sqs_poll
from django_q.brokers.base import Consignment, Delivery
from django_q.brokers.front import in_service
from django_q.brokers.sqs_poll import Poll
from django_q.checks.meaning import judge_brokers
from django_q.conf import Conf
from django_q.exceptions import (
    BrokerError,
    BrokerUnavailable,
    ConfigurationError,
    PackageTooLarge,
)
from django_q.signing import SignedPackage
from django_q.tasks import async_chain, async_task, queue_size
from tests.forked import another_process
from tests.servers import SqsServer, free_port
from tests.waiting import stays, wait_until

DAY = 24 * 60 * 60
Use = Callable[..., Any]


@pytest.fixture
def name() -> str:
    return f"shop-{uuid4().hex[:8]}"


@pytest.fixture
def use(
    sqs_server: SqsServer,
    q_settings: Any,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Use]:
    """The broker that `get_broker` gives with these entries of `sqs`."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    used: list[Broker] = []

    def get(*, only: dict[str, Any] | None = None, **entries: Any) -> Any:
        settings = {**sqs_server.settings, **entries} if only is None else only
        queue = entries.pop("queue", name)
        settings.pop("queue", None)
        q_settings(orm=None, sqs=settings, retry=30, poll=0.02, cluster_name=queue)
        used.append(get_broker())
        return used[-1]

    yield get
    for broker in used:
        with suppress(BrokerError, ConfigurationError):
            broker.close()


@pytest.fixture
def broker(use: Use) -> Any:
    return use()


@pytest.fixture
def client(broker: Any) -> Any:
    """Somebody who knows the name of the queue, and nothing of this package."""
    return broker.client


def take(broker: Broker, count: int = 10) -> list[Delivery]:
    return broker.dequeue(count) or []


def take_one(broker: Broker) -> Delivery:
    return wait_until(lambda: take(broker, 1))[0]


def address(client: Any, name: str, **attributes: str) -> str:
    """Of a queue that others have made."""
    url: str = client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url


def answer_once(broker: Any, operation: str, status: int, body: Any) -> list[Any]:
    """The next answer of the server to an operation is this one; gives what was asked."""
    from botocore.awsrequest import AWSResponse  # noqa: PLC0415 - it may be missing

    asked: list[Any] = []

    def answer(request: Any, **_rest: Any) -> Any:
        asked.append(request)
        if len(asked) > 1:
            return None
        response = AWSResponse(request.url, status, {}, None)
        response._content = json.dumps(body).encode()  # noqa: SLF001 - not from a socket
        return response

    broker.client.meta.events.register_first(f"before-send.sqs.{operation}", answer)
    return asked


# -- settings


def test_empty_dictionary_chooses_it(
    use: Use, monkeypatch: pytest.MonkeyPatch, sqs_server: SqsServer
) -> None:
    for variable, value in (
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "from"),
        ("AWS_SECRET_ACCESS_KEY", "outside"),
        ("AWS_ENDPOINT_URL_SQS", sqs_server.url),
    ):
        monkeypatch.setenv(variable, value)
    broker = use(only={})
    assert type(broker).__name__ == "Sqs"
    assert broker.info() == "AWS SQS"
    assert broker.ping() is True
    assert broker.connection.region_name == "eu-west-1"


def test_region_and_the_rest_go_to_the_session(use: Use) -> None:
    session = use(aws_region="ap-south-1", aws_session_token="token").connection
    assert session.region_name == "ap-south-1"
    keys = session.get_credentials()
    assert (keys.access_key, keys.secret_key, keys.token) == (
        "testing",
        "testing",
        "token",
    )


@pytest.mark.parametrize("wait", [21, -1, "5", 1.5, True])
def test_wait_is_a_whole_number_to_twenty(use: Use, wait: Any) -> None:
    with pytest.raises(ValueError, match="from 0 to 20, not") as caught:
        use(receive_message_wait_time_seconds=wait)
    assert isinstance(caught.value, ConfigurationError)


def test_entry_that_the_session_does_not_know_is_named(use: Use) -> None:
    with pytest.raises(ConfigurationError, match="'regoin'"):
        use(regoin="eu-west-1")


def test_bulk_is_ten_at_most(broker: Any, name: str, q_settings: Any) -> None:
    q_settings(bulk=25)
    broker.enqueue_many([Consignment(str(n), name) for n in range(12)])
    assert len(broker.dequeue()) == 10


def test_lease_is_retry_itself(broker: Any, q_settings: Any) -> None:
    assert broker.lease_length == 30
    q_settings(retry=600)
    assert broker.lease_length == Conf.RETRY == 600


def test_cluster_uses_it_as_it_is_and_renews(broker: Any) -> None:
    assert type(in_service(broker)) is type(broker)
    assert broker.can_renew
    assert not broker.supports_leases


def test_no_check_wants_retry_to_be_longer_than_tasks(sqs_server: SqsServer) -> None:
    path = "django_q.brokers.aws_sqs.Sqs"
    raw = {"broker_class": path, "retry": 10, "timeout": 60, "sqs": {}}
    assert [m for m in judge_brokers(raw) if m.id == "django_q.W012"] == []


def test_role_is_taken_on(
    use: Use, sqs_server: SqsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sqs_server.url)
    broker = use(role_arn="arn:aws:iam::123456789012:role/shop")
    broker.enqueue("by the role")
    keys = broker.connection.get_credentials().get_frozen_credentials()
    assert keys.access_key != "testing"
    assert keys.token
    assert take_one(broker).package == "by the role"


def test_role_is_taken_on_again_before_it_ends(
    use: Use, sqs_server: SqsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sqs_server.url)
    broker = use(role_arn="arn:aws:iam::123456789012:role/shop")
    keys = broker.connection.get_credentials()
    first = keys.get_frozen_credentials()
    assert keys.get_frozen_credentials() == first

    def later() -> datetime:
        return clock.now() + timedelta(minutes=46)

    monkeypatch.setattr(keys, "_time_fetcher", later)
    monkeypatch.setattr("botocore.credentials._local_now", later)
    broker.enqueue("by the role, which was asked for again")
    assert keys.get_frozen_credentials() != first


CONFIG = """
[profile keys]
aws_access_key_id = from-a-file
aws_secret_access_key = from-a-file

[profile shop]
role_arn = arn:aws:iam::123456789012:role/shop
source_profile = keys
region = ap-south-1
endpoint_url = {url}
"""


def test_profile_gives_region_endpoint_and_role(
    use: Use, sqs_server: SqsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "config"
    file.write_text(CONFIG.format(url=sqs_server.url))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    broker = use(only={"profile_name": "shop"})
    assert broker.connection.region_name == "ap-south-1"
    broker.enqueue("by the role of the profile")
    keys = broker.connection.get_credentials()
    assert (keys.method, bool(keys.token)) == ("assume-role", True)
    assert take_one(broker).package == "by the role of the profile"


def test_config_of_the_client_wins_over_ours(use: Use) -> None:
    theirs = {"retries": {"total_max_attempts": 5}, "connect_timeout": 1}
    broker = use(config={**theirs, "read_timeout": 3})
    config = broker.client.meta.config
    assert config.retries["total_max_attempts"] == 5
    assert (config.connect_timeout, config.read_timeout) == (1, 3)
    waiting = broker._account.open_client(broker.connection, wait=20)  # noqa: SLF001
    # Who waits asks again anyway, and does not give up before SQS answers.
    assert waiting.meta.config.retries["total_max_attempts"] == 1
    assert waiting.meta.config.read_timeout == 23
    assert use().client.meta.config.read_timeout == 10


def test_config_that_the_client_does_not_know_is_named(use: Use) -> None:
    with pytest.raises(ConfigurationError, match="conect_timeout"):
        use(config={"conect_timeout": 1}).ping()


# -- the queue


def test_queue_of_another_account_is_asked_for_and_never_made(
    use: Use, name: str
) -> None:
    broker = use(queue_owner="210987654321")
    asked: list[Any] = []
    broker.client.meta.events.register(
        "provide-client-params.sqs.GetQueueUrl",
        lambda params, **_rest: asked.append(dict(params)),
    )
    with pytest.raises(ConfigurationError, match=r"Account 210987654321 has no queue"):
        broker.enqueue("x")
    address(broker.client, name)
    assert broker.enqueue("x")
    assert asked[0] == {"QueueName": name, "QueueOwnerAWSAccountId": "210987654321"}


def test_queue_has_the_name_of_the_cluster_and_keeps_for_two_weeks(
    broker: Any, client: Any, name: str
) -> None:
    broker.ping()
    url = client.get_queue_url(QueueName=name)["QueueUrl"]
    said = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    assert said["Attributes"]["MessageRetentionPeriod"] == str(14 * DAY)


def test_queue_that_is_there_is_left_as_it_is(
    broker: Any, client: Any, name: str
) -> None:
    url = address(client, name, MessageRetentionPeriod=str(DAY))
    broker.enqueue("x")
    said = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    assert said["Attributes"]["MessageRetentionPeriod"] == str(DAY)


def test_queue_is_not_made_where_that_is_forbidden(use: Use, name: str) -> None:
    broker = use(create_queue=False)
    with pytest.raises(ConfigurationError, match=f"no queue '{name}'"):
        broker.enqueue("x")
    address(broker.client, name)
    assert broker.enqueue("x")


def test_queue_that_was_deleted_meanwhile_is_made_anew(
    broker: Any, client: Any, name: str
) -> None:
    broker.enqueue("lost")
    client.delete_queue(QueueUrl=client.get_queue_url(QueueName=name)["QueueUrl"])
    broker.enqueue("kept")
    assert take_one(broker).package == "kept"


@pytest.mark.parametrize("queue", ["my shop", "laden-süß", "a" * 81, "a.b", "x/y"])
def test_name_that_no_queue_can_have_is_an_error(use: Use, queue: str) -> None:
    broker = use(queue=queue)
    with pytest.raises(ConfigurationError, match="80 letters, digits"):
        broker.enqueue("x")


def test_message_is_the_package_and_nothing_else(
    broker: Any, client: Any, name: str
) -> None:
    task_id = async_task("math.sqrt", 16)
    assert queue_size() == 1
    url = client.get_queue_url(QueueName=name)["QueueUrl"]
    [message] = client.receive_message(QueueUrl=url)["Messages"]
    assert SignedPackage.loads(message["Body"])["id"] == task_id
    client.send_message(QueueUrl=url, MessageBody="from an earlier release")
    assert take_one(broker).package == "from an earlier release"


def test_chain_is_queued(broker: Any) -> None:
    async_chain([("math.sqrt", (16,)), ("math.sqrt", (9,))])
    assert broker.queue_size() == 1


# -- batches


def test_receipt_that_is_refused_spoils_no_batch(broker: Any, name: str) -> None:
    broker.enqueue_many([Consignment(str(n), name) for n in range(12)])
    receipts = [d.receipt for d in take(broker) + take(broker)]
    assert len(receipts) == 12
    assert broker.renew(["unknown", *receipts]) == set(receipts)
    assert broker.acknowledge_many(["unknown", *receipts]) == set(receipts)
    assert broker.acknowledge("unknown") is False
    assert broker.lock_size() == 0


def test_what_the_server_failed_to_send_is_sent_again(broker: Any, name: str) -> None:
    broker.ping()
    failure = {"Id": "1", "SenderFault": False, "Code": "InternalError"}
    success = {"Id": "0", "MessageId": "m", "MD5OfMessageBody": "0" * 32}
    body = {"Successful": [success], "Failed": [failure]}
    asked = answer_once(broker, "SendMessageBatch", 200, body)
    broker.enqueue_many([Consignment(str(n), name) for n in range(2)])
    assert len(asked) == 2
    assert [d.package for d in take(broker)] == ["1"]


def test_what_the_server_refuses_names_the_task(broker: Any) -> None:
    broker.ping()
    failure = {"Id": "0", "SenderFault": True, "Code": "X", "Message": "bad characters"}
    answer_once(broker, "SendMessageBatch", 200, {"Failed": [failure]})
    with pytest.raises(BrokerError, match=r"refuses task t1 .*: bad characters"):
        broker.enqueue("x", task_id="t1")


def test_large_packages_travel_alone(broker: Any, name: str) -> None:
    packages = ["x" * 200_000, "y" * 200_000, "z" * 900_000]
    broker.enqueue_many([Consignment(package, name) for package in packages])
    taken = [d.package for _ in range(3) for d in take(broker, 1)]
    assert sorted(taken) == packages


# -- sizes


def test_package_that_is_too_large_names_its_task_and_the_limit(broker: Any) -> None:
    with pytest.raises(PackageTooLarge) as caught:
        async_task("builtins.len", "x" * 1_100_000, q_options={"task_id": "7" * 32})
    assert f"Task {'7' * 32} has a package of" in str(caught.value)
    assert "Amazon SQS takes 1048576 bytes at most" in str(caught.value)
    with pytest.raises(PackageTooLarge, match="Task big has a package of 1048577"):
        broker.enqueue("x" * 1_048_577, task_id="big")
    with pytest.raises(PackageTooLarge, match="a package of 1048606 bytes"):
        # What says that it is to wait is part of the message.
        broker.enqueue("x" * 1_048_576, delay=901)
    assert broker.queue_size() == 0


def test_limit_of_the_queue_itself_names_the_task_too(broker: Any) -> None:
    broker.ping()
    body = {
        "__type": "com.amazonaws.sqs#BatchRequestTooLong",
        "message": "Batch requests cannot be longer than 262144 bytes.",
    }
    answer_once(broker, "SendMessageBatch", 400, body)
    with pytest.raises(PackageTooLarge, match=r"Task big has .* less on this queue"):
        broker.enqueue("x" * 300_000, task_id="big")


# -- delays


def test_delay_beyond_fifteen_minutes_is_waited_for(
    broker: Any, sqs_server: SqsServer
) -> None:
    broker.enqueue("later", delay=2000)
    assert (broker.queue_size(), broker.lock_size()) == (0, 1)
    sqs_server.pass_time(901)
    assert take(broker) == []
    sqs_server.pass_time(1000)
    assert take(broker) == []
    sqs_server.pass_time(200)
    delivery = take_one(broker)
    assert delivery.package == "later"
    assert (delivery.deliveries, delivery.attempts) == (1, 0)


def test_failed_run_waits_and_is_counted(broker: Any, sqs_server: SqsServer) -> None:
    broker.enqueue("flaky")
    receipt = take_one(broker).receipt
    assert broker.release([receipt], delay=60, failed=True) == {receipt}
    assert take(broker) == []
    sqs_server.pass_time(61)
    delivery = take_one(broker)
    assert (delivery.deliveries, delivery.attempts) == (2, 1)


def test_released_package_is_there_at_once(broker: Any) -> None:
    broker.enqueue("given back")
    broker.release([take_one(broker).receipt])
    assert take_one(broker).package == "given back"


# -- FIFO queues, dead letters


def test_fifo_queue_takes_a_task_once(use: Use, name: str) -> None:
    broker = use(queue=f"{name}.fifo")
    for _ in range(2):
        broker.enqueue("once", task_id="t 1")
    broker.enqueue("other", task_id="t2")
    assert [d.package for d in take(broker)] == ["once", "other"]


def test_tasks_of_a_fifo_queue_run_side_by_side(use: Use, name: str) -> None:
    broker = use(queue=f"{name}.fifo")
    for n in range(2):
        broker.enqueue(str(n), task_id=f"t{n}")
    assert [take_one(broker).package for _ in range(2)] == ["0", "1"]


def test_one_group_keeps_tasks_of_a_fifo_queue_in_order(use: Use, name: str) -> None:
    broker = use(queue=f"{name}.fifo", message_group_id="all")
    for n in range(2):
        broker.enqueue(str(n), task_id=f"t{n}")
    first = take_one(broker)
    assert take(broker) == []
    broker.acknowledge(first.receipt)
    assert take_one(broker).package == "1"


def test_delayed_task_of_a_fifo_queue_waits(
    use: Use, name: str, sqs_server: SqsServer
) -> None:
    broker = use(queue=f"{name}.fifo")
    broker.enqueue("later", task_id="t1", delay=60)
    assert take(broker) == []
    sqs_server.pass_time(62)
    assert take_one(broker).package == "later"


def test_dead_letter_queue_gets_what_comes_too_often(
    broker: Any, client: Any, name: str, sqs_server: SqsServer
) -> None:
    dead = address(client, f"{name}-dead")
    said = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    arn = said["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    address(client, name, RedrivePolicy=policy)
    broker.enqueue("poison")
    for _ in range(2):
        assert take_one(broker).package == "poison"
        sqs_server.pass_time(31)
    assert take(broker) == []
    [message] = client.receive_message(QueueUrl=dead)["Messages"]
    assert message["Body"] == "poison"


# -- an idle cluster


def enlisted(use: Use, *, wait: int) -> Any:
    """A cluster, whose questions wait for so many seconds."""
    broker = use(receive_message_wait_time_seconds=wait)
    broker.enlist(uuid4().hex, broker.lease_length)
    return broker


@pytest.fixture
def idle(use: Use) -> Any:
    """A cluster that has found nothing, and waits for a second at most."""
    broker = enlisted(use, wait=1)
    open_question(broker)
    return broker


def open_question(broker: Any) -> Poll:
    """That of a cluster that has found nothing more."""
    assert take(broker) == []
    assert not broker.has_news()
    poll: Poll = broker._poll  # noqa: SLF001
    return poll


def test_idle_cluster_is_called_when_a_task_comes(idle: Any) -> None:
    descriptor = idle.news_fd()
    begun = time.monotonic()
    assert take(idle) == [], "a question is open"
    assert time.monotonic() - begun < 1
    type(idle)(idle.list_key).enqueue("news")
    # On a busy machine the question may have ended before: then there is another one.
    wait_until(lambda: select.select([idle.news_fd()], [], [], 0.5)[0])
    assert idle.has_news()
    assert [d.package for d in take(idle)] == ["news"]
    assert not select.select([descriptor], [], [], 0)[0]


def test_busy_cluster_asks_at_once_for_the_next_ten(use: Use, name: str) -> None:
    broker = use()
    broker.enlist(uuid4().hex, broker.lease_length)
    broker.enqueue_many([Consignment(str(n), name) for n in range(11)])
    for least in (10, 1):
        assert len(broker.dequeue(500)) == least
        assert broker.pulse() < 0.01
        assert broker.has_news()
    assert take(broker) == []
    assert broker.pulse() > 0.01


def test_question_is_asked_again_when_nothing_came(
    idle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    polls: list[int] = []
    monkeypatch.setattr(idle._poll, "_receive", polls.append)  # noqa: SLF001
    wait_until(lambda: not idle._poll.is_asking)  # noqa: SLF001
    assert not idle.has_news()
    wait_until(lambda: polls == [10])


def test_stopping_cluster_waits_for_no_question_and_gives_back_its_answer(
    idle: Any,
) -> None:
    other = type(idle)(idle.list_key)
    begun = time.monotonic()
    idle.close()
    assert time.monotonic() - begun < 1
    other.enqueue("after the end")
    # The server may have sent it as an answer that nobody waits for any more.
    assert take_one(other).package == "after the end"


def test_stopping_cluster_that_gives_nothing_back_waits_for_no_question(
    use: Use,
) -> None:
    broker = enlisted(use, wait=20)
    poll = open_question(broker)
    broker.release([])
    broker.close()
    assert poll.is_asking


@pytest.mark.parametrize("stops_before", [False, True])
def test_stopping_cluster_waits_for_a_question_that_gets_what_it_gives_back(
    use: Use, *, stops_before: bool
) -> None:
    broker = enlisted(use, wait=20)
    broker.enqueue("in hand")
    delivery = take_one(broker)
    poll = open_question(broker)
    if stops_before:
        broker.close()
    broker.release([delivery.receipt])
    broker.close()
    assert not poll.is_asking
    assert take_one(type(broker)(broker.list_key)).package == "in hand"


def test_end_of_a_poll_waits_until_what_came_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqs_poll, "LAST_WAIT", 30)
    answered, came, gone = Event(), Event(), Event()
    returned: list[Any] = []

    def receive(count: int) -> list[str]:
        answered.wait()
        return ["message"] * count

    def give_back(messages: Any) -> None:
        # As whatever is made visible may come with the next answer.
        poll.expect()
        came.set()
        gone.wait()
        returned.extend(messages)

    poll = Poll(receive, give_back, lambda: None, fresh=1)
    poll.ask(1)
    poll.end()
    poll.expect()
    answered.set()
    assert came.wait(10)
    ending = Thread(target=poll.end)
    ending.start()
    waits = stays(ending.is_alive)
    gone.set()
    ending.join()
    assert waits
    assert returned == ["message"]


def test_zero_seconds_ask_again_and_again(use: Use) -> None:
    broker = enlisted(use, wait=0)
    assert take(broker) == []
    assert broker.news_fd() is None
    assert broker.has_news()
    assert broker.pulse() == 0.02


def test_error_of_the_open_question_is_raised_by_the_next_look(use: Use) -> None:
    broker = use()
    broker.enlist(uuid4().hex, 30)
    assert take(broker) == []
    account, dead = broker._account, f"http://127.0.0.1:{free_port()}"  # noqa: SLF001
    broker._account = type(account)(endpoint_url=dead)  # noqa: SLF001
    wait_until(broker.has_news, within=20)
    with pytest.raises(BrokerUnavailable, match="Can't reach Amazon SQS"):
        broker.dequeue(1)


def test_client_does_not_cross_a_fork(broker: Any) -> None:
    client, session = broker.client, broker.connection
    assert broker.client is client
    with another_process():
        assert broker.client is not client
        assert broker.connection is not session
        assert broker.ping()


# -- errors that say what to do


def test_server_that_does_not_answer_is_unavailable(use: Use) -> None:
    broker = use(endpoint_url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(BrokerUnavailable, match="Check aws_region and endpoint_url"):
        broker.enqueue("x")


def test_address_that_is_none_is_an_error_of_the_settings(use: Use) -> None:
    broker = use(endpoint_url="nonsense")
    with pytest.raises(ConfigurationError, match="Invalid endpoint: nonsense"):
        broker.ping()


def test_missing_credentials_say_how_to_give_them(
    use: Use, sqs_server: SqsServer
) -> None:
    broker = use(only={"aws_region": "eu-west-1", "endpoint_url": sqs_server.url})
    with pytest.raises(ConfigurationError, match="Set aws_access_key_id"):
        broker.ping()


def test_missing_region_says_how_to_give_it(use: Use) -> None:
    with pytest.raises(ConfigurationError, match="'aws_region'"):
        use(only={}).ping()


def test_unknown_profile_is_named(use: Use) -> None:
    with pytest.raises(ConfigurationError, match=r"\(shop\) could not be found"):
        use(only={"profile_name": "shop"})


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (403, "AccessDeniedException", ConfigurationError, "Allow sqs:GetQueueUrl"),
        (403, "InvalidClientTokenId", ConfigurationError, "Check the keys"),
        (403, "SignatureDoesNotMatch", ConfigurationError, "clock of this machine"),
        (403, "RequestTimeTooSkewed", ConfigurationError, "clock of this machine"),
        (403, "InvalidSignatureException", ConfigurationError, "clock of this machine"),
        (400, "SomethingElse", BrokerError, "refuses GetQueueAttributes"),
    ],
)
def test_refusal_says_what_to_do(
    broker: Any, status: int, code: str, kind: type[Exception], words: str
) -> None:
    broker.ping()
    body = {"__type": f"com.amazonaws.sqs#{code}", "message": "no"}
    answer_once(broker, "GetQueueAttributes", status, body)
    with pytest.raises(kind, match=words):
        broker.queue_size()


def test_trouble_of_the_server_is_tried_again(broker: Any) -> None:
    broker.ping()
    body = {"__type": "com.amazonaws.sqs#InternalFailure", "message": "sorry"}
    asked = answer_once(broker, "GetQueueAttributes", 500, body)
    assert broker.queue_size() == 0
    assert len(asked) == 2
