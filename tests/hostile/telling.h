/*
 * What a child says: the step it is at, the first refusal, a broken promise.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef TELLING_H
#define TELLING_H

#include "inferno.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *step = "start";
static char first_refusal[700], first_output[200];
static int panicked;
static volatile uint64_t sink;

static long long elapsed_ms(void) {
    static struct timespec begun;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    if (begun.tv_sec == 0) {
        begun = t;
    }
    return (t.tv_sec - begun.tv_sec) * 1000LL + (t.tv_nsec - begun.tv_nsec) / 1000000;
}

static void begin(const char *what) {
    step = what;
    printf("@%s\t%lld ms\n", what, elapsed_ms());
    fflush(stdout);
}

static void broken(const char *format, ...) {
    char text[400];
    va_list rest;
    va_start(rest, format);
    vsnprintf(text, sizeof text, format, rest);
    va_end(rest);
    printf("protocol\t%s: %s\n", step, text);
    fflush(stdout);
    _exit(3);
}

static void touch(const void *data, size_t size) {
    const unsigned char *bytes = data;
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++) {
        sum += bytes[i];
    }
    sink += sum;
}

static void touch_text(const char *what, const char *text) {
    if (text == NULL) {
        broken("%s is NULL", what);
    }
    touch(text, strlen(text));
}

static int shows_panic(const char *text) {
    return strcasestr(text, "panic") != NULL || strstr(text, "could not digest") != NULL ||
           strstr(text, "refused its values") != NULL;
}

/* Whether a call succeeded; else keeps the first refusal. */
static int went_well(inferno_status status) {
    const char *text = inferno_last_error();
    if (text == NULL) {
        broken("inferno_last_error() is NULL");
    }
    if ((status == INFERNO_STATUS_OK) != (text[0] == '\0')) {
        broken("%s with the text \"%.200s\"", inferno_status_name(status), text);
    }
    if (status == INFERNO_STATUS_OK) {
        return 1;
    }
    panicked |= shows_panic(text) || status == INFERNO_STATUS_INTERNAL;
    if (first_refusal[0] == '\0') {
        int at = snprintf(first_refusal, sizeof first_refusal, "%s\t%s\t", step,
                          inferno_status_name(status));
        snprintf(first_refusal + at, sizeof first_refusal - (size_t)at, "%s", text);
        for (char *c = first_refusal + at; *c != '\0'; c++) {
            *c = (unsigned char)*c < ' ' ? ' ' : *c;
        }
    }
    return 0;
}

/* The same for a call that has no reason to fail. */
static void must(inferno_status status, const char *what) {
    if (!went_well(status)) {
        broken("%s: %s: %.200s", what, inferno_status_name(status), inferno_last_error());
    }
}

#endif
