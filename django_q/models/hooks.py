"""Calls a task's hook when its row is saved by anybody but a cluster."""

from __future__ import annotations

from typing import Any

from django_q.allowed import find_function
from django_q.exceptions import TaskNotFound
from django_q.logs import clean, logger, print_safely


def call_hook(sender: Any, instance: Any, **kwargs: Any) -> None:
    """Receiver of `post_save`: call the hook of a task with the task.

    Raises nothing: what is wrong with a hook is for the log. The hook is a dotted path,
    or a callable in a task that was not yet loaded from the database.
    """
    hook = instance.hook
    if not hook or kwargs.get("raw"):
        return
    name = clean(instance.name)
    try:
        function = find_function(hook)
    except TaskNotFound:
        logger.exception("malformed return hook '%s' for [%s]", clean(hook), name)
        return
    try:
        function(instance)
    except Exception as error:  # noqa: BLE001 - a hook is the user's code
        because = clean(print_safely(error))
        text = "return hook %s failed on [%s] because %s"
        logger.exception(text, clean(hook), name, because)
