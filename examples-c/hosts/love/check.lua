-- What tests/hosts.sh looks at: the answers of two models, errors, reload and restart.

local function best(scores, count)
  local at = 0
  for i = 1, count - 1 do
    if scores[i] > scores[at] then at = i end
  end
  return at
end

local function policy_answer(load_model)
  local policy = assert(load_model("policy.onnx"))
  local observation, count = policy:input(0)
  for i = 0, count - 1 do observation[i] = (i % 8) / 8 - 0.5 end
  assert(policy:run())
  local scores, actions = policy:output(0)
  local action = best(scores, actions)
  local answer = ("action %d of %d, value %.6f"):format(action, actions, scores[action])
  assert(policy:free())
  local good, why = policy:run()
  assert(not good and why:match("^INVALID_HANDLE"), why)
  return answer
end

return function(inferno, load_model, use_model, pixels)
  local zero = "  0  0  5 13  9  1  0  0  0  0 13 15 10 15  5  0  0  3 15  2  0 11  8  0  0  4 12  0  0  8  8  0 " ..
    "  0  5  8  0  0  9  8  0  0  4 11  0  1 12  7  0  0  2 14  5 10 12  0  0  0  0  6 13 10  0  0  0"
  local i = 0
  for ink in zero:gmatch("%d+") do
    pixels[i] = tonumber(ink)
    i = i + 1
  end
  local first = policy_answer(load_model)
  print("answer: " .. first)
  local good, why = use_model("main.lua") -- no model
  assert(not good)
  print("refused: " .. why)
  assert(use_model("digits.onnx"))
  assert(policy_answer(load_model) == first)
  print("reloaded: same answer")
  assert(inferno.shutdown())
  assert(inferno.start())
  assert(use_model("digits.onnx"))
  assert(policy_answer(load_model) == first)
  print("restarted: same answer")
  io.stdout:flush()
end
