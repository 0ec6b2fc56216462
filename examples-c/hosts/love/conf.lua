function love.conf(t)
  t.version = "11.4"
  t.identity = "inferno-digits"
  t.window.title = "Inferno: digits"
  t.window.width = 900
  t.window.height = 560
  t.modules.audio = false
  t.modules.sound = false
  t.modules.physics = false
  t.modules.video = false
end
