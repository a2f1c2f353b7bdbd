"""The Lua scripts of a consumer group; each is one atomic step on the server (docs/delivery.md, "Shared streams").

Keys of every script: the input stream, the output stream, its dead letters, its counts. A script that fails halfway
would not be rolled back, so each one first tries what a user, a full memory or a wrong type could reject.
"""

from __future__ import annotations

# ARGV: group, input. Binds the output to its input and group, and creates the group at the first entry.
# Returns what was found: ok, or type, other, lost, foreign, used with details.
OPEN = """
for i, kind in ipairs({'stream', 'stream', 'stream', 'hash'}) do
  local found = redis.call('TYPE', KEYS[i]).ok
  if found ~= 'none' and found ~= kind then return {'type', KEYS[i], found} end
end
local exists, consumers = false, 0
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local group = {}
    for i = 1, #flat, 2 do group[flat[i]] = flat[i + 1] end
    if group['name'] == ARGV[1] then exists, consumers = true, group['consumers'] end
  end
end
local held = redis.call('HMGET', KEYS[4], 'group', 'input')
if held[1] then
  if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return {'other', held[1], held[2]} end
  if not exists then return {'lost'} end
  return {'ok'}
end
if redis.call('EXISTS', KEYS[2], KEYS[3]) > 0 then return {'foreign'} end
if consumers > 0 then return {'used'} end
redis.call('HSET', KEYS[4], 'group', ARGV[1], 'input', ARGV[2], 'read', 0)
if not exists then
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
  local stream, flat = {}, redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #flat, 2 do stream[flat[i]] = flat[i + 1] end
  redis.call('HSET', KEYS[4], 'before', stream['entries-added'] - stream['length'])
end
return {'ok'}
"""

# ARGV: group, consumer, limit. Returns new entries, and counts them. Writes nothing if there are none.
READ = """
local last = nil
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #flat, 2 do group[flat[i]] = flat[i + 1] end
  if group['name'] == ARGV[1] then last = group['last-delivered-id'] end
end
if not last then return redis.error_reply('NOGROUP no such group') end
if #redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', 1) == 0 then return {} end
redis.call('HINCRBY', KEYS[4], 'read', 0)
local found = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', ARGV[3], 'STREAMS', KEYS[1], '>')
if not found then return {} end
redis.call('HINCRBY', KEYS[4], 'read', #found[1][2])
return found[1][2]
"""

# ARGV: group, consumer, least idle milliseconds, or -1 for entries of this consumer itself. Takes one pending entry.
# Returns its id, how often it was delivered before, and its fields; no fields if it was deleted from the stream.
CLAIM = """
local idle, found = ARGV[3], nil
if idle == '-1' then
  idle = 0
  found = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
else
  found = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', idle, '-', '+', 1)
end
if #found == 0 then return {} end
redis.call('HINCRBY', KEYS[4], 'deleted', 0)
local id, times = found[1][1], found[1][4]
local claimed = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], idle, id)
if #claimed > 0 then return {id, times, claimed[1][2]} end
if #redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1) == 0 then
  redis.call('HINCRBY', KEYS[4], 'deleted', 1)
end
return {id, times}
"""

# ARGV: group, consumer, model version, time, least and largest id; then of each entry: kind (score, anomaly, dead), id,
# score or record, reason. Entries that are no longer pending for this consumer are skipped.
# Returns how many were scored, anomalies, dead and skipped.
COMMIT = """
for i, kind in ipairs({'stream', 'stream', 'stream', 'hash'}) do
  local found = redis.call('TYPE', KEYS[i]).ok
  if found ~= 'none' and found ~= kind then
    return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found)
  end
end
redis.call('HINCRBY', KEYS[4], 'scored', 0)
redis.call('XACK', KEYS[1], ARGV[1], '0-0')
local mine = {}
for _, one in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[5], ARGV[6], 1000000, ARGV[2])) do
  mine[one[1]] = true
end
local scored, anomalies, dead, skipped, settled = 0, 0, 0, 0, {}
for i = 7, #ARGV, 4 do
  local kind, id = ARGV[i], ARGV[i + 1]
  if not mine[id] then
    skipped = skipped + 1
  else
    mine[id] = nil
    if kind == 'dead' then
      redis.call('XADD', KEYS[3], '*', 'id', id, 'record', ARGV[i + 2], 'reason', ARGV[i + 3],
        'model_version', ARGV[3], 'dead_at', ARGV[4])
      dead = dead + 1
    else
      redis.call('XADD', KEYS[2], '*', 'id', id, 'score', ARGV[i + 2])
      scored = scored + 1
      if kind == 'anomaly' then anomalies = anomalies + 1 end
    end
    settled[#settled + 1] = id
  end
end
for i = 1, #settled, 500 do
  redis.call('XACK', KEYS[1], ARGV[1], unpack(settled, i, math.min(i + 499, #settled)))
end
for name, count in pairs({scored = scored, anomalies = anomalies, dead = dead, skipped = skipped}) do
  redis.call('HINCRBY', KEYS[4], name, count)
end
redis.call('HSET', KEYS[4], 'committed_at', ARGV[4])
return {scored, anomalies, dead, skipped}
"""

# ARGV: group. Counts entries that were removed from the stream before the group read them; known once it has read all.
# Returns how many were not counted before.
LOST = """
local before = redis.call('HGET', KEYS[4], 'before')
if not before or redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local stream, flat = {}, redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #flat, 2 do stream[flat[i]] = flat[i + 1] end
for _, found in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #found, 2 do group[found[i]] = found[i + 1] end
  if group['name'] == ARGV[1] then
    local unread = redis.call('XRANGE', KEYS[1], '(' .. group['last-delivered-id'], '+', 'COUNT', 1)
    if #unread > 0 then return 0 end
    local held = redis.call('HMGET', KEYS[4], 'read', 'lost')
    local lost = stream['entries-added'] - before - held[1] - (held[2] or 0)
    if lost > 0 then redis.call('HINCRBY', KEYS[4], 'lost', lost) end
    return lost
  end
end
return 0
"""

# ARGV: group, consumer. Removes a consumer without pending entries, whose name would otherwise remain.
LEAVE = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
  return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
return 0
"""
