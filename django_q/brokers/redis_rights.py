"""Rights: which of the commands in our scripts the server refuses to its user.

A script that is stopped in its middle has done what stands before. So whoever serves a
queue finds out at its start, before a package is lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from django_q.brokers import redis_finding, redis_scripts
from django_q.brokers.redis_lua import Script
from django_q.exceptions import BrokerError

REFUSED: Final = Script("""
-- ARGV: words, which may be commands. Each is tried on a key that holds nothing, with
-- ever more arguments, until it is no longer refused for having too few.
local probe, refused = base .. ':probe', {}

local function answer(command, count)
  local words = {}
  for i = 1, count do words[i] = probe end
  local said = redis.pcall(command, unpack(words))
  return type(said) == 'table' and said.err or ''
end

for _, command in ipairs(ARGV) do
  for count = 0, 6 do
    local said = answer(command, count)
    if string.find(said, 'permission') or string.find(said, "can't run this") then
      refused[#refused + 1] = command
    end
    if not string.find(said, 'umber of arg') then break end
  end
end
redis.pcall('DEL', probe)
return refused
""")

SAID_INSIDE: Final = re.compile(
    r"(?=.*can't run this command)(?:.*[ _]([0-9a-f]{40})).*@user_script: ?(\d+)"
)
"""What Redis before 8 says in a script: not which command, but where it stands."""


def require_rights(run: Callable[..., Any]) -> None:
    """Raise BrokerError, naming every command that is refused inside scripts."""
    refused = [name.decode() for name in run(REFUSED, *needed())]
    if refused:
        message = f"Redis refuses commands that the broker needs: {', '.join(refused)}."
        allowed = " ".join(f"+{name.lower()}" for name in refused)
        raise BrokerError(message, hint=f"Allow them: ACL SETUSER its-user {allowed}")


def refused_command(error: Exception) -> str:
    """What it was that a script may not run; empty if it was something else."""
    said = SAID_INSIDE.search(str(error))
    text = said and next((s.text for s in _scripts() if s.digest == said[1]), "")
    if not said or not text:
        return ""
    rest = "\n".join(text.splitlines()[int(said[2]) - 1 :])
    found = re.match(r".*redis\.p?call\(\s*'([A-Z]+)'", rest)
    return found[1] if found else f"one of {', '.join(needed())}"


def needed() -> list[str]:
    """The words of our scripts that may be commands."""
    texts = [script.text for script in _scripts()]
    return sorted({word for t in texts for word in re.findall(r"'([A-Z]{3,})'", t)})


def _scripts() -> list[Script]:
    named = vars(redis_scripts) | vars(redis_finding)
    return [each for each in named.values() if isinstance(each, Script)]
