# What tests/hosts.sh looks at: godot3-server --path . -s res://check.gd
extends SceneTree

const MODEL = "res://models/policy.onnx"
const PACKED = "res://packed/policy.onnx"

func new_policy(path):
	var policy = load("res://inferno_policy.gdns").new()
	if not policy.load(path, 1):
		print(policy.error())
		return null
	return policy

func answer(policy):
	if policy == null:
		return "none"
	var seen = PoolRealArray()
	for i in 64:
		seen.append((i % 8) / 8.0 - 0.5)
	var scores = policy.run(seen)
	if scores.size() != 16:
		return policy.error()
	var best = 0
	for i in 16:
		if scores[i] > scores[best]:
			best = i
	return "action %d of 16, value %.6f" % [best, scores[best]]

# The model in a pack file: no file beside the game, but Godot's File reads it.
func pack():
	var packer = PCKPacker.new()
	var file = OS.get_user_data_dir() + "/models.pck"
	return packer.pck_start(file, 0) == OK and packer.add_file(PACKED, MODEL) == OK \
		and packer.flush(false) == OK and ProjectSettings.load_resource_pack(file)

func _init():
	print("version: Godot ", Engine.get_version_info().string)
	var policy = new_policy(MODEL)
	var first = answer(policy)
	print("answer: ", first)
	OS.exit_code = 1
	# A file that is not there, and numbers that are too few: told, and the policy goes on.
	var refused = policy != null and not policy.load("res://models/no-such-policy.onnx", 1)
	print("refused: ", policy.error())
	refused = refused and policy.run(PoolRealArray([1, 2, 3])).size() == 0
	print("refused: ", policy.error())
	if refused and answer(policy) == first and pack() and policy.load(PACKED, 1) and answer(policy) == first:
		print("reloaded: same answer, from a pack file")
		# The last object ends the runtime; the next one starts it again.
		policy = null
		if answer(new_policy(MODEL)) == first:
			print("restarted: same answer")
			OS.exit_code = 0
	quit()
