-- health.lua, version 3: every change of what is known of targets, origins and keys, for the whole cluster.
--
-- Stored: one HASH: name -> record (JSON, the fields of proxy.circuit.Record, those that are 0 left out),
--         and '@' -> version, which grows with every change that others must know of.
-- KEYS: 1 the hash.
-- ARGV: 1 the channel that such changes are published on
--       2 the rules (JSON, proxy.circuit.Rules)
--       3 the most records kept
--       4 the changes in their order (JSON, a list of proxy.circuit.Change)
-- Returns: {now in ms, the message that was published or ''}. A message is JSON:
--          [version before, version, now in ms, name, record or false, name, record or false, ...]
-- Time is the server's. A version is at least its milliseconds, so that it grows even where the server has
-- forgotten everything. Publishing may be forbidden to us: replicas that hear nothing poll.
local call, floor, max, min = redis.call, math.floor, math.max, math.min
local hash, SLOTS, UNIT, AHEAD, REMEMBERED = KEYS[1], 10, 1000, 60000, 86400000
local rules, changes = cjson.decode(ARGV[2]), cjson.decode(ARGV[4])
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)
local width = max(floor(rules.window / SLOTS), 1)
local slot = floor(now / width)

-- 1. What can happen to a record: the twin is proxy.circuit, function by function.

local function holds(r, c) return (c.token or '') ~= '' and c.token == r.probe end

local function longest() return now + max(rules.ejection_cap, rules.quarantine) + AHEAD end

local function unprobed(r) r.probe, r.probe_until = '', 0 end

local function drained(r) return r.drained_at > r.restored_at end

local function ordered(r)
  local last = max(r.restored_at, r.reset_at)
  return drained(r) or (last > 0 and now < last + REMEMBERED)
end

local function stale(r)
  local last = #r.window > 0 and r.window[#r.window - 2] * width or 0
  return now - last >= rules.forgive
end

local function counted(window, ok, failed)
  local kept = {}
  for at = 1, #window, 3 do
    local s, a, b = window[at], window[at + 1], window[at + 2]
    if s == slot then
      ok, failed = ok + a, failed + b
    elseif s > slot - SLOTS and s < slot then
      kept[#kept + 1], kept[#kept + 2], kept[#kept + 3] = s, a, b
    end
  end
  kept[#kept + 1], kept[#kept + 2], kept[#kept + 3] = slot, ok, failed
  return kept
end

local function ejections(r)
  local forgotten = r.closed_at > 0 and floor((now - r.closed_at) / rules.forgive) or 0
  return max(r.ejections - max(forgotten, 0), 0)
end

local function back_offs(r)
  return now < (r.back_off_until or 0) + rules.back_off_cap and r.back_offs or 0
end

local function open(r, cause, c)
  r.ejections = ejections(r) + 1
  if r.open_until == 0 then r.failures = 0 end
  local pause = min(floor(rules.ejection * r.ejections * (c.jitter or UNIT) / UNIT), rules.ejection_cap)
  r.open_until = max(r.open_until, now + pause)
  r.broken, r.window, r.cause, r.closed_at = 0, {}, cause, 0
  unprobed(r)
end

local function dying(r, c)
  if r.cause ~= 'rate' or c.late then return end
  r.failures = r.failures + 1
  if r.failures >= rules.failures then r.failures, r.cause = 0, 'consecutive' end
end

local apply = {}

function apply.ok(r, c)
  if c.late then
    r.broken = 0
  elseif r.open_until == 0 then
    if stale(r) then r.broken = 0 end
    r.failures, r.ok_at, r.window = 0, now, counted(r.window, c.count or 1, 0)
    if r.back_off_until <= now then r.back_offs = 0 end
  elseif holds(r, c) then
    r.failures, r.broken, r.window, r.ok_at = 0, 0, {}, now
    r.open_until, r.cause, r.closed_at = 0, '', now
    unprobed(r)
  elseif r.cause == 'rate' then
    r.failures, r.ok_at = 0, now
  end
end

function apply.fail(r, c)
  local age = c.age or -1
  local fine = now - r.ok_at <= rules.window or (age >= 0 and age <= rules.window)
  if r.open_until > 0 then
    if not fine then dying(r, c) end
    if holds(r, c) then open(r, r.cause, c) end
    return
  end
  if c['repeat'] and fine then return end
  if stale(r) then r.failures, r.broken = 0, 0 end
  local row = c.late and 'broken' or 'failures'
  r[row] = r[row] + 1
  r.window = counted(r.window, 0, 1)
  local failed, total = 0, 0
  for at = 1, #r.window, 3 do
    failed, total = failed + r.window[at + 2], total + r.window[at + 1] + r.window[at + 2]
  end
  if r[row] >= rules.failures then
    open(r, 'consecutive', c)
  elseif total >= rules.requests and failed * UNIT >= rules.rate * total then
    open(r, 'rate', c)
  end
end

function apply.back_off(r, c)
  if holds(r, c) then unprobed(r) end
  local inside, row, hint, wait = r.back_off_until > now, back_offs(r), c.hint or 0, 0
  if hint > 0 then
    wait = min(hint, rules.hint_cap)
  elseif inside then
    return
  else
    wait = floor(min(rules.back_off * 2 ^ min(row, 10), rules.back_off_cap) * (c.jitter or UNIT) / UNIT)
  end
  r.back_offs = inside and row or row + 1
  r.back_off_until = max(r.back_off_until, now + wait)
end

function apply.refuse(r)
  r.ejections = ejections(r)
  r.failures, r.broken, r.window, r.cause, r.closed_at = 0, 0, {}, 'refused', 0
  r.open_until = max(r.open_until, now + rules.quarantine)
  unprobed(r)
end

function apply.claim(r, c)
  local half_open = r.open_until > 0 and r.open_until <= now
  local probing = drained(r) or (r.probe ~= '' and r.probe_until > now)
  if half_open and not probing and r.back_off_until <= now and (c.token or '') ~= '' then
    r.probe, r.probe_until = c.token, now + rules.lease
  end
end

function apply.renew(r, c)
  if holds(r, c) then r.probe_until = now + rules.lease end
end

function apply.release(r, c)
  if holds(r, c) then unprobed(r) end
end

function apply.drain(r, c) r.drained_at = max(c.epoch or 0, r.drained_at, r.restored_at + 1) end

function apply.restore(r, c) r.restored_at = max(c.epoch or 0, r.drained_at, r.restored_at) end

local function anew(r, reset_at)
  r.failures, r.broken, r.window, r.ok_at, r.open_until, r.ejections, r.cause = 0, 0, {}, 0, 0, 0, ''
  r.closed_at, r.back_offs, r.back_off_until, r.reset_at = 0, 0, 0, reset_at
  unprobed(r)
end

function apply.reset(r, c) anew(r, max(c.epoch or 0, r.reset_at + 1)) end

function apply.merge(r, c)
  local told = c.record or {}
  local reset_at = told.reset_at or 0
  r.drained_at = max(r.drained_at, told.drained_at or 0)
  r.restored_at = max(r.restored_at, told.restored_at or 0)
  if reset_at < r.reset_at then return end
  if reset_at > r.reset_at then anew(r, reset_at) end
  local till, closed = min(told.open_until or 0, longest()), told.closed_at or 0
  r.back_offs = max(back_offs(r), back_offs(told))
  r.back_off_until = max(r.back_off_until, min(told.back_off_until or 0, now + rules.hint_cap + AHEAD))
  if till > max(r.open_until, r.closed_at) then
    r.ejections = max(ejections(r), told.ejections or 0)
    if r.open_until == 0 then r.failures = 0 end
    r.broken = 0
    r.open_until, r.cause, r.closed_at = till, told.cause or '', 0
    unprobed(r)
  elseif r.open_until == 0 and closed > r.closed_at then
    r.ejections, r.closed_at = told.ejections or 0, closed
  elseif r.open_until > 0 and till > 0 then
    r.ejections = max(r.ejections, told.ejections or 0)
  end
end

local ANY_EPOCH = {merge = true, drain = true, restore = true, reset = true}

local function idle(r)
  if r.open_until > 0 or r.back_off_until > now or ordered(r) then return false end
  if (r.failures > 0 or r.broken > 0) and not stale(r) then return false end
  for at = 1, #r.window, 3 do
    if r.window[at + 2] > 0 and r.window[at] > slot - SLOTS then return false end
  end
  if back_offs(r) > 0 then return false end
  return r.closed_at == 0 or now >= r.closed_at + max(rules.slow_start, rules.forgive * r.ejections)
end

-- 2. From and to what is stored.

local NUMBERS = {'failures', 'broken', 'ok_at', 'open_until', 'ejections', 'closed_at', 'probe_until', 'back_offs',
  'back_off_until', 'drained_at', 'restored_at', 'reset_at', 'version'}
local TEXTS = {'cause', 'probe'}

local function full(text)
  local r = text and cjson.decode(text) or {}
  for _, name in ipairs(NUMBERS) do r[name] = r[name] or 0 end
  for _, name in ipairs(TEXTS) do r[name] = r[name] or '' end
  r.window = r.window or {}
  return r
end

local function lean(r)
  local kept = {}
  for _, name in ipairs(NUMBERS) do if r[name] ~= 0 then kept[name] = r[name] end end
  for _, name in ipairs(TEXTS) do if r[name] ~= '' then kept[name] = r[name] end end
  if #r.window > 0 then kept.window = r.window end
  return kept
end

local function public(r)
  return table.concat({r.open_until, r.ejections, r.cause, r.closed_at, r.probe, r.probe_until,
    r.back_off_until, r.drained_at, r.restored_at, r.reset_at}, ' ')
end

-- 3. The changes, in their order; each record is read and written once.

local records, existed, before, names = {}, {}, {}, {}
for _, c in ipairs(changes) do
  local r = records[c.name]
  if not r then
    local text = call('HGET', hash, c.name)
    r = full(text)
    records[c.name], existed[c.name], before[c.name] = r, text and true or false, public(r)
    names[#names + 1] = c.name
  end
  if (c.epoch or 0) >= r.reset_at or ANY_EPOCH[c.kind] then apply[c.kind](r, c) end
end

local old = tonumber(call('HGET', hash, '@') or 0)
local version = max(old + 1, now)
local message = {old, version, now}
for _, name in ipairs(names) do
  local r = records[name]
  if idle(r) then
    if existed[name] then
      call('HDEL', hash, name)
      message[#message + 1], message[#message + 2] = name, false
    end
  else
    local kept = lean(r)
    if not existed[name] or public(r) ~= before[name] then
      r.version, kept.version = version, version
      message[#message + 1], message[#message + 2] = name, kept
    end
    call('HSET', hash, name, cjson.encode(kept))
  end
end

if #message == 3 then return {now, ''} end

-- 4. Names can be made up by clients that may address providers directly: what is idle makes room.
if call('HLEN', hash) > tonumber(ARGV[3]) then
  local found = call('HSCAN', hash, now % 65536, 'COUNT', 100)[2]
  for at = 1, #found, 2 do
    local name, r = found[at], found[at] ~= '@' and not records[found[at]] and full(found[at + 1])
    if r and not ordered(r)
      and max(r.open_until, r.back_off_until, r.ok_at, r.version) + rules.hint_cap < now then
      call('HDEL', hash, name)
      message[#message + 1], message[#message + 2] = name, false
    end
  end
end

-- 5. What others must know of.
call('HSET', hash, '@', string.format('%.0f', version))
local text = cjson.encode(message)
redis.pcall('PUBLISH', ARGV[1], text)
return {now, text}
