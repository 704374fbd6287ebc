"""How scripts reach Redis, and what all of them know: the keys, and how to move a slip.

The keys of a queue, all beside its list:

django_q:NAME:q                 list    packages that wait, as producers push them
django_q:NAME:head              list    those before them that woke an idle cluster
django_q:NAME:ranked            zset    slips with a priority, or whose time has come
django_q:NAME:later             zset    slips of those that wait for their time
django_q:NAME:clusters          zset    cluster -> end of its lease, in milliseconds
django_q:NAME:held:CLUSTER      hash    receipt -> slip of what it holds
django_q:NAME:deliveries        hash    SHA-1 of a waiting package -> what was counted
django_q:NAME:places            hash    ids of tasks that wait or are held -> where to look
django_q:NAME:sent              zset    ids of slots of schedules -> until when they are known
django_q:NAME:paused            string  is there while the queue is paused
django_q:NAME:bell              list    is there when it was paused and is no longer

A slip is a package with a first line: deliveries, starts, attempts, rescues, task id, and
behind a tab its priority, if it is not 0. Packages of the same bytes share a field of
`deliveries`, with a line for each.

Producers and consumers of earlier releases know the list only. What they take leaves
its counts and its id behind; these are dropped when the queue is empty.

The first of the ranked stands in the list when that would be empty, and its line there
ends with its priority, be it 0. So the list is never empty while anything waits, and
whoever waits for the list is called. Each script that puts something at the head of the
list puts that one back first (`settle`), and each one ends by seeing to it (`ring`).
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any, Final

from redis.exceptions import NoScriptError

from django_q.brokers.redis_talk import ask, converse

QUEUE: Final = """
local ready = KEYS[1]
local base = string.gsub(ready, ':q$', '')
local head, ranked, later = base .. ':head', base .. ':ranked', base .. ':later'
local clusters, deliveries = base .. ':clusters', base .. ':deliveries'
local places, paused, bell = base .. ':places', base .. ':paused', base .. ':bell'
local sent = base .. ':sent'

-- While the slot of the queue is on its way to another node of a Redis Cluster, a key that
-- is nowhere is refused, and with it the script, before it has done anything.
redis.call('LLEN', base .. ':nowhere')

local function held(cluster) return base .. ':held:' .. cluster end

-- What many packages need is done for so many in one command. Not for more: what they hold
-- is in the server's memory for the second time meanwhile.
local PORTION = 16

local function id_of(text)
  return string.match(text, '^%d+ %d+ %d+ %d+ ([^\\t\\n]*)')
end
"""

COMMON: Final = (
    QUEUE
    + """
-- Of each priority as many scores as whole numbers allow; the list stands amid those of 0.
local SPAN = 2 ^ 44
local BEFORE_LIST, BEHIND_LIST = '(' .. 2 ^ 43, '+inf'

-- What is known of a package that somebody else pushed.
local UNKNOWN = '0 0 0 0 '

-- Where the version before this one put what had woken a cluster.
local function move(cluster) return base .. ':move:' .. cluster end

local function whole(number) return string.format('%.0f', number) end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function is_paused() return redis.call('GET', paused) and true end

-- A server whose memory is full refuses a script that begins with adding, so what makes
-- room in the end begins with removing.
local function lease(cluster, length)
  redis.call('ZREM', clusters, cluster)
  redis.call('ZADD', clusters, now() + length, cluster)
end

local function header(slip)
  local counts = slip.deliveries .. ' ' .. slip.starts .. ' '
  counts = counts .. slip.attempts .. ' ' .. slip.rescues .. ' ' .. slip.id
  if slip.is_ranked or slip.priority ~= 0 then
    return counts .. '\\t' .. slip.priority
  end
  return counts
end

local function write(slip)
  return header(slip) .. '\\n' .. slip.package
end

local function change(receipts, receipt, slip)
  redis.call('HDEL', receipts, receipt)
  redis.call('HSET', receipts, receipt, write(slip))
end

local function read(text)
  local pattern = '^(%d+) (%d+) (%d+) (%d+) ([^\\n]*)\\n?()'
  local d, s, a, r, id, rest = string.match(text, pattern)
  local tab = string.find(id, '\\t', 1, true)
  return {
    deliveries = tonumber(d), starts = tonumber(s), attempts = tonumber(a),
    rescues = tonumber(r), id = tab and string.sub(id, 1, tab - 1) or id,
    priority = tab and tonumber(string.sub(id, tab + 1)) or 0, is_ranked = tab ~= nil,
    package = string.sub(text, rest),
  }
end

local function new(id, package, priority)
  return {
    deliveries = 0, starts = 0, attempts = 0, rescues = 0, id = id,
    priority = priority, is_ranked = false, package = package,
  }
end

-- In sorted sets a slip has a word before it that makes it unique.
local function without_mark(text)
  return string.sub(text, string.find(text, ' ', 1, true) + 1)
end

-- When the package came that a place in the list is of; 0: it was put first.
local function came(place)
  return tonumber(string.match(place or '', '^%x+ (%d+)$'))
end

-- Whether all that came when this one did has been taken from the list. If nobody knows
-- when the first packages came, it has not.
local function has_passed(digest, moment)
  for _, package in ipairs(redis.call('LRANGE', head, 0, -1)) do
    if redis.sha1hex(package) == digest then return false end
  end
  local packages = redis.call('LRANGE', ready, 0, 9)
  for _, package in ipairs(packages) do
    local line = redis.call('HGET', deliveries, redis.sha1hex(package))
    local first = line and came(redis.call('HGET', places, id_of(line)))
    if first and first > 0 then return first > moment and moment > 0 end
  end
  return #packages == 0
end

local function waits(id, place)
  local digest = string.match(place, '^(%x+) %d+$')
  if digest then
    local lines = redis.call('HGET', deliveries, digest) or ''
    local is_noted = false
    for line in string.gmatch(lines, '[^\\n]+') do
      is_noted = is_noted or id_of(line) == id
    end
    return is_noted and not has_passed(digest, came(place))
  end
  local set, score = string.match(place, '^(%l+) (.+)$')
  local texts = redis.call('ZRANGEBYSCORE', base .. ':' .. set, score, score)
  for _, text in ipairs(texts) do
    if id_of(without_mark(text)) == id then return true end
  end
end

local function is_held(id)
  for _, cluster in ipairs(redis.call('ZRANGE', clusters, 0, -1)) do
    for _, text in ipairs(redis.call('HVALS', held(cluster))) do
      if id_of(text) == id then return true end
    end
  end
end

-- Where a task waits, so that it can be cancelled. When it is taken, this is not worth
-- changing: who looks there does not find it. Gives whether it is to be put there: not if
-- it waits or is held. (Consumers of earlier releases take a package and leave its id.)
local function note(slip, place, is_new)
  if slip.id == '' then return true end
  if is_new then
    if redis.call('HSETNX', places, slip.id, place) == 1 then return true end
    local known = redis.call('HGET', places, slip.id)
    if waits(slip.id, known) or is_held(slip.id) then return false end
  end
  redis.call('HSET', places, slip.id, place)
  return true
end

-- What is known of a package goes with it: beside the list, or in its slip.
local function remember(digest, line, is_first)
  if redis.call('HSETNX', deliveries, digest, line) == 1 then return end
  local lines = redis.call('HGET', deliveries, digest)
  lines = is_first and line .. '\\n' .. lines or lines .. '\\n' .. line
  redis.call('HSET', deliveries, digest, lines)
end

local stamp

-- The list is sorted by when packages came; those that are put first came before all.
local function place_in_list(digest, is_first)
  stamp = stamp or whole(now())
  return digest .. ' ' .. (is_first and '0' or stamp)
end

local function push(slip, is_first, is_new)
  if slip.id ~= '' or slip.deliveries > 0 or slip.is_ranked then
    local digest = redis.sha1hex(slip.package)
    if not note(slip, place_in_list(digest, is_first), is_new) then return end
    remember(digest, header(slip), is_first)
  end
  if is_first then
    redis.call('LPUSH', ready, slip.package)
  else
    redis.call('RPUSH', ready, slip.package)
  end
end

-- The first line of several, and the others, if there are any.
local function parted(lines)
  local stop = string.find(lines, '\\n', 1, true)
  if not stop then return lines end
  return string.sub(lines, 1, stop - 1), string.sub(lines, stop + 1)
end

local function recall(package)
  local digest = redis.sha1hex(package)
  local lines = redis.call('HGET', deliveries, digest)
  if not lines then return UNKNOWN end
  local line, rest = parted(lines)
  if rest then
    redis.call('HSET', deliveries, digest, rest)
  else
    redis.call('HDEL', deliveries, digest)
  end
  return line
end

local function pull(package)
  return package and read(recall(package) .. '\\n' .. package)
end

local function rank(slip, is_first, is_new)
  local middle = 0 - slip.priority * SPAN
  local low, high = whole(middle - SPAN / 2), '(' .. whole(middle + SPAN / 2)
  local found, step
  if is_first then
    found, step = redis.call(
      'ZRANGEBYSCORE', ranked, low, high, 'WITHSCORES', 'LIMIT', 0, 1
    ), -1
  else
    found, step = redis.call(
      'ZREVRANGEBYSCORE', ranked, high, low, 'WITHSCORES', 'LIMIT', 0, 1
    ), 1
  end
  local score = whole(found[2] and found[2] + step or middle)
  if note(slip, 'ranked ' .. score, is_new) then
    redis.call('ZADD', ranked, score, score .. ' ' .. write(slip))
  end
end

-- The package waits, before or behind all others of its priority.
local function put(slip, is_first, is_new)
  slip.is_ranked = false
  local place = slip.priority == 0 and push or rank
  place(slip, is_first, is_new)
end

local function put_off(slip, delay, mark, is_new)
  local due = whole(now() + delay)
  if note(slip, 'later ' .. due, is_new) then
    redis.call('ZADD', later, due, mark .. ' ' .. write(slip))
  end
end

local function is_guest(package)
  local lines = redis.call('HGET', deliveries, redis.sha1hex(package))
  return lines and read(lines).is_ranked
end

-- Everything goes to its own place: guests of the list, and what woke somebody.
local function settle()
  local guests = {}
  local package = redis.call('LINDEX', ready, 0)
  while package and is_guest(package) do
    guests[#guests + 1] = pull(redis.call('LPOP', ready))
    package = redis.call('LINDEX', ready, 0)
  end
  local slip = pull(redis.call('RPOP', head))
  while slip do
    if slip.is_ranked then table.insert(guests, 1, slip) else push(slip, true) end
    slip = pull(redis.call('RPOP', head))
  end
  for i = #guests, 1, -1 do rank(guests[i], true) end
end

-- What is due by now stands with the others of its priority; not too much at a time.
local function promote()
  local moment, size = now(), 0
  for _ = 1, 1000 do
    local text = redis.call(
      'ZRANGEBYSCORE', later, '-inf', moment, 'LIMIT', 0, 1
    )[1]
    size = size + #(text or '')
    if not text or size > 2 ^ 24 then return end
    redis.call('ZREM', later, text)
    local slip = read(without_mark(text))
    slip.is_ranked = true
    rank(slip, false)
  end
end

local function ring()
  if redis.call('LLEN', ready) > 0 or is_paused() then return end
  local text = redis.call('ZRANGE', ranked, 0, 0)[1]
  if not text then return end
  redis.call('ZREM', ranked, text)
  local slip = read(without_mark(text))
  slip.is_ranked = true
  push(slip, false)
end

local function lapsed()
  return redis.call('ZRANGEBYSCORE', clusters, '-inf', now())
end

-- Everything that a cluster has goes back to the head of its priority, oldest first.
local function free(cluster, rescues)
  redis.call('ZREM', clusters, cluster)
  settle()
  local fields, receipts, texts = redis.call('HGETALL', held(cluster)), {}, {}
  for i = 1, #fields, 2 do
    receipts[#receipts + 1] = fields[i]
    texts[fields[i]] = fields[i + 1]
  end
  while redis.call('RPOPLPUSH', move(cluster), ready) do end
  table.sort(receipts)
  local freed = {}
  for i = #receipts, 1, -1 do
    local slip = read(texts[receipts[i]])
    slip.rescues = slip.rescues + rescues
    put(slip, true)
    freed[#freed + 1] = slip
  end
  redis.call('DEL', held(cluster))
  return freed
end
"""
)


class Script:
    """A script that a server has read already, or is given then."""

    def __init__(self, body: str, *, shortcut: str = "", common: str = COMMON) -> None:
        # Each run makes all functions anew: what does without them is much faster.
        self.text = shortcut + common + body

    @cached_property
    def digest(self) -> str:
        text = self.text.encode()
        return hashlib.sha1(text, usedforsecurity=False).hexdigest()

    def __call__(self, client: Any, key: str, *arguments: str | bytes | float) -> Any:
        """What it answers about the queue with this list; text comes as bytes, also
        from a client that decodes what it gets: a package may be anything.
        """
        words = (1, key, *arguments)
        try:
            return converse(client, "EVALSHA", self.digest, *words)
        except NoScriptError:
            return ask(client, "EVAL", self.text, *words)
