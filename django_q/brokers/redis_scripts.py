"""What Redis does in one step: scripts, each of them atomic, by the clock of Redis."""

from __future__ import annotations

from typing import Final

from django_q.brokers.redis_lua import QUEUE, Script

ENQUEUE: Final = Script(
    shortcut="""
-- Tasks without delay and priority, as most are: if their ids and packages are new, this is
-- all that there is to do. If not, what was done is done once more below.
local base = string.gsub(KEYS[1], ':q$', '')
local places, deliveries = base .. ':places', base .. ':deliveries'
redis.call('LLEN', base .. ':nowhere')
local time = redis.call('TIME')
local stamp = string.format(' %.0f', time[1] * 1000 + math.floor(time[2] / 1000))

if #ARGV == 4 and ARGV[2] ~= '' and ARGV[3] == '' then
  local id, package = ARGV[2], ARGV[4]
  local digest = redis.sha1hex(package)
  if redis.call('HSETNX', places, id, digest .. stamp) == 1
    and redis.call('HSETNX', deliveries, digest, '0 0 0 0 ' .. id) == 1
  then
    return redis.call('RPUSH', KEYS[1], package)
  end
end

local function any(key, names)
  for _, value in ipairs(redis.call('HMGET', key, unpack(names))) do
    if value then return true end
  end
end

-- Many: as many as stand on the stack of Lua twice. Gives nothing if one of them is not new.
local function queued_together()
  local ids, digests, packages, is_in, slips, seen = {}, {}, {}, {}, {}, {}
  for i = 2, #ARGV, 3 do
    local id, digest = ARGV[i], redis.sha1hex(ARGV[i + 2])
    if id == '' or ARGV[i + 1] ~= '' or seen[id] or seen[' ' .. digest] then return end
    seen[id], seen[' ' .. digest] = true, true
    ids[#ids + 1] = id
    digests[#ids], packages[#ids] = digest, ARGV[i + 2]
    is_in[2 * #ids - 1], is_in[2 * #ids] = id, digest .. stamp
    slips[2 * #ids - 1], slips[2 * #ids] = digest, '0 0 0 0 ' .. id
  end
  if any(places, ids) or any(deliveries, digests) then return end
  redis.call('HSET', places, unpack(is_in))
  redis.call('HSET', deliveries, unpack(slips))
  return redis.call('RPUSH', KEYS[1], unpack(packages))
end

if #ARGV > 4 and #ARGV <= 3001 then
  local length = queued_together()
  if length then return length end
end
""",
    body="""
-- ARGV: token, then a task id, its delay and priority unless both are 0, and a package,
-- again and again. Behind a priority may stand for how long the id is to be known.
local function is_known(id)
  return tonumber(redis.call('ZSCORE', sent, id) or 0) > now()
end

for i = 2, #ARGV, 3 do
  local id = ARGV[i]
  local delay, priority, memory = string.match(ARGV[i + 1], '(%d+) (%S+) ?(%d*)')
  local slip = new(id, ARGV[i + 2], tonumber(priority or 0))
  memory = tonumber(memory or '')
  if not (memory and is_known(id)) then
    if delay and delay ~= '0' then
      put_off(slip, delay, ARGV[1] .. i, true)
    else
      put(slip, false, true)
    end
  end
  -- Behind the package: a script that fails before has not made it vanish.
  if memory then redis.call('ZADD', sent, now() + memory, id) end
end
ring()
return redis.call('LLEN', ready)
""",
)

FETCH: Final = Script("""
-- ARGV: token, cluster, lease, count, bytes, '1' if what lapsed may be taken at once.
-- Gives slips, or nothing at all: the queue is paused. Token and place are the receipt.
local token, cluster, length = ARGV[1], ARGV[2], ARGV[3]
local count, bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local mine, taken, size = held(cluster), {}, 0

local function receipt() return string.format('%s:%05d', token, #taken) end

local function give(text)
  size = size + #text
  taken[#taken + 1] = text
end

-- The deliveries stand first in a slip; mostly, this is the first one.
local function delivered(text)
  if string.sub(text, 1, 2) == '0 ' then return '1' .. string.sub(text, 2) end
  local stop = string.find(text, ' ', 1, true)
  return string.sub(text, 1, stop - 1) + 1 .. string.sub(text, stop)
end

local function hand_out(text)
  redis.call('HSET', mine, receipt(), text)
  give(text)
end

local function wants_more() return #taken < count and size < bytes end

local function take_ranked(limit)
  while wants_more() do
    local texts = redis.call('ZRANGEBYSCORE', ranked, '-inf', limit, 'LIMIT', 0, 10)
    if #texts == 0 then return end
    for _, text in ipairs(texts) do
      if not wants_more() then return end
      redis.call('ZREM', ranked, text)
      hand_out(delivered(without_mark(text)))
    end
  end
end

-- What is known of these packages: by digest, all lines of each.
local function known_of(digests)
  local found = redis.call('HMGET', deliveries, unpack(digests))
  local known = {}
  for i, digest in ipairs(digests) do known[digest] = found[i] or nil end
  return known
end

local function forget(digests, known)
  redis.call('HDEL', deliveries, unpack(digests))
  for digest, rest in pairs(known) do redis.call('HSET', deliveries, digest, rest) end
end

-- A portion of the list; gives whether there was any. It is held before it is removed: a
-- script that is stopped between has it twice rather than not at all.
local function take_listed()
  local last = math.min(PORTION, count - #taken) - 1
  local packages, digests = redis.call('LRANGE', ready, 0, last), {}
  if #packages == 0 then return false end
  for i, package in ipairs(packages) do digests[i] = redis.sha1hex(package) end
  local known, used, fields = known_of(digests), {}, {}
  for i, package in ipairs(packages) do
    if not wants_more() then break end
    local line, rest = parted(known[digests[i]] or UNKNOWN)
    used[i], known[digests[i]] = digests[i], rest
    fields[2 * i - 1] = receipt()
    give(delivered(line) .. '\\n' .. package)
    fields[2 * i] = taken[#taken]
  end
  redis.call('HSET', mine, unpack(fields))
  forget(used, known)
  redis.call('LTRIM', ready, #used, -1)
  return true
end

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
if is_paused() then return false end
settle()
promote()
take_ranked(BEFORE_LIST)
while wants_more() and take_listed() do end
take_ranked(BEHIND_LIST)
ring()
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

ACKNOWLEDGE: Final = Script(
    common=QUEUE,
    body="""
-- ARGV: cluster, receipts, each once. Gives those that were not its own.
local mine, lost = held(ARGV[1]), {}
for i = 2, #ARGV, PORTION do
  local some = {unpack(ARGV, i, math.min(i + PORTION - 1, #ARGV))}
  local ids = {}
  for k, text in ipairs(redis.call('HMGET', mine, unpack(some))) do
    if text then ids[#ids + 1] = id_of(text) else lost[#lost + 1] = some[k] end
  end
  if #ids > 0 then
    redis.call('HDEL', mine, unpack(some))
    redis.call('HDEL', places, unpack(ids))
  end
end
return lost
""",
)

RELEASE: Final = Script("""
-- ARGV: cluster, token, delay, '1' if an attempt failed, receipts, each once.
-- Gives those that were not its own.
local mine, token, delay = held(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local failed, lost = tonumber(ARGV[4]), {}
settle()
for i = #ARGV, 5, -1 do
  local text = redis.call('HGET', mine, ARGV[i])
  if text then
    redis.call('HDEL', mine, ARGV[i])
    local slip = read(text)
    slip.attempts = slip.attempts + failed
    if delay > 0 then
      put_off(slip, delay, token .. i)
    else
      put(slip, failed == 0)
    end
  else
    lost[#lost + 1] = ARGV[i]
  end
end
ring()
return lost
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
-- ARGV: cluster that asks, how many packages are enough, and a cluster that is dead for
-- certain; without it, those whose lease ran out. Frees one cluster whole, then the next.
-- Gives a cluster and what names the package, again and again.
local rescued = {}
for _, other in ipairs(ARGV[3] and {ARGV[3]} or lapsed()) do
  if #rescued >= 2 * tonumber(ARGV[2]) then break end
  if other ~= ARGV[1] then
    for _, slip in ipairs(free(other, 1)) do
      local name = slip.id
      if name == '' then name = string.sub(redis.sha1hex(slip.package), 1, 8) end
      rescued[#rescued + 1] = other
      rescued[#rescued + 1] = name
    end
  end
end
ring()
-- With nothing anywhere, what is still known is of packages that others took away.
local left = redis.call('LLEN', ready) + redis.call('LLEN', head)
left = left + redis.call('ZCARD', ranked) + redis.call('ZCARD', later)
for _, cluster in ipairs(redis.call('ZRANGE', clusters, 0, -1)) do
  left = left + redis.call('HLEN', held(cluster)) + redis.call('LLEN', move(cluster))
end
if left == 0 then redis.call('DEL', deliveries, places) end
redis.call('ZREMRANGEBYSCORE', sent, '-inf', now())
return rescued
""")

SIZES: Final = Script("""
-- Gives what waits, and what is delayed or held.
local locked = redis.call('ZCOUNT', later, '(' .. now(), '+inf')
local waiting = redis.call('LLEN', ready) + redis.call('LLEN', head)
waiting = waiting + redis.call('ZCARD', ranked) + redis.call('ZCARD', later) - locked
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
for _, cluster in ipairs(redis.call('ZRANGE', clusters, 0, -1)) do
  redis.call('DEL', held(cluster), move(cluster))
end
redis.call('ZREMRANGEBYSCORE', clusters, '-inf', now())
redis.call('DEL', ready, head, ranked, later, deliveries, places, bell, sent)
""")

PAUSE: Final = Script("""
redis.call('DEL', bell)
redis.call('SET', paused, now())
""")

RESUME: Final = Script("""
-- All who wait for the bell hear it, and who is about to: it goes on until the next pause.
if redis.call('DEL', paused) == 1 then redis.call('RPUSH', bell, now()) end
settle()
ring()
""")

IS_PAUSED: Final = Script("""
return is_paused() and 1 or 0
""")

SETTLE: Final = Script("""
settle()
ring()
""")
