-- Inferno for LuaJIT: reads inferno.h itself, so nothing is declared twice.
--
--   local inferno = require("inferno")(header_text, "libinferno.so")
--   local session = inferno.load(onnx_bytes, "digits", {batch = 1})     -- nil, message on a failure
--   local input, count = session:input(0)                               -- float *, zero-based
--   local good, message = session:run()
--   local output, count = session:output(0)                             -- until the next run
--   inferno.shutdown()
--
-- A session is ended by the garbage collector, or by session:free(). Handles are checked numbers: one that
-- is freed after the shutdown is answered with a status, so the order does not matter.

local ffi = require("ffi")

-- ffi.cdef knows comments but no preprocessor: without its lines, without what is for C++ only, and with
-- the numbers of macros put in.
local function declarations(header)
  local macros, lines, cplusplus = {}, {}, false
  for line in header:gmatch("[^\n]*") do
    local name, number = line:match("^#define ([%w_]+) (%d+)$")
    if name then macros[name] = number end
    if line:match("^#ifdef __cplusplus") then cplusplus = true end
    if not cplusplus and not line:match("^#") then lines[#lines + 1] = line end
    if cplusplus and line:match("^#endif") then cplusplus = false end
  end
  local text = table.concat(lines, "\n"):gsub("%[([%w_]+)%]", function(name)
    return "[" .. (macros[name] or name) .. "]"
  end)
  return text, tonumber(macros.INFERNO_VERSION)
end

return function(header, library)
  local text, version = declarations(header)
  ffi.cdef(text)
  local C = ffi.load(library)
  assert(C.inferno_version() == version, "inferno.h and " .. library .. " are of different versions")

  local inferno = {C = C, version = ffi.string(C.inferno_version_string())}

  -- true, or nil and what was wrong.
  local function check(status)
    if status == "INFERNO_STATUS_OK" then return true end
    return nil, ffi.string(C.inferno_status_name(status)) .. ": " .. ffi.string(C.inferno_last_error())
  end

  local Session = {}
  Session.__index = Session

  -- Loads a model from a string of bytes, and makes a session with these values for its open dims.
  function inferno.load(bytes, name, symbols)
    local options = ffi.new("inferno_model_options[1]")
    local model = ffi.new("inferno_model *[1]")
    local good, message = check(C.inferno_model_options_init(options, ffi.sizeof(options[0])))
    if not good then return nil, message end
    options[0].name = name
    good, message = check(C.inferno_model_load_memory(bytes, #bytes, options, model))
    if not good then return nil, message end
    local session
    session, message = inferno.session(model[0], symbols)
    C.inferno_model_free(model[0]) -- the session keeps it
    return session, message
  end

  function inferno.session(model, symbols)
    local names, values = {}, ffi.new("inferno_symbol_value[?]", 8)
    for symbol, value in pairs(symbols or {}) do
      assert(#names < 8, "eight symbols at the most")
      values[#names].symbol = symbol
      values[#names].value = value
      names[#names + 1] = symbol -- kept from the collector until the call is done
    end
    local options = ffi.new("inferno_session_options[1]")
    local good, message = check(C.inferno_session_options_init(options, ffi.sizeof(options[0])))
    if not good then return nil, message end
    options[0].symbols = values
    options[0].symbol_count = #names
    local session = ffi.new("inferno_session *[1]")
    good, message = check(C.inferno_session_new(model, options, session))
    if not good then return nil, message end
    return setmetatable({handle = ffi.gc(session[0], C.inferno_session_free)}, Session)
  end

  local function floats(status, tensor)
    local good, message = check(status)
    if not good then return nil, message end
    if tensor[0].dtype ~= ffi.C.INFERNO_DTYPE_F32 then return nil, "the tensor is not of floats" end
    return ffi.cast("float *", tensor[0].data), tonumber(tensor[0].size_bytes) / 4
  end

  -- Memory of the session's to write to, and its number of floats.
  function Session:input(index)
    local tensor = ffi.new("inferno_tensor[1]")
    return floats(C.inferno_session_input(self.handle, index, tensor), tensor)
  end

  -- Makes every run read from an array of the caller's, ffi.new("float[?]", ...), with these dims. The
  -- session holds on to it, as it must outlive the binding.
  function Session:bind_input(index, array, dims)
    local tensor = ffi.new("inferno_tensor[1]")
    local size = 4
    for axis, dim in ipairs(dims) do
      tensor[0].dims[axis - 1] = dim
      size = size * dim
    end
    assert(size <= ffi.sizeof(array), "the array is smaller than its dims")
    tensor[0].dtype = ffi.C.INFERNO_DTYPE_F32
    tensor[0].rank = #dims
    tensor[0].data = array
    tensor[0].size_bytes = size
    self[index] = array
    return check(C.inferno_session_bind_input(self.handle, index, tensor))
  end

  function Session:run()
    return check(C.inferno_session_run(self.handle, nil))
  end

  function Session:output(index)
    local tensor = ffi.new("inferno_tensor[1]")
    return floats(C.inferno_session_output(self.handle, index, tensor), tensor)
  end

  function Session:free()
    return check(C.inferno_session_free(ffi.gc(self.handle, nil)))
  end

  function inferno.start()
    return check(C.inferno_init(nil))
  end

  function inferno.shutdown()
    return check(C.inferno_shutdown())
  end

  return inferno
end
