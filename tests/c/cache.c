/*
 * Compiled models in a folder: what a second load finds there, and what it refuses.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "scratch.h"

#include <dirent.h>
#include <pthread.h>
#if HAS_FORK
#include <sys/wait.h>
#endif

/* ---- What the log says ---------------------------------------------------------------------- */

static char said[1 << 16];
static pthread_mutex_t saying = PTHREAD_MUTEX_INITIALIZER;

static void note(void *user_data, int32_t level, const char *module, const char *line) {
    (void)user_data, (void)level, (void)module;
    pthread_mutex_lock(&saying);
    if (strlen(said) + strlen(line) + 2 < sizeof said) {
        strcat(strcat(said, line), "\n");
    }
    pthread_mutex_unlock(&saying);
}

/* Whether `words` were said since the last call. */
static int heard(const char *words) {
    pthread_mutex_lock(&saying);
    int found = strstr(said, words) != NULL;
    said[0] = '\0';
    pthread_mutex_unlock(&saying);
    return found;
}

/* ---- Files ---------------------------------------------------------------------------------- */

static void write_model(const char *name, pb bytes) {
    scratch_write(name, bytes.data, bytes.size);
    pb_free(&bytes);
    /* A file that was changed a moment ago is not known by its times. */
    REQUIRE(set_file_age(scratch(name), 100000000) == 0);
}

/* The names in a folder that end so; the last of them, and how many. */
static int names(const char *folder, const char *end, char *last) {
    int count = 0;
    DIR *all = opendir(folder);
    for (struct dirent *entry; all != NULL && (entry = readdir(all)) != NULL;) {
        size_t length = strlen(entry->d_name);
        if (length > strlen(end) && strcmp(entry->d_name + length - strlen(end), end) == 0) {
            snprintf(last, 256, "%s", entry->d_name);
            count++;
        }
    }
    if (all != NULL) {
        closedir(all);
    }
    return count;
}

static int count_of(const char *folder, const char *end) {
    char last[256];
    return names(folder, end, last);
}

/* The first bytes of a file, and its size. */
static size_t slurp(const char *path, unsigned char *bytes, size_t most) {
    FILE *file = fopen(path, "rb");
    REQUIRE(file != NULL);
    size_t size = fread(bytes, 1, most, file);
    fclose(file);
    return size;
}

static void spill(const char *path, const unsigned char *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    REQUIRE(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

/* ---- Loads ---------------------------------------------------------------------------------- */

static inferno_model_options cached(const char *folder) {
    inferno_model_options options;
    REQUIRE_OK(inferno_model_options_init(&options, sizeof options));
    options.cache_dir = folder;
    return options;
}

/* What the MLP makes of `batch` rows. */
static void mlp_answer(const inferno_model *model, size_t batch, float *y) {
    float x[8 * MLP_IN];
    char dims[32];
    for (size_t i = 0; i < batch * MLP_IN; i++) {
        x[i] = (float)(i % 7) - 2.5f;
    }
    snprintf(dims, sizeof dims, "%zu,%d", batch, MLP_IN);
    inferno_session *session = open_session(model, NULL);
    inferno_tensor in = f32_tensor(dims, x), out;
    REQUIRE_OK(inferno_session_set_input(session, 0, &in));
    REQUIRE_OK(inferno_session_run(session, NULL));
    REQUIRE_OK(inferno_session_output(session, 0, &out));
    REQUIRE(out.size_bytes == batch * MLP_OUT * sizeof(float));
    memcpy(y, out.data, out.size_bytes);
    CHECK_OK(inferno_session_free(session));
}

/* Loads the MLP of the scratch folder and runs it; whether its answer is right. */
static int works(const char *folder, size_t batch) {
    float x[8 * MLP_IN], y[8 * MLP_OUT], expected[8 * MLP_OUT];
    for (size_t i = 0; i < batch * MLP_IN; i++) {
        x[i] = (float)(i % 7) - 2.5f;
    }
    mlp_reference(x, batch, expected);
    inferno_model_options options = cached(folder);
    inferno_model *model = NULL;
    REQUIRE_OK(inferno_model_load(scratch("mlp.onnx"), &options, &model));
    mlp_answer(model, batch, y);
    CHECK_OK(inferno_model_free(model));
    return close_to(y, expected, batch * MLP_OUT);
}

static void a_second_load_finds_what_the_first_one_kept(void) {
    write_model("mlp.onnx", model_mlp());
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", scratch("new/one"));
    heard("");
    CHECK(works(folder, 2));
    CHECK(!heard("found mlp.onnx in the cache"));
    CHECK(count_of(folder, ".path") == 1);
    CHECK(count_of(folder, ".model") == 1);
    CHECK(count_of(folder, ".program") == 1);
    CHECK(count_of(folder, ".new") == 0);
    CHECK(works(folder, 2));
    CHECK(heard("found mlp.onnx in the cache"));
    /* Another shape is compiled from the file, and kept as well. */
    CHECK(works(folder, 5));
    CHECK(count_of(folder, ".program") == 2);
    CHECK(works(folder, 5));
    CHECK(!heard("refused"));

    /* What it says of itself is the same; and from memory it is the same model. */
    inferno_model_options options = cached(folder);
    inferno_model *plain = NULL, *found = NULL, *memory = NULL;
    unsigned char bytes[8192];
    size_t size = slurp(scratch("mlp.onnx"), bytes, sizeof bytes);
    REQUIRE_OK(inferno_model_load(scratch("mlp.onnx"), NULL, &plain));
    REQUIRE_OK(inferno_model_load(scratch("mlp.onnx"), &options, &found));
    REQUIRE_OK(inferno_model_load_memory(bytes, size, &options, &memory));
    memset(bytes, 0, sizeof bytes);
    CHECK(heard("found model in the cache"));
    inferno_model *models[] = {found, memory};
    inferno_model_info info = {.struct_size = sizeof info}, same = {.struct_size = sizeof same};
    CHECK_OK(inferno_model_get_info(plain, &info));
    for (int i = 0; i < 2; i++) {
        float a[8 * MLP_OUT], b[8 * MLP_OUT];
        CHECK_OK(inferno_model_get_info(models[i], &same));
        CHECK(memcmp(info.hash, same.hash, sizeof info.hash) == 0);
        CHECK(info.node_count == same.node_count && info.weight_bytes == same.weight_bytes);
        CHECK(strcmp(info.graph_name, same.graph_name) == 0);
        for (size_t batch = 1; batch <= 5; batch++) {
            mlp_answer(plain, batch, a);
            mlp_answer(models[i], batch, b);
            CHECK(memcmp(a, b, batch * MLP_OUT * sizeof(float)) == 0);
        }
        CHECK_OK(inferno_model_free(models[i]));
    }
    CHECK_OK(inferno_model_free(plain));
}

static void what_is_damaged_is_refused_and_made_again(void) {
    static const char *const ends[] = {".path", ".model", ".program"};
    static unsigned char whole[1 << 16], bytes[1 << 16];
    char folder[1024], name[256], path[2048];
    snprintf(folder, sizeof folder, "%s", scratch("damaged"));
    CHECK(works(folder, 3));
    for (size_t i = 0; i < 3; i++) {
        REQUIRE(names(folder, ends[i], name) == 1);
        snprintf(path, sizeof path, "%s/%s", folder, name);
        size_t size = slurp(path, whole, sizeof whole);
        for (int damage = 0; damage < 7; damage++) {
            memcpy(bytes, whole, size);
            size_t left = size;
            switch (damage) {
                case 0: left = 0; break;
                case 1: left = 40; break;
                case 2: left = size - 1; break;
                case 3: bytes[size / 2] ^= 1; break;  /* Floats, or what is said of them. */
                case 4: bytes[size - 1] ^= 0x80; break;
                case 5: bytes[7]++; break;            /* Another form, */
                default: bytes[20] ^= 4;              /* another version or processor. */
            }
            spill(path, bytes, left);
            heard("");
            CHECK(works(folder, 3));
            CHECK(heard("refused"));
            CHECK(works(folder, 3));
            CHECK(!heard("refused"));
        }
    }
    /* A program in the place of another one. */
    CHECK(works(folder, 4));
    char second[256];
    REQUIRE(names(folder, ".program", second) == 2);
    snprintf(path, sizeof path, "%s/%s", folder, second);
    REQUIRE(remove(path) == 0 && names(folder, ".program", name) == 1);
    char other[2048];
    snprintf(other, sizeof other, "%s/%s", folder, name);
    size_t size = slurp(other, bytes, sizeof bytes);
    spill(path, bytes, size);
    heard("");
    CHECK(works(folder, 3) && works(folder, 4));
    CHECK(heard("another version, processor, model or limits"));
}

static void another_processor_or_another_limit_is_another_program(void) {
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", scratch("cpu"));
    for (int turn = 0; turn < 2; turn++) {
        for (int32_t isa = INFERNO_ISA_SCALAR; isa <= INFERNO_ISA_AVX2; isa++) {
            inferno_runtime_options options;
            REQUIRE_OK(inferno_runtime_options_init(&options, sizeof options));
            options.isa = isa;
            REQUIRE_OK(inferno_init(&options));
            REQUIRE_OK(inferno_log_set_callback(note, NULL, INFERNO_LOG_LEVEL_INFO));
            heard("");
            CHECK(works(folder, 2));
            CHECK(heard("refused") == (turn + isa > INFERNO_ISA_SCALAR));
            CHECK_OK(inferno_shutdown());
        }
    }
    REQUIRE_OK(inferno_log_set_callback(note, NULL, INFERNO_LOG_LEVEL_INFO));
    inferno_model_options options = cached(folder);
    inferno_model_limits limits;
    REQUIRE_OK(inferno_model_limits_init(&limits, sizeof limits));
    limits.max_nodes = 2;
    options.limits = &limits;
    inferno_model *model = NULL;
    CHECK(works(folder, 2));
    CHECK_STATUS(inferno_model_load(scratch("mlp.onnx"), &options, &model), INFERNO_STATUS_LIMIT_EXCEEDED);
}

static void the_file_may_change_or_go(void) {
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", scratch("changed"));
    CHECK(works(folder, 2));
    inferno_model_options options = cached(folder);
    inferno_model *model = NULL, *other = NULL;
    REQUIRE_OK(inferno_model_load(scratch("mlp.onnx"), &options, &model));
    write_model("mlp.onnx", model_add());
    /* What is there is not what was found; what was compiled runs. */
    float x[4 * MLP_IN] = {0}, y[8 * MLP_OUT];
    mlp_answer(model, 2, y);
    inferno_session *session = open_session(model, NULL);
    inferno_tensor in = f32_tensor("4,4", x), out;
    CHECK_OK(inferno_session_set_input(session, 0, &in));
    CHECK_STATUS(inferno_session_run(session, NULL), INFERNO_STATUS_IO);
    CHECK(strstr(inferno_last_error(), "mlp.onnx") != NULL);
    REQUIRE_OK(inferno_model_load(scratch("mlp.onnx"), &options, &other));
    CHECK(inferno_model_input_count(other, &(size_t){0}) == INFERNO_STATUS_OK);
    inferno_model_info a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
    CHECK_OK(inferno_model_get_info(model, &a));
    CHECK_OK(inferno_model_get_info(other, &b));
    CHECK(memcmp(a.hash, b.hash, sizeof a.hash) != 0);
    REQUIRE(remove(scratch("mlp.onnx")) == 0);
    CHECK_STATUS(inferno_session_run(session, NULL), INFERNO_STATUS_NOT_FOUND);
    write_model("mlp.onnx", model_mlp());
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_session_output(session, 0, &out));
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
    CHECK_OK(inferno_model_free(other));
}

static void a_folder_that_is_none_is_refused(void) {
    scratch_write("file", "x", 1);
    inferno_model_options options = cached(scratch("file"));
    inferno_model *model = NULL;
    CHECK_STATUS(inferno_model_load(scratch("mlp.onnx"), &options, &model), INFERNO_STATUS_IO);
    CHECK(strstr(inferno_last_error(), "file") != NULL && model == NULL);
    options.cache_dir = "";
    CHECK_STATUS(inferno_model_load(scratch("mlp.onnx"), &options, &model), INFERNO_STATUS_IO);
    options.cache_dir = "\xff\xfe";
    CHECK_STATUS(inferno_model_load(scratch("mlp.onnx"), &options, &model), INFERNO_STATUS_INVALID_ARGUMENT);
}

/* ---- Together ------------------------------------------------------------------------------- */

static void *load_and_run(void *folder) {
    for (size_t turn = 0; turn < 10; turn++) {
        if (!works(folder, 1 + turn % 3)) {
            return folder;
        }
    }
    return NULL;
}

/* This program: `share FOLDER` does what one of several does. */
static const char *program;

static void threads_and_processes_share_a_folder(void) {
    enum { MANY = 4 };
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", scratch("shared"));
#if HAS_FORK
    CHECK_OK(inferno_shutdown());
    pid_t children[MANY];
    fflush(NULL);
    for (int i = 0; i < MANY; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            /* The folder is the parent's to remove. */
            _exit(load_and_run(folder) != NULL);
        }
    }
    for (int i = 0; i < MANY; i++) {
        int status = 1;
        CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0);
    }
    REQUIRE_OK(inferno_init(NULL));
#else
    intptr_t children[MANY];
    for (int i = 0; i < MANY; i++) {
        children[i] = _spawnl(_P_NOWAIT, program, "cache", "share", folder, NULL);
    }
    for (int i = 0; i < MANY; i++) {
        int status = 1;
        CHECK(_cwait(&status, children[i], 0) == children[i] && status == 0);
    }
#endif
    pthread_t threads[MANY];
    for (int i = 0; i < MANY; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, load_and_run, folder) == 0);
    }
    for (int i = 0; i < MANY; i++) {
        void *bad = folder;
        pthread_join(threads[i], &bad);
        CHECK(bad == NULL);
    }
    CHECK(count_of(folder, ".program") == 3);
    CHECK(count_of(folder, ".new") == 0);
}

int main(int argc, char **argv) {
    program = argv[0];
    if (argc == 3 && strcmp(argv[1], "share") == 0) {
        write_model("mlp.onnx", model_mlp());
        return load_and_run(argv[2]) != NULL;
    }
    REQUIRE_OK(inferno_init(NULL));
    REQUIRE_OK(inferno_log_set_callback(note, NULL, INFERNO_LOG_LEVEL_INFO));
    RUN(a_second_load_finds_what_the_first_one_kept);
    RUN(what_is_damaged_is_refused_and_made_again);
    RUN(the_file_may_change_or_go);
    RUN(a_folder_that_is_none_is_refused);
    RUN(threads_and_processes_share_a_folder);
    CHECK_OK(inferno_shutdown());
    RUN(another_processor_or_another_limit_is_another_program);
    return check_summary();
}
