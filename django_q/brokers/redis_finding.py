"""Scripts of Redis that find packages where they wait: to take one out, to show the next."""

from __future__ import annotations

from typing import Final

from django_q.brokers.redis_lua import Script

CANCEL: Final = Script("""
-- ARGV: task id, how many packages at the end of the list were looked at.
-- Gives 1: it is cancelled; 0: it does not wait; else the next number of packages, negative.
local id, seen, most = ARGV[1], tonumber(ARGV[2]), 1000
local place = redis.call('HGET', places, id) or ''
local digest, came = string.match(place, '^(%x+) (%d+)$')

local function lines()
  return string.gmatch(redis.call('HGET', deliveries, digest) or '', '[^\\n]+')
end

local function drop(key, package, from_tail)
  local kept = {}
  for line in lines() do
    if id_of(line) ~= id then kept[#kept + 1] = line end
  end
  redis.call('HDEL', deliveries, digest)
  if #kept > 0 then
    redis.call('HSET', deliveries, digest, table.concat(kept, '\\n'))
  end
  redis.call('HDEL', places, id)
  if package then redis.call('LREM', key, from_tail and -1 or 1, package) end
  ring()
  return package and 1 or 0
end

local function find(key, first, last)
  local packages = redis.call('LRANGE', key, first, last)
  for i = #packages, 1, -1 do
    if redis.sha1hex(packages[i]) == digest then return packages[i] end
  end
end

-- When the package at this place of the list came, or else one soon behind it.
local function came_at(index)
  for i = index, index + 9 do
    local package = redis.call('LINDEX', ready, i) or ''
    local line = redis.call('HGET', deliveries, redis.sha1hex(package))
    local where = line and redis.call('HGET', places, id_of(line)) or ''
    local moment = string.match(where, '^%x+ (%d+)$')
    if moment then return tonumber(moment) end
  end
end

-- Where in the list those begin that came when this one did, or a little before.
local function guess()
  local low, high = 0, redis.call('LLEN', ready)
  while high - low > most do
    local middle = math.floor((low + high) / 2)
    local moment = came_at(middle)
    if not moment then return low end
    if moment < tonumber(came) then low = middle else high = middle end
  end
  return low
end

if not digest then
  local set, score = string.match(place, '^(%l+) (.+)$')
  local texts = set and redis.call('ZRANGEBYSCORE', base .. ':' .. set, score, score)
  for _, text in ipairs(texts or {}) do
    if id_of(without_mark(text)) == id then
      redis.call('ZREM', base .. ':' .. set, text)
      redis.call('HDEL', places, id)
      return 1
    end
  end
  return 0
end

local is_there = false
for line in lines() do is_there = is_there or id_of(line) == id end
if not is_there then return 0 end
local length = redis.call('LLEN', ready)
if seen == most then
  -- It is none of the last ones, which are cheaper to look at.
  local first = guess()
  local package = find(ready, first, first + 3 * most)
  if package then return drop(ready, package, first > length / 2) end
end
local package = find(ready, -seen - most, -seen - 1)
if package then return drop(ready, package, seen < length / 2) end
if seen + most < length then return -seen - most end
return drop(head, find(head, 0, -1))
""")

PEEK: Final = Script("""
-- ARGV: count. Gives what fetching would, next first.
local count, packages = tonumber(ARGV[1]), {}

local function see(low, high)
  for _, text in ipairs(redis.call(
    'ZRANGEBYSCORE', ranked, low, high, 'LIMIT', 0, count - #packages
  )) do packages[#packages + 1] = read(without_mark(text)).package end
end

settle()
promote()
see('-inf', BEFORE_LIST)
if #packages < count then
  local last = count - #packages - 1
  for _, package in ipairs(redis.call('LRANGE', ready, 0, last)) do
    packages[#packages + 1] = package
  end
end
see(string.sub(BEFORE_LIST, 2), BEHIND_LIST)
ring()
return packages
""")
