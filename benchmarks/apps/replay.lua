-- Sends the requests of a file in turn: wrk -s replay.lua URL -- FILE [SESSION]
-- They are separated by NUL, and read before the load begins. SESSION takes the place of "{session}" in each.
local requests, count, at = {}, 0, 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local text = file:read("*a")
  file:close()
  if args[2] then
    text = text:gsub("{session}", function() return args[2] end)
  end
  for one in text:gmatch("[^%z]+") do
    requests[count] = one
    count = count + 1
  end
end

function request()
  local one = requests[at]
  at = (at + 1) % count
  return one
end
