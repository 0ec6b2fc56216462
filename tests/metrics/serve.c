/*
 * A host whose metrics are scraped: serve SECONDS
 *
 * It runs the built-in model, serves OpenMetrics text over HTTP on a port of the loopback that it
 * prints (`ready PORT`), and prints its own percentiles when the time is over: `p50=… p90=… p99=… runs=… failures=…`, in nanoseconds.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#define _GNU_SOURCE

#include "inferno.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <poll.h>
#include <unistd.h>

static void must(inferno_status status) {
    if (status != INFERNO_STATUS_OK) {
        fprintf(stderr, "serve: %s\n", inferno_last_error());
        exit(1);
    }
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* One request, whatever it asks for. */
static void answer(int client) {
    char request[4096], head[256];
    size_t needed = 0;
    if (read(client, request, sizeof request) > 0) {
        must(inferno_metrics_copy_openmetrics(NULL, 0, &needed));
        char *text = malloc(needed + 4096);
        must(inferno_metrics_copy_openmetrics(text, needed + 4096, &needed));
        int length = snprintf(head, sizeof head,
                              "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n"
                              "Content-Type: application/openmetrics-text; version=1.0.0; "
                              "charset=utf-8\r\n\r\n",
                              needed - 1);
        if (write(client, head, (size_t)length) < 0 || write(client, text, needed - 1) < 0) {
            fprintf(stderr, "serve: a client went away\n");
        }
        free(text);
    }
    close(client);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        return 2;
    }
    double until = now() + atof(argv[1]);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(server, (struct sockaddr *)&address, sizeof address) != 0 || listen(server, 8) != 0 ||
        getsockname(server, (struct sockaddr *)&address, &size) != 0) {
        perror("serve");
        return 1;
    }
    inferno_model *model, *none;
    inferno_session *session, *fresh;
    const int64_t dims[2] = {1, 64}, more[2] = {64, 64};
    must(inferno_model_load_default(&model));
    must(inferno_session_new(model, NULL, &session));
    must(inferno_session_new(model, NULL, &fresh));
    if (inferno_session_run(fresh, NULL) != INFERNO_STATUS_NOT_READY ||
        inferno_model_load_memory("noise", 5, NULL, &none) != INFERNO_STATUS_INVALID_MODEL) {
        return 1;
    }
    /* Quick runs, and one in twenty that is not. */
    inferno_session *slow;
    must(inferno_session_new(model, NULL, &slow));
    must(inferno_session_set_shape(session, 0, 2, dims));
    must(inferno_session_set_shape(slow, 0, 2, more));
    for (int i = 0; i < 20000; i++) {
        must(inferno_session_run(i % 20 == 0 ? slow : session, NULL));
    }
    printf("ready %d\n", ntohs(address.sin_port));
    fflush(stdout);
    while (now() < until) {
        struct pollfd waits = {.fd = server, .events = POLLIN};
        if (poll(&waits, 1, 50) > 0) {
            answer(accept(server, NULL, NULL));
        }
    }
    inferno_metrics metrics = {.struct_size = sizeof metrics};
    must(inferno_model_get_metrics(model, &metrics));
    printf("p50=%llu p90=%llu p99=%llu runs=%llu failures=%llu\n",
           (unsigned long long)metrics.run_p50_ns, (unsigned long long)metrics.run_p90_ns,
           (unsigned long long)metrics.run_p99_ns, (unsigned long long)metrics.runs,
           (unsigned long long)metrics.failures);
    must(inferno_shutdown());
    return 0;
}
