-- One POST, over and over; at the end one line of JSON that says what came back.
-- wrk -s wrk.lua URL -- BODY_FILE KEY ["NAME: VALUE" ...]

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  wrk.headers["content-type"] = "application/json"
  wrk.headers["authorization"] = "Bearer " .. args[2]
  for place = 3, #args do
    local name, value = args[place]:match("^(.-): (.*)$")
    wrk.headers[name] = value
  end
  file:close()
end

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "failed": %d, "p50": %.6f, "p99": %.6f}\n',
    summary.requests, summary.duration / 1e6, failed,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
