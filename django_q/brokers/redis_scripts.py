"""What Redis does in one step: scripts, each of them atomic, by the clock of Redis.

The keys of a queue, all beside its list:

django_q:NAME:q                 list    packages that wait, as producers push them
django_q:NAME:later             zset    slips of those that wait for their time
django_q:NAME:clusters          zset    cluster -> end of its lease, in milliseconds
django_q:NAME:held:CLUSTER      hash    receipt -> slip of what it holds
django_q:NAME:move:CLUSTER      list    what woke the cluster, on its way to the hash
django_q:NAME:deliveries        hash    SHA-1 of a waiting package -> what was counted
django_q:NAME:ids               set     ids of tasks that wait or are held

A slip is a package with a first line: deliveries, starts, attempts, rescues, task id.
Producers and consumers of earlier releases know the list only. What they take leaves
its counts and its id behind; these are dropped when the queue is empty.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any, Final

from redis import Redis
from redis.exceptions import NoScriptError

COMMON: Final = """
local ready = KEYS[1]
local base = string.gsub(ready, ':q$', '')
local later, clusters = base .. ':later', base .. ':clusters'
local deliveries, ids = base .. ':deliveries', base .. ':ids'

-- While the slot of the queue is on its way to another node of a Redis Cluster, a key that
-- is nowhere is refused, and with it the script, before it has done anything.
redis.call('LLEN', base .. ':nowhere')

local function held(cluster) return base .. ':held:' .. cluster end
local function move(cluster) return base .. ':move:' .. cluster end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A server whose memory is full refuses a script that begins with adding, so what makes
-- room in the end begins with removing.
local function lease(cluster, length)
  redis.call('ZREM', clusters, cluster)
  redis.call('ZADD', clusters, now() + length, cluster)
end

local function header(slip)
  local counts = slip.deliveries .. ' ' .. slip.starts .. ' '
  return counts .. slip.attempts .. ' ' .. slip.rescues .. ' ' .. slip.id
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
  return {
    deliveries = tonumber(d), starts = tonumber(s), attempts = tonumber(a),
    rescues = tonumber(r), id = id, package = string.sub(text, rest),
  }
end

local function new(id, package)
  return read('0 0 0 0 ' .. id .. '\\n' .. package)
end

-- What is known of a package goes with it: beside the list, or in its slip.
local function push(command, slip)
  redis.call(command, ready, slip.package)
  if slip.id ~= '' or slip.deliveries > 0 then
    redis.call('HSET', deliveries, redis.sha1hex(slip.package), header(slip))
  end
end

local function recall(package)
  local digest = redis.sha1hex(package)
  local known = redis.call('HGET', deliveries, digest)
  if not known then return new('', package) end
  redis.call('HDEL', deliveries, digest)
  local slip = read(known)
  slip.package = package
  return slip
end

local function lapsed()
  return redis.call('ZRANGEBYSCORE', clusters, '-inf', now())
end

-- Everything that a cluster has goes back to the head of the list, oldest first.
local function free(cluster, rescues)
  redis.call('ZREM', clusters, cluster)
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
    push('LPUSH', slip)
    freed[#freed + 1] = slip
  end
  redis.call('DEL', held(cluster))
  return freed
end
"""


class Script:
    """A script that a server has read already, or is given then."""

    def __init__(self, body: str) -> None:
        self.text = COMMON + body

    @cached_property
    def digest(self) -> str:
        text = self.text.encode()
        return hashlib.sha1(text, usedforsecurity=False).hexdigest()

    def __call__(self, client: Redis, key: str, *arguments: str | bytes | float) -> Any:
        """What it answers about the queue with this list; text comes as bytes, also
        from a client that decodes what it gets: a package may be anything.
        """
        words = (1, key, *arguments)
        try:
            return ask(client, "EVALSHA", self.digest, *words)
        except NoScriptError:
            return ask(client, "EVAL", self.text, *words)


def ask(client: Redis, command: str, *words: Any) -> Any:
    """The answer to a command, undecoded."""
    options: Any = {"NEVER_DECODE": True}
    return client.execute_command(command, *words, **options)  # type: ignore[no-untyped-call]


ENQUEUE: Final = Script("""
-- ARGV: token, delay, then a task id and a package, again and again.
local token, delay = ARGV[1], tonumber(ARGV[2])
for i = 3, #ARGV, 2 do
  local id = ARGV[i]
  if id == '' or redis.call('SADD', ids, id) == 1 then
    local slip = new(id, ARGV[i + 1])
    if delay > 0 then
      redis.call('ZADD', later, now() + delay, token .. i .. ' ' .. write(slip))
    else
      push('RPUSH', slip)
    end
  end
end
return redis.call('LLEN', ready)
""")

FETCH: Final = Script("""
-- ARGV: token, cluster, lease, count, bytes, '1' if what lapsed may be taken at once.
local token, cluster, length = ARGV[1], ARGV[2], ARGV[3]
local count, bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local mine, taken, size = held(cluster), {}, 0

local function receipt() return string.format('%s:%05d', token, #taken / 2) end

local function give(text)
  size = size + #text
  taken[#taken + 1] = receipt()
  taken[#taken + 1] = text
end

local function hand_out(slip)
  slip.deliveries = slip.deliveries + 1
  local text = write(slip)
  redis.call('HSET', mine, receipt(), text)
  give(text)
end

local function wants_more() return #taken / 2 < count and size < bytes end

-- Asked again because the answer was lost: here it is once more.
local known = redis.call('HGET', mine, receipt())
while known do
  give(known)
  known = redis.call('HGET', mine, receipt())
end
if #taken > 0 then return taken end

if ARGV[6] == '1' then
  for _, other in ipairs(lapsed()) do free(other, 0) end
else
  lease(cluster, length)
end
local package = redis.call('LPOP', move(cluster))
if package then hand_out(recall(package)) end
for _, text in ipairs(redis.call(
  'ZRANGEBYSCORE', later, '-inf', now(), 'LIMIT', 0, count
)) do
  if not wants_more() then break end
  redis.call('ZREM', later, text)
  hand_out(read(string.sub(text, string.find(text, ' ', 1, true) + 1)))
end
while wants_more() do
  package = redis.call('LPOP', ready)
  if not package then break end
  hand_out(recall(package))
end
if #taken > 0 and ARGV[6] == '1' then lease(cluster, length) end
return taken
""")

RENEW: Final = Script("""
-- ARGV: cluster, lease, receipts.
lease(ARGV[1], ARGV[2])
local ours = {}
for i = 3, #ARGV do
  if redis.call('HEXISTS', held(ARGV[1]), ARGV[i]) == 1 then
    ours[#ours + 1] = ARGV[i]
  end
end
return ours
""")

ACKNOWLEDGE: Final = Script("""
-- ARGV: cluster, receipts.
local mine, ours = held(ARGV[1]), {}
for i = 2, #ARGV do
  local text = redis.call('HGET', mine, ARGV[i])
  if text then
    redis.call('HDEL', mine, ARGV[i])
    redis.call('SREM', ids, read(text).id)
    ours[#ours + 1] = ARGV[i]
  end
end
return ours
""")

RELEASE: Final = Script("""
-- ARGV: cluster, token, delay, '1' if an attempt failed, receipts.
local mine, token, delay = held(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local failed, ours = tonumber(ARGV[4]), {}
for i = #ARGV, 5, -1 do
  local text = redis.call('HGET', mine, ARGV[i])
  if text then
    redis.call('HDEL', mine, ARGV[i])
    local slip = read(text)
    slip.attempts = slip.attempts + failed
    if delay > 0 then
      redis.call('ZADD', later, now() + delay, token .. i .. ' ' .. write(slip))
    else
      push(failed == 1 and 'RPUSH' or 'LPUSH', slip)
    end
    ours[#ours + 1] = ARGV[i]
  end
end
return ours
""")

REDELIVER: Final = Script("""
-- ARGV: cluster, lease, receipt, new receipt. Asked again, the answer is the same.
local mine = held(ARGV[1])
local text = redis.call('HGET', mine, ARGV[3])
if text then
  local slip = read(text)
  slip.deliveries, slip.starts = slip.deliveries + 1, slip.starts + 1
  redis.call('HDEL', mine, ARGV[3])
  redis.call('HSET', mine, ARGV[4], write(slip))
  lease(ARGV[1], ARGV[2])
end
return redis.call('HGET', mine, ARGV[4])
""")

MARK_STARTED: Final = Script("""
-- ARGV: cluster, receipts.
local mine = held(ARGV[1])
for i = 2, #ARGV do
  local text = redis.call('HGET', mine, ARGV[i])
  if text then
    local slip = read(text)
    slip.starts = slip.starts + 1
    change(mine, ARGV[i], slip)
  end
end
""")

HELD: Final = Script("""
-- ARGV: cluster.
return redis.call('HGETALL', held(ARGV[1]))
""")

RESCUE: Final = Script("""
-- ARGV: cluster that asks. Gives a cluster and what names the package, again and again.
local rescued = {}
for _, other in ipairs(lapsed()) do
  if other ~= ARGV[1] then
    for _, slip in ipairs(free(other, 1)) do
      local name = slip.id
      if name == '' then name = string.sub(redis.sha1hex(slip.package), 1, 8) end
      rescued[#rescued + 1] = other
      rescued[#rescued + 1] = name
    end
  end
end
-- With nothing anywhere, what is still known is of packages that others took away.
local left = redis.call('LLEN', ready) + redis.call('ZCARD', later)
for _, cluster in ipairs(redis.call('ZRANGE', clusters, 0, -1)) do
  left = left + redis.call('HLEN', held(cluster)) + redis.call('LLEN', move(cluster))
end
if left == 0 then redis.call('DEL', deliveries, ids) end
return rescued
""")

SIZES: Final = Script("""
-- Gives what waits, and what is delayed or held.
local locked = redis.call('ZCOUNT', later, '(' .. now(), '+inf')
local waiting = redis.call('LLEN', ready) + redis.call('ZCARD', later) - locked
for _, cluster in ipairs(redis.call('ZRANGE', clusters, 0, -1)) do
  locked = locked + redis.call('HLEN', held(cluster))
  locked = locked + redis.call('LLEN', move(cluster))
end
return {waiting, locked}
""")

NEXT_DUE: Final = Script("""
-- Gives the milliseconds until the next package that waits for its time.
local moment = now()
local first = redis.call(
  'ZRANGEBYSCORE', later, '(' .. moment, '+inf', 'WITHSCORES', 'LIMIT', 0, 1
)
return first[2] and first[2] - moment
""")

PURGE: Final = Script("""
-- The clusters stay: one may be waiting for a package right now.
for _, cluster in ipairs(redis.call('ZRANGE', clusters, 0, -1)) do
  redis.call('DEL', held(cluster), move(cluster))
end
redis.call('ZREMRANGEBYSCORE', clusters, '-inf', now())
redis.call('DEL', ready, later, deliveries, ids)
""")
