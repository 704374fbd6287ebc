"""The client of Amazon SQS: made as the settings say, and its errors in our words."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from time import sleep
from typing import Any, Final, Self

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - the client's name for it
    CredentialRetrievalError,
    HTTPClientError,
    InvalidRegionError,
    NoAuthTokenError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from django_q import clock
from django_q.brokers.advice import about_certificate
from django_q.brokers.registry import USE_THE_DATABASE
from django_q.brokers.sqs_messages import moment_of
from django_q.exceptions import BrokerError, BrokerUnavailable, ConfigurationError
from django_q.logs import clean

CONNECTS_WITHIN: Final = 5.0
ANSWERS_WITHIN: Final = 10.0
"""Seconds after which a connection that says nothing is given up."""

SHORT_PAUSE: Final = 0.3
"""Seconds, or less, until a question is asked a second time."""

LONGEST_WAIT: Final = 20
"""Seconds for which SQS lets a question wait for a message."""

OUTAGES: Final = (ConnectionError, HTTPClientError)

NO_KEYS: Final = (
    CredentialRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)

SAY_WHO_WE_ARE: Final = (
    "Set aws_access_key_id and aws_secret_access_key in Q_CLUSTER['sqs'], or"
    " profile_name, or run where the environment or a role gives them."
)
SAY_WHERE: Final = "Set Q_CLUSTER['sqs']['aws_region'], such as 'eu-central-1'."
CHECK_THE_WAY: Final = (
    "Check aws_region and endpoint_url in Q_CLUSTER['sqs'], and the way there."
)
CHECK_THE_KEYS: Final = (
    "Check the keys of Q_CLUSTER['sqs'], and the clock of this machine."
)
CLOCK_MAY_DIFFER: Final = 5 * 60.0
"""Seconds; Amazon refuses what was signed a quarter of an hour ago, or later than now."""

ALLOW: Final = (
    "Allow sqs:GetQueueUrl, CreateQueue, SendMessage, ReceiveMessage, DeleteMessage,"
    " ChangeMessageVisibility and GetQueueAttributes for this queue."
)

BAD_KEYS: Final = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
THROTTLES: Final = frozenset(
    {
        "RequestThrottled",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
NO_QUEUE: Final = ("NonExistentQueue", "QueueDoesNotExist")
TOO_LONG: Final = ("BatchRequestTooLong", "InvalidMessageContents.TooLong")


class InvalidWait(ConfigurationError, ValueError):
    """Q_CLUSTER['sqs']['receive_message_wait_time_seconds'] is a whole number to 20."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """What the setting `sqs` says."""

    wait: int | None = None
    """Seconds that a question for messages waits; None: nothing was said."""

    endpoint_url: str | None = None
    role_arn: str | None = None

    config: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of botocore.config.Config, which win over ours."""

    create_queue: bool = True
    """A queue that is not there is made."""

    queue_owner: str | None = None
    """Number of the account whose queues they are; None: our own."""

    message_group_id: str | None = None
    """One group for all tasks of a FIFO queue; None: each task is one of its own."""

    session: Mapping[str, Any] = field(default_factory=dict)
    """The rest: keywords of boto3.Session."""

    @classmethod
    def read(cls, settings: Mapping[str, Any] | None) -> Self:
        """Raises InvalidWait."""
        rest = dict(settings or {})
        if "aws_region" in rest:
            rest["region_name"] = rest.pop("aws_region")
        wait = rest.pop("receive_message_wait_time_seconds", None)
        if wait is not None and not _is_wait(wait):
            raise InvalidWait(
                "Q_CLUSTER['sqs']['receive_message_wait_time_seconds'] must be a whole"
                f" number from 0 to {LONGEST_WAIT}, not {wait!r}."
            )
        ours = {each.name for each in fields(cls)} - {"wait", "session"}
        said = {key: rest.pop(key) for key in ours & rest.keys()}
        return cls(wait=wait, session=rest, **said)

    def open_session(self) -> boto3.Session:
        """A session, which connects to nothing yet. Raises ConfigurationError."""
        try:
            with plain_words():
                session = boto3.Session(**self.session)
                return _in_role(session, self.role_arn) if self.role_arn else session
        except TypeError as error:
            hint = "The entries beside ours are keywords of boto3.Session."
            message = f"Q_CLUSTER['sqs'] can't be used: {error}."
            raise ConfigurationError(message, hint=hint) from error

    def open_client(self, session: boto3.Session, *, wait: float = 0) -> Any:
        """A client. It repeats nothing by itself, see `verb_of`, unless the settings say so;
        not even then where SQS may take `wait` seconds: who waits asks again anyway.
        """
        retries = {"mode": "standard", "total_max_attempts": 1}
        words = {
            "connect_timeout": CONNECTS_WITHIN,
            "read_timeout": ANSWERS_WITHIN,
            "retries": retries,
            "tcp_keepalive": True,
            **self.config,
        }
        if wait:
            words["read_timeout"] += wait
            words["retries"] = {**retries, "total_max_attempts": 1}
        try:
            with plain_words():
                config = Config(**words)
                return session.client(
                    "sqs", config=config, endpoint_url=self.endpoint_url
                )
        except (TypeError, ValueError) as error:
            message = f"Q_CLUSTER['sqs'] can't be used: {error}."
            raise ConfigurationError(message, hint=CHECK_THE_WAY) from error

    def name_of(self, queue: str) -> dict[str, str]:
        """By what SQS finds a queue."""
        owner = {"QueueOwnerAWSAccountId": str(self.queue_owner)}
        return {"QueueName": queue, **(owner if self.queue_owner else {})}

    def forbids_making(self, queue: str) -> ConfigurationError | None:
        """Why a queue that is not there is not made."""
        if self.queue_owner:
            message = f"Account {self.queue_owner} has no queue {queue!r} at Amazon SQS"
            hint = "Have it made there, or correct 'queue_owner' and the name."
            return ConfigurationError(f"{message}, or does not show it.", hint=hint)
        if self.create_queue:
            return None
        message = f"Amazon SQS has no queue {queue!r}, and 'create_queue' is off."
        return ConfigurationError(message, hint="Create it, or correct the name.")


def verb_of(client: Any, name: str) -> Callable[..., Mapping[str, Any]]:
    """A verb of the client, which is tried once more when SQS was busy, or not reached.

    Sending is not repeated when nobody knows whether it was done: two messages would be
    two runs.
    """
    ask = getattr(client, name)
    return partial(_ask_twice, ask, is_sending=name.startswith("send_"))


def _ask_twice(
    ask: Callable[..., Mapping[str, Any]], *, is_sending: bool, **words: Any
) -> Mapping[str, Any]:
    try:
        return ask(**words)
    except (*OUTAGES, ClientError) as error:
        if not is_worth_repeating(error, is_sending=is_sending):
            raise
    # Not all at the same moment.
    sleep(random.uniform(0, SHORT_PAUSE))  # noqa: S311
    return ask(**words)


def is_worth_repeating(error: Exception, *, is_sending: bool) -> bool:
    if isinstance(error, ClientError) and code_of(error) in THROTTLES:
        return True
    return not is_sending and (isinstance(error, OUTAGES) or is_sick(error))


def is_sick(error: Exception) -> bool:
    """Whether it is SQS itself that is not well."""
    if not isinstance(error, ClientError):
        return False
    facts = error.response.get("ResponseMetadata", {})
    return bool(facts.get("HTTPStatusCode", 0) >= 500)


class RoleProvider(CredentialProvider):  # type: ignore[misc]
    """Credentials of a role, fetched when they are needed and again before they end."""

    METHOD = CANONICAL_NAME = "django-q-role"

    def __init__(self, source: boto3.Session, role_arn: str) -> None:
        super().__init__()
        self._source = source
        self._role_arn = role_arn

    def load(self) -> DeferredRefreshableCredentials | None:
        keys = self._source.get_credentials()
        if keys is None:
            return None
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=partial(_client_of, self._source),
            source_credentials=keys,
            role_arn=self._role_arn,
            extra_args={"RoleSessionName": "django-q"},
        )
        return DeferredRefreshableCredentials(
            method=self.METHOD, refresh_using=fetcher.fetch_credentials
        )


def _client_of(source: boto3.Session, service: str, **keywords: Any) -> Any:
    return source.client(service, **keywords)


def _in_role(source: boto3.Session, role_arn: str) -> boto3.Session:
    core = botocore.session.get_session()
    providers = core.get_component("credential_provider").providers
    providers[:] = [RoleProvider(source, role_arn)]
    return boto3.Session(botocore_session=core, region_name=source.region_name)


def _is_wait(value: object) -> bool:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return is_number and 0 <= value <= LONGEST_WAIT  # type: ignore[operator]


@contextmanager
def plain_words(queue: str = "") -> Iterator[None]:
    """Errors of the client leave as ConfigurationError, BrokerUnavailable, BrokerError."""
    try:
        yield
    except ClientError as error:
        raise translated(error, queue) from error
    except BotoCoreError as error:
        raise explained(error) from error


def explained(error: BotoCoreError) -> BrokerError | ConfigurationError:
    """What kept the client from asking, in our words."""
    said = clean(error).rstrip(".")
    if isinstance(error, OUTAGES):
        hint = f"{about_certificate(said) or CHECK_THE_WAY} {USE_THE_DATABASE}"
        return BrokerUnavailable(f"Can't reach Amazon SQS: {said}.", hint=hint)
    hint = ""
    if isinstance(error, NO_KEYS):
        hint = SAY_WHO_WE_ARE
    elif isinstance(error, NoRegionError | InvalidRegionError):
        hint = SAY_WHERE
    elif isinstance(error, ProfileNotFound):
        hint = "Check profile_name in Q_CLUSTER['sqs'], and ~/.aws/config."
    return ConfigurationError(f"Amazon SQS can't be used: {said}.", hint=hint)


def translated(error: ClientError, queue: str) -> BrokerError | ConfigurationError:
    """The error of ours that stands for this answer."""
    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = f"Amazon SQS refuses {error.operation_name} on queue {queue!r}"
    message = f"{said}: {clean(error.response['Error'].get('Message') or code)}"
    if is_sick(error) or code in THROTTLES:
        return BrokerUnavailable(message, hint="It may be over soon; we go on trying.")
    if code in BAD_KEYS:
        hint = about_clock(error) or CHECK_THE_KEYS
        return ConfigurationError(message, hint=hint)
    if status == 403 or code.startswith("AccessDenied"):
        return ConfigurationError(message, hint=ALLOW)
    return BrokerError(message)


def about_clock(error: ClientError) -> str:
    """What to do about a clock that is so wrong that no signature of ours is good."""
    skew = clock.now().timestamp() - moment_of(error.response).timestamp()
    if abs(skew) < CLOCK_MAY_DIFFER:
        return ""
    minutes, way = round(abs(skew) / 60), "ahead of" if skew > 0 else "behind"
    said = f"The clock of this machine is {minutes} minutes {way} that of Amazon"
    return f"{said}: set it, and let NTP keep it."


def code_of(error: ClientError) -> str:
    """By which SQS names it."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_without_queue(error: ClientError) -> bool:
    return code_of(error).endswith(NO_QUEUE)


def is_too_long(error: ClientError) -> bool:
    """Whether a message was larger than the queue takes."""
    words = str(error.response.get("Error", {}).get("Message", ""))
    return code_of(error).endswith(TOO_LONG) or "must be shorter than" in words
