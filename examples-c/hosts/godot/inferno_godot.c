/* Inferno in Godot 3, as a GDNative class of C: `InfernoPolicy`, for GDScript.
 *
 *   load(path, batch) -> bool         path: anything File opens: res://, user://, inside a .pck
 *   run(PoolRealArray) -> PoolRealArray    all inputs of the batch; empty when it failed
 *   error() -> String                 why the last call failed
 *
 * Models go through Godot's own File, so a packed or exported game needs no files beside it. Each
 * object counts as a user of Inferno: the last one that is freed ends what the library holds. One
 * thread at a time may use an object; objects on several threads run side by side.
 *
 * godot_headers are Godot's own, of the branch of its version (3.2 and later).
 *
 *   cc -shared -fPIC inferno_godot.c -Igodot_headers $(pkg-config --cflags --libs inferno) \
 *      -Wl,-rpath,'$ORIGIN' -o bin/libinferno_godot.so */

#include <gdnative_api_struct.gen.h>
#include <inferno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const godot_gdnative_core_api_struct *godot;

/* ---- Godot's File, as a reader for Inferno ---------------------------------------- */

static struct {
  godot_class_constructor make;
  godot_method_bind *open, *get_len, *seek, *get_buffer;
} file_class;

static void file_class_init(void) {
  file_class.make = godot->godot_get_class_constructor("_File");
  file_class.open = godot->godot_method_bind_get_method("_File", "open");
  file_class.get_len = godot->godot_method_bind_get_method("_File", "get_len");
  file_class.seek = godot->godot_method_bind_get_method("_File", "seek");
  file_class.get_buffer = godot->godot_method_bind_get_method("_File", "get_buffer");
}

static int32_t file_open(void *user_data, const char *path, void **file, uint64_t *size_bytes) {
  const int64_t read_only = 1;
  int64_t error = 0, size = 0;
  godot_string name;
  const void *arguments[2];
  godot_object *made = file_class.make();
  (void)user_data;
  godot->godot_string_new(&name);
  godot->godot_string_parse_utf8(&name, path);
  arguments[0] = &name;
  arguments[1] = &read_only;
  godot->godot_method_bind_ptrcall(file_class.open, made, arguments, &error);
  godot->godot_string_destroy(&name);
  if (error != 0) {
    godot->godot_object_destroy(made);
    return error == GODOT_ERR_FILE_NOT_FOUND ? -1 : 1;
  }
  godot->godot_method_bind_ptrcall(file_class.get_len, made, NULL, &size);
  *file = made;
  *size_bytes = (uint64_t)size;
  return 0;
}

static int32_t file_read(void *user_data, void *file, uint64_t offset, void *buffer, size_t size_bytes) {
  const int64_t from = (int64_t)offset, count = (int64_t)size_bytes;
  const void *seek_to[1] = {&from}, *get[1] = {&count};
  godot_pool_byte_array bytes;
  int32_t is_short;
  (void)user_data;
  godot->godot_method_bind_ptrcall(file_class.seek, file, seek_to, NULL);
  godot->godot_pool_byte_array_new(&bytes);
  godot->godot_method_bind_ptrcall(file_class.get_buffer, file, get, &bytes);
  is_short = (size_t)godot->godot_pool_byte_array_size(&bytes) != size_bytes;
  if (!is_short) {
    godot_pool_byte_array_read_access *access = godot->godot_pool_byte_array_read(&bytes);
    memcpy(buffer, godot->godot_pool_byte_array_read_access_ptr(access), size_bytes);
    godot->godot_pool_byte_array_read_access_destroy(access);
  }
  godot->godot_pool_byte_array_destroy(&bytes);
  return is_short;
}

static void file_close(void *user_data, void *file) {
  (void)user_data;
  godot->godot_object_destroy(file); /* which closes it */
}

static const inferno_reader reader = {sizeof(inferno_reader), NULL, file_open, file_read, file_close};

/* ---- The class ------------------------------------------------------------------- */

struct policy {
  inferno_session *session;
  inferno_tensor input;
  char error[512];
};

/* Keeps what the library said of the call that failed. */
static int failed(struct policy *policy, inferno_status status) {
  if (status == INFERNO_STATUS_OK) return 0;
  snprintf(policy->error, sizeof policy->error, "%s: %s", inferno_status_name((int32_t)status),
           inferno_last_error());
  return 1;
}

static int refuse(struct policy *policy, const char *why) {
  snprintf(policy->error, sizeof policy->error, "%s", why);
  return 1;
}

/* The model goes, the session stays; on a failure the session in use stays, too. */
static int load(struct policy *policy, const char *path, int64_t batch) {
  const inferno_symbol_value symbol = {"batch", batch};
  inferno_session_options options;
  inferno_model *model = NULL;
  inferno_session *session = NULL;
  inferno_tensor input;
  int bad = failed(policy, inferno_session_options_init(&options, sizeof options));
  options.symbols = &symbol;
  options.symbol_count = 1;
  bad = bad || failed(policy, inferno_model_load_reader(&reader, path, NULL, &model)) ||
        failed(policy, inferno_session_new(model, &options, &session)) ||
        failed(policy, inferno_session_input(session, 0, &input));
  if (!bad && input.dtype != INFERNO_DTYPE_F32) bad = refuse(policy, "the model's input is not of floats");
  inferno_model_free(model);
  if (bad) {
    inferno_session_free(session);
    return 1;
  }
  inferno_session_free(policy->session);
  policy->session = session;
  policy->input = input;
  return 0;
}

static int write_input(struct policy *policy, const godot_pool_real_array *values) {
  godot_pool_real_array_read_access *access;
  if ((size_t)godot->godot_pool_real_array_size(values) * sizeof(float) != policy->input.size_bytes) {
    snprintf(policy->error, sizeof policy->error, "run: %d numbers given, the model takes %d",
             (int)godot->godot_pool_real_array_size(values), (int)(policy->input.size_bytes / sizeof(float)));
    return 1;
  }
  access = godot->godot_pool_real_array_read(values);
  memcpy(policy->input.data, godot->godot_pool_real_array_read_access_ptr(access), policy->input.size_bytes);
  godot->godot_pool_real_array_read_access_destroy(access);
  return 0;
}

static int run(struct policy *policy, const godot_pool_real_array *values, godot_pool_real_array *results) {
  godot_pool_real_array_write_access *access;
  inferno_tensor output;
  if (policy->session == NULL) return refuse(policy, "run: no model is loaded");
  if (write_input(policy, values) || failed(policy, inferno_session_run(policy->session, NULL)) ||
      failed(policy, inferno_session_output(policy->session, 0, &output))) {
    return 1;
  }
  if (output.dtype != INFERNO_DTYPE_F32) return refuse(policy, "the model's output is not of floats");
  godot->godot_pool_real_array_resize(results, (godot_int)(output.size_bytes / sizeof(float)));
  access = godot->godot_pool_real_array_write(results);
  memcpy(godot->godot_pool_real_array_write_access_ptr(access), output.data, output.size_bytes);
  godot->godot_pool_real_array_write_access_destroy(access);
  return 0;
}

/* ---- What GDScript calls ---------------------------------------------------------- */

static void *policy_new(godot_object *object, void *method_data) {
  struct policy *policy = calloc(1, sizeof *policy);
  (void)object, (void)method_data;
  if (policy != NULL && inferno_init(NULL) != INFERNO_STATUS_OK) {
    free(policy);
    policy = NULL;
  }
  return policy;
}

static void policy_end(godot_object *object, void *method_data, void *user_data) {
  struct policy *policy = user_data;
  (void)object, (void)method_data;
  if (policy == NULL) return;
  inferno_session_free(policy->session);
  inferno_shutdown();
  free(policy);
}

static godot_variant policy_load(godot_object *object, void *method_data, void *user_data, int count,
                                 godot_variant **arguments) {
  struct policy *policy = user_data;
  godot_variant result;
  int good = 0;
  (void)object, (void)method_data;
  if (policy != NULL && count != 2) refuse(policy, "load takes a path and a batch");
  if (policy != NULL && count == 2) {
    godot_string path = godot->godot_variant_as_string(arguments[0]);
    godot_char_string text = godot->godot_string_utf8(&path);
    good = !load(policy, godot->godot_char_string_get_data(&text), godot->godot_variant_as_int(arguments[1]));
    godot->godot_char_string_destroy(&text);
    godot->godot_string_destroy(&path);
  }
  godot->godot_variant_new_bool(&result, good);
  return result;
}

static godot_variant policy_run(godot_object *object, void *method_data, void *user_data, int count,
                                godot_variant **arguments) {
  struct policy *policy = user_data;
  godot_pool_real_array results;
  godot_variant result;
  (void)object, (void)method_data;
  godot->godot_pool_real_array_new(&results);
  if (policy != NULL && count != 1) refuse(policy, "run takes one PoolRealArray");
  if (policy != NULL && count == 1) {
    godot_pool_real_array values = godot->godot_variant_as_pool_real_array(arguments[0]);
    run(policy, &values, &results);
    godot->godot_pool_real_array_destroy(&values);
  }
  godot->godot_variant_new_pool_real_array(&result, &results);
  godot->godot_pool_real_array_destroy(&results);
  return result;
}

static godot_variant policy_error(godot_object *object, void *method_data, void *user_data, int count,
                                  godot_variant **arguments) {
  const struct policy *policy = user_data;
  godot_string text;
  godot_variant result;
  (void)object, (void)method_data, (void)count, (void)arguments;
  godot->godot_string_new(&text);
  godot->godot_string_parse_utf8(&text, policy != NULL ? policy->error : "out of memory");
  godot->godot_variant_new_string(&result, &text);
  godot->godot_string_destroy(&text);
  return result;
}

/* ---- What Godot calls, by name ------------------------------------------------------ */

static const godot_gdnative_ext_nativescript_api_struct *nativescript;

void GDN_EXPORT godot_gdnative_init(godot_gdnative_init_options *options) {
  godot = options->api_struct;
  for (unsigned i = 0; i < godot->num_extensions; i++) {
    if (godot->extensions[i]->type == GDNATIVE_EXT_NATIVESCRIPT) {
      nativescript = (const godot_gdnative_ext_nativescript_api_struct *)godot->extensions[i];
    }
  }
  file_class_init();
}

void GDN_EXPORT godot_gdnative_terminate(godot_gdnative_terminate_options *options) {
  (void)options;
  godot = NULL;
  nativescript = NULL;
}

static void add_method(void *handle, const char *name,
                       godot_variant (*method)(godot_object *, void *, void *, int, godot_variant **)) {
  const godot_method_attributes attributes = {GODOT_METHOD_RPC_MODE_DISABLED};
  const godot_instance_method given = {method, NULL, NULL};
  nativescript->godot_nativescript_register_method(handle, "InfernoPolicy", name, attributes, given);
}

void GDN_EXPORT godot_nativescript_init(void *handle) {
  const godot_instance_create_func create = {policy_new, NULL, NULL};
  const godot_instance_destroy_func destroy = {policy_end, NULL, NULL};
  nativescript->godot_nativescript_register_class(handle, "InfernoPolicy", "Reference", create, destroy);
  add_method(handle, "load", policy_load);
  add_method(handle, "run", policy_run);
  add_method(handle, "error", policy_error);
}
