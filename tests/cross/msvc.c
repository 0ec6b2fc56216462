/*
 * A program as Microsoft's tools build it: their target, an import library of their form, and no C library
 * of MinGW's. It sees a one in a picture. Its exit status is 0, or the number of what failed.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "inferno.h"

__declspec(dllimport) void __stdcall ExitProcess(unsigned status);
void mainCRTStartup(void);

/* Their compilers ask for it where floats are. */
int _fltused;

static int lines;

static void count_line(void *user_data, int32_t level, const char *module, const char *text) {
    (void)level;
    *(int *)user_data += module[0] != '\0' && text[0] != '\0';
}

/* The session's input, from a picture of 16 by 16 with a bar in its middle. */
static inferno_status draw(inferno_session *session) {
    static uint8_t pixels[16 * 16];
    static inferno_tensor square;
    inferno_image image = {pixels, 0, 16, 16, INFERNO_PIXEL_FORMAT_GRAY};
    inferno_image_options options;
    for (int y = 2; y < 14; y++) {
        pixels[y * 16 + 7] = pixels[y * 16 + 8] = 255;
    }
    inferno_status status = inferno_session_input(session, 0, &square);
    if (status != INFERNO_STATUS_OK) {
        return status;
    }
    square.rank = 4;
    square.dims[0] = square.dims[1] = 1;
    square.dims[2] = square.dims[3] = 8;
    status = inferno_image_options_init(&options, sizeof options);
    options.channels = INFERNO_CHANNEL_ORDER_GRAY;
    options.scale = 16.0f / 255.0f;
    options.filter = INFERNO_FILTER_ANTIALIAS;
    return status != INFERNO_STATUS_OK ? status : inferno_image_to_tensor(&image, &options, &square, NULL);
}

/* The next check; leaves with its number when it does not hold. */
#define HOLDS(what)          \
    do {                     \
        number++;            \
        if (!(what)) {       \
            return number;   \
        }                    \
    } while (0)
#define IS_OK(call) HOLDS((call) == INFERNO_STATUS_OK)

static unsigned first_failure(void) {
    static const int64_t dims[2] = {1, 64};
    inferno_model *model = NULL;
    inferno_session *session = NULL;
    inferno_tensor output;
    size_t best = 77;
    unsigned number = 0;
    IS_OK(inferno_log_set_callback(count_line, &lines, INFERNO_LOG_LEVEL_TRACE));
    IS_OK(inferno_model_load_default(&model));
    IS_OK(inferno_session_new(model, NULL, &session));
    IS_OK(inferno_session_set_shape(session, 0, 2, dims));
    IS_OK(draw(session));
    IS_OK(inferno_session_run(session, NULL));
    IS_OK(inferno_session_output(session, 0, &output));
    IS_OK(inferno_argmax(output.data, 1, 10, &best));
    HOLDS(best == 1);
    IS_OK(inferno_session_free(session));
    HOLDS(inferno_session_run(session, NULL) == INFERNO_STATUS_INVALID_HANDLE);
    HOLDS(inferno_last_error()[0] != '\0');
    IS_OK(inferno_model_free(model));
    IS_OK(inferno_log_set_callback(NULL, NULL, INFERNO_LOG_LEVEL_OFF));
    HOLDS(lines > 0);
    IS_OK(inferno_shutdown());
    return 0;
}

void mainCRTStartup(void) {
    ExitProcess(first_failure());
}
