"""The Lua scripts of sessions: each touches one key, and reads the clock of the Redis server."""

from __future__ import annotations

from servekit.redis.script import Script

NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function text(number) return string.format('%.0f', number) end
"""

APPLY = """
local function apply(first)
  local removed = tonumber(ARGV[first])
  for at = first + 1, first + removed do redis.call('HDEL', KEYS[1], ARGV[at]) end
  for at = first + removed + 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
end
local function live(idle, ends)
  redis.call('HSET', KEYS[1], 'used', text(now))
  redis.call('PEXPIRE', KEYS[1], text(math.min(idle, ends - now)))
end
"""

# Returns the time left in ms, and the fields and values in turn. A server that takes no writes for
# now still runs what says that it only reads.
READ = Script(
    """#!lua flags=no-writes
return {redis.call('PTTL', KEYS[1]), redis.call('HGETALL', KEYS[1])}
"""
)

# ARGV: idle ms, absolute ms, then fields and values.
CREATE = Script(
    NOW
    + """
redis.call('HSET', KEYS[1], 'created', text(now), 'used', text(now),
  'ends', text(now + ARGV[2]), unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[1], text(math.min(ARGV[1], ARGV[2])))
return 1
"""
)

# ARGV: idle ms, digest of the id, count of removed fields, those, then fields and values.
# 0: there is no such session (a logout has won), or the id is none of this user's: an older one, or
# one of before a login. 1: done, 2: done, and the id is the current one.
UPDATE = Script(
    NOW
    + APPLY
    + """
local function get(field) return redis.call('HGET', KEYS[1], field) or '' end
local ends, is_current = get('ends'), get('id') == ARGV[2]
if ends == '' then return 0 end
if not is_current and (get('previous') ~= ARGV[2] or now >= tonumber(get('previous_until'))
  or get('previous_user') ~= get('user')) then return 0 end
apply(3)
live(tonumber(ARGV[1]), tonumber(ends))
return is_current and 2 or 1
"""
)

# ARGV: user that the session was read with, or ''. Whoever held its id before a login ends nothing.
# 0: there is no such session, 1: ended, 2: it is a user's by now.
END = Script(
    """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if (redis.call('HGET', KEYS[1], 'user') or '') ~= ARGV[1] then return 2 end
return redis.call('DEL', KEYS[1])
"""
)

# ARGV: idle ms, absolute ms, grace ms, digest of the id, digest of the new id, user or '', count of
# removed fields, those, then fields and values. A login starts the absolute lifetime again.
# 0: no such session, another request was first, or the session is another user's. What is asked
# again, as the answer was lost, is done.
ROTATE = Script(
    NOW
    + APPLY
    + """
local id = redis.call('HGET', KEYS[1], 'id')
if id == ARGV[5] then return 1 end
if id ~= ARGV[4] then return 0 end
local before = redis.call('HGET', KEYS[1], 'user') or ''
local after = ARGV[6] ~= '' and ARGV[6] or before
if before ~= '' and before ~= after then return 0 end
local ends = tonumber(redis.call('HGET', KEYS[1], 'ends'))
if ARGV[6] ~= '' then
  ends = now + ARGV[2]
  redis.call('HSET', KEYS[1], 'user', after, 'created', text(now), 'ends', text(ends))
end
redis.call('HSET', KEYS[1], 'id', ARGV[5], 'previous', ARGV[4],
  'previous_until', text(now + ARGV[3]), 'previous_user', before)
apply(7)
live(tonumber(ARGV[1]), ends)
return 1
"""
)

# ARGV: reference of the session, absolute ms. Returns all references, oldest first: sessions of
# before the lifetime was lowered live on for theirs.
ENROL = Script(
    NOW
    + """
local micros = clock[1] * 1000000 + clock[2]
redis.call('ZADD', KEYS[1], text(micros), ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""
)
