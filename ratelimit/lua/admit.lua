-- admit.lua, version 1: takes a request, its tokens and a lease from every limit of a scope, or nothing.
--
-- Stored: one HASH per limit.
--   '@'            <i8 x5: at, requests, tokens, held, due; behind them, for a strict window, its log.
--                  at: us since 2025 of the last change. requests, tokens: used and not yet drained (smooth),
--                  or the sum of the log (strict). held: how many reservations are open. due: the second in
--                  which tidy.lua has work, never later than the first lease lapses.
--                  The log: up to 61 entries <I4 I4 I8: second since 2025, requests, tokens; oldest first.
--   reservation id <I4 I4: the second its lease lapses, the second it was charged.
--   '~' and a mark the same, for a replay that was charged (restore.lua); not counted in `held`.
--   '@scan'        see tidy.lua.
-- KEYS: the limits of one scope, all under one hash tag.
-- ARGV: 1 reservation id, not starting with '@' or '~'; '' asks without taking
--       2 lease, whole seconds
--       3 milliseconds a new key lives
--       4.. per key <i8 x7: cost, capacity and drain per us of requests, then of tokens; most leases.
--           A drain of 0 means a strict window.
-- Returns: admitted: a string, the 40-byte header of each key as it is now
--          refused or only asked: whole numbers {now, then per key: requests, tokens, held, due,
--          us until the requests fit, until the tokens fit (both 0 where the window is smooth)}
-- Idempotent by reservation id: the same id again renews its lease, charges nothing and is admitted.
-- Exact: numbers are whole and below 2^53. A server clock that steps back drains nothing and forgets
-- nothing: the state steps back with it.
local call, pack, unpick, id = redis.call, struct.pack, struct.unpack, ARGV[1]
local time = call('TIME')
local second = time[1] - 1735689600
local now = second * 1000000 + time[2]
local lapse = second + ARGV[2]
local refused, again, ahead, value = id == '', nil, nil, nil
local values = #KEYS > 1 and {}  -- the common case, one limit, is spared the table

-- 1. What every limit would look like afterwards.
for i = 1, #KEYS do
  local rcost, rcap, rdrain, tcost, tcap, tdrain, most = unpick('<i8i8i8i8i8i8i8', ARGV[i + 3])
  local at, requests, tokens, held, due, log = now, 0, 0, 0, lapse, ''
  value = call('HGET', KEYS[i], '@')
  if value then at, requests, tokens, held, due = unpick('<i8i8i8i8i8', value) end
  if rdrain == 0 then
    local from, till, r, t = 41, 40, rcost, tcost
    if value and #value > 40 then
      log, till = value, #value
      local last, a, b = unpick('<I4I4I8', log, till - 15)
      if last > second then
        local moved = {string.sub(log, 1, 40)}
        for p = 41, till, 16 do
          local s, r1, t1 = unpick('<I4I4I8', log, p)
          moved[#moved + 1] = pack('<I4I4I8', s - last + second, r1, t1)
        end
        log, last = table.concat(moved), second
        ahead = ahead or {}
        ahead[i] = true
      end
      if last == second then r, t, till = r + a, t + b, till - 16 end
      -- An entry leaves when its whole second is more than 60 s old: then no 60 s ever hold too much.
      while from < till do
        local s, r1, t1 = unpick('<I4I4I8', log, from)
        if s >= second - 60 then break end
        requests, tokens, from = requests - r1, tokens - t1, from + 16
      end
    end
    log = string.sub(log, from, till) .. pack('<I4I4I8', second, r, t)
    if value and call('HEXISTS', KEYS[i], id) == 1 then
      again = again or {}
      again[i] = true
    end
  elseif now > at then
    requests = requests - (now - at) * rdrain
    if requests < 0 then requests = 0 end
    tokens = tokens - (now - at) * tdrain
    if tokens < 0 then tokens = 0 end
  elseif now < at then
    ahead = ahead or {}
    ahead[i] = true
  end
  requests, tokens, held = requests + rcost, tokens + tcost, held + 1
  if requests > rcap or tokens > tcap or held > most then refused = true end
  value = pack('<i8i8i8i8i8', now, requests, tokens, held, due) .. log
  if values then values[i] = value end
end

-- 2. All or nothing.
if not refused then
  local lease = pack('<I4I4', lapse, second)
  for i = 1, #KEYS do
    if not again or not again[i] then
      local created = call('HSET', KEYS[i], '@', values and values[i] or value, id, lease)
      if created == 2 then
        call('PEXPIRE', KEYS[i], ARGV[3])
      elseif created == 0 then
        again = again or {}
        again[i] = true
      end
    end
  end
else
  values = values or {value}
  for i = 1, #KEYS do
    if call('HEXISTS', KEYS[i], id) == 1 then
      again = again or {}
      again[i] = true
    end
  end
  if not again then
    local answer = {now}
    for i = 1, #KEYS do
      local rcost, rcap, rdrain, tcost, tcap = unpick('<i8i8i8i8i8', ARGV[i + 3])
      local rwait, twait = 0, 0
      local _, requests, tokens, held, due = unpick('<i8i8i8i8i8', values[i])
      local rover, tover = requests - rcap, tokens - tcap
      for p = 41, #values[i], 16 do
        local s, r, t = unpick('<I4I4I8', values[i], p)
        if rover > 0 then rwait = (s + 61) * 1000000 - now end
        if tover > 0 then twait = (s + 61) * 1000000 - now end
        rover, tover = rover - r, tover - t
      end
      requests, tokens, held = requests - rcost, tokens - tcost, held - 1
      if ahead and ahead[i] then
        -- Not written, the state would wait for the clock to come back to where it was.
        local log = ''
        if rdrain == 0 then
          local s, r, t = unpick('<I4I4I8', values[i], #values[i] - 15)
          log = string.sub(values[i], 41, -17) .. pack('<I4I4I8', s, r - rcost, t - tcost)
        end
        call('HSET', KEYS[i], '@', pack('<i8i8i8i8i8', now, requests, tokens, held, due) .. log)
      end
      local n = #answer
      answer[n + 1], answer[n + 2], answer[n + 3] = requests, tokens, held
      answer[n + 4], answer[n + 5], answer[n + 6] = due, rwait, twait
    end
    return answer
  end
end

if not values and not again then return string.sub(value, 1, 40) end

-- 3. A key that knew the id already: its charge is taken out again.
values = values or {value}
for i in pairs(again or {}) do
  local rcost, _, rdrain, tcost = unpick('<i8i8i8i8', ARGV[i + 3])
  local at, requests, tokens, held, due = unpick('<i8i8i8i8i8', values[i])
  local log, charged = '', second
  if rdrain == 0 then
    local s, r, t = unpick('<I4I4I8', values[i], #values[i] - 15)
    log = string.sub(values[i], 41, -17) .. pack('<I4I4I8', s, r - rcost, t - tcost)
    charged = unpick('<I4', call('HGET', KEYS[i], id), 5)
  end
  values[i] = pack('<i8i8i8i8i8', at, requests - rcost, tokens - tcost, held - 1, due) .. log
  call('HSET', KEYS[i], '@', values[i], id, pack('<I4I4', lapse, charged))
end
for i = 1, #values do values[i] = string.sub(values[i], 1, 40) end
return table.concat(values)
