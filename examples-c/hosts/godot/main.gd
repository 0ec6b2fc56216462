# Agents that a policy network steers, all in one run a frame. R loads the model's file again.
#
#   godot3-runner --path . [--frames=N] [--shot=FILE.png]
extends Node2D

const InfernoPolicy = preload("res://inferno_policy.gdns")
const AGENTS = 60
const SEEN = 32 # others that an agent sees: 64 numbers
const HEADINGS = 16

var policy = InfernoPolicy.new()
var places = PoolVector2Array()
var courses = PoolRealArray()
var frames = 0
var last_frame = 0
var shot = ""

func _ready():
	for argument in OS.get_cmdline_args():
		if argument.begins_with("--frames="):
			last_frame = int(argument.substr(9))
		if argument.begins_with("--shot="):
			shot = argument.substr(7)
	for i in AGENTS:
		places.append(Vector2(120 + 80 * (i % 10), 100 + 80 * (i / 10)))
		courses.append(i * 2.4)
	if not policy.load("res://models/policy.onnx", AGENTS):
		give_up()

func give_up():
	push_error(policy.error())
	OS.exit_code = 1
	get_tree().quit()

# What all agents see: where the next of the others are, from each one's own course.
func senses():
	var seen = PoolRealArray()
	for me in AGENTS:
		for i in range(1, SEEN + 1):
			var offset = (places[(me + i) % AGENTS] - places[me]).rotated(-courses[me]) / 200.0
			seen.append(offset.x)
			seen.append(offset.y)
	return seen

func _physics_process(_delta):
	var scores = policy.run(senses())
	if scores.size() != AGENTS * HEADINGS:
		give_up()
		return
	for me in AGENTS:
		var best = 0
		for heading in HEADINGS:
			if scores[me * HEADINGS + heading] > scores[me * HEADINGS + best]:
				best = heading
		courses[me] += 0.05 * wrapf(best * TAU / HEADINGS, -PI, PI)
		var place = places[me] + Vector2(2, 0).rotated(courses[me])
		places[me] = Vector2(wrapf(place.x, 0, 960), wrapf(place.y, 0, 600))
	update()

func _draw():
	for me in AGENTS:
		var ahead = Vector2(1, 0).rotated(courses[me])
		var side = ahead.tangent()
		var corners = [places[me] + ahead * 12, places[me] - ahead * 8 + side * 6, places[me] - ahead * 8 - side * 6]
		draw_colored_polygon(PoolVector2Array(corners), Color.from_hsv(wrapf(courses[me] / TAU, 0, 1), 0.6, 1))

func _input(event):
	# A file that cannot be loaded leaves the policy as it is.
	if event is InputEventKey and event.pressed and event.scancode == KEY_R:
		if not policy.load("res://models/policy.onnx", AGENTS):
			push_warning(policy.error())

func _process(_delta):
	frames += 1
	if last_frame == 0 or frames < last_frame:
		return
	if shot != "":
		var picture = get_viewport().get_texture().get_data()
		picture.flip_y()
		if picture.save_png(shot) != OK:
			OS.exit_code = 1
	get_tree().quit()
