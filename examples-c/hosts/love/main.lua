-- Draw a digit with the mouse; a network says what it is, sixty times a second. The right button, or
-- Space, clears; R loads the model's file again.
--
-- The game's folder, or the .love, holds inferno.h and digits.onnx beside this file; libinferno.so is
-- where the system finds it, or where INFERNO_LIBRARY says.
--
--   love . [--shot=FILE.png]       with --shot: draws a zero itself, saves a picture, ends

local SIDE, CELL, LEFT, TOP = 8, 56, 40, 56
local MODEL = "digits.onnx"

-- The picture is the game's: sessions come and go, and read it where it is.
local pixels = require("ffi").new("float[64]")
local inferno, session, message, scores
local shot, frames = nil, 0

local function load_model(path)
  local bytes, why = love.filesystem.read(path)
  if not bytes then return nil, why end
  return inferno.load(bytes, path, {batch = 1})
end

local function clear()
  for i = 0, SIDE * SIDE - 1 do pixels[i] = 0 end
end

-- The session in use stays when the file is bad.
local function use_model(path)
  local fresh, good
  fresh, message = load_model(path)
  if fresh then
    good, message = fresh:bind_input(0, pixels, {1, SIDE * SIDE})
  end
  if good then session = fresh end
  return good, message
end

function love.load(arguments)
  for _, argument in ipairs(arguments) do shot = argument:match("^%-%-shot=(.+)") or shot end
  local header = assert(love.filesystem.read("inferno.h"))
  inferno = require("inferno")(header, os.getenv("INFERNO_LIBRARY") or "libinferno.so.0")
  assert(inferno.start())
  assert(use_model(MODEL))
  if shot then require("check")(inferno, load_model, use_model, pixels) end
end

-- Ink where the mouse is, less of it around.
local function paint(x, y)
  local column, row = (x - LEFT) / CELL - 0.5, (y - TOP) / CELL - 0.5
  for r = 0, SIDE - 1 do
    for c = 0, SIDE - 1 do
      local distance = math.sqrt((c - column) ^ 2 + (r - row) ^ 2)
      local ink = 16 * math.max(0, math.min(1, 1.4 - distance))
      pixels[r * SIDE + c] = math.max(pixels[r * SIDE + c], ink)
    end
  end
end

function love.update()
  if love.mouse.isDown(1) then paint(love.mouse.getPosition()) end
  local good, why = session:run()
  scores = good and session:output(0) or nil
  message = why or message
end

function love.draw()
  local graphics = love.graphics
  graphics.clear(0.08, 0.09, 0.12)
  for row = 0, SIDE - 1 do
    for column = 0, SIDE - 1 do
      local ink = pixels[row * SIDE + column] / 16
      graphics.setColor(0.14 + 0.82 * ink, 0.15 + 0.75 * ink, 0.19 + 0.45 * ink)
      graphics.rectangle("fill", LEFT + column * CELL, TOP + row * CELL, CELL - 2, CELL - 2, 4)
    end
  end
  for digit = 0, 9 do
    local y, score = TOP + digit * 45, scores and scores[digit] or 0
    graphics.setColor(0.9, 0.9, 0.9)
    graphics.print(tostring(digit), 530, y + 8, 0, 1.6)
    graphics.setColor(0.25, 0.27, 0.33)
    graphics.rectangle("fill", 560, y + 6, 300, 26, 4)
    graphics.setColor(0.96, 0.55, 0.2)
    graphics.rectangle("fill", 560, y + 6, 300 * score, 26)
  end
  graphics.setColor(0.7, 0.7, 0.75)
  graphics.print(message or ("Inferno " .. inferno.version .. " in LÖVE"), LEFT, 20)
  frames = frames + 1
  if shot and frames == 10 then
    graphics.captureScreenshot(function(picture)
      local file = assert(io.open(shot, "wb"))
      file:write(picture:encode("png"):getString())
      file:close()
      love.event.quit(0)
    end)
  end
end

function love.mousepressed(_, _, button)
  if button == 2 then clear() end
end

function love.keypressed(key)
  if key == "space" then clear() end
  if key == "r" then use_model(MODEL) end
  if key == "escape" then love.event.quit() end
end

function love.quit()
  if inferno then inferno.shutdown() end
end
