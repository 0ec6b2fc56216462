/*
 * Writes ONNX models in memory: protobuf's wire format, and the messages of onnx.proto that the
 * tests need. Nothing is checked: wrong models are the point of it.
 *
 *   pb graph = {0};
 *   onnx_input(&graph, "x", INFERNO_DTYPE_F32, "batch,4");
 *   onnx_initializer(&graph, "w", INFERNO_DTYPE_F32, "4,2", w, sizeof w);
 *   onnx_node(&graph, "MatMul", "first", "x,w", "y", NULL);
 *   onnx_output(&graph, "y", INFERNO_DTYPE_F32, "batch,2");
 *   pb model = onnx_model(&graph, "name", 17, NULL);
 *   ...model.data, model.size...
 *   pb_free(&model);
 *
 * A list of dims is text: "2,3" fixed; "batch,3" with a symbol; "?,3" open without a name; ""
 * a scalar; NULL no shape at all. Lists of names are text as well: "x,w,b", "x,,b" with one left
 * out. A message given to another one (a graph to a model, attributes to a node) is consumed.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef ONNX_WRITER_H
#define ONNX_WRITER_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Protobuf ------------------------------------------------------------------------------ */

/* The bytes of a message under construction; {0} is an empty one. */
typedef struct pb {
    unsigned char *data;
    size_t size;
    size_t capacity;
} pb;

static inline void pb_free(pb *message) {
    free(message->data);
    *message = (pb){0};
}

static inline void pb_append(pb *message, const void *bytes, size_t size) {
    if (message->capacity - message->size < size) {
        size_t capacity = 2 * message->capacity + size + 64;
        unsigned char *data = realloc(message->data, capacity);
        if (data == NULL) {
            fputs("onnx_writer: out of memory\n", stderr);
            exit(2);
        }
        message->data = data;
        message->capacity = capacity;
    }
    if (size != 0) {
        memcpy(message->data + message->size, bytes, size);
        message->size += size;
    }
}

static inline void pb_varint(pb *message, uint64_t value) {
    unsigned char bytes[10];
    size_t size = 0;
    while (value >= 0x80) {
        bytes[size++] = (unsigned char)(value | 0x80);
        value >>= 7;
    }
    bytes[size++] = (unsigned char)value;
    pb_append(message, bytes, size);
}

static inline void pb_tag(pb *message, unsigned field, unsigned wire_type) {
    pb_varint(message, (uint64_t)field << 3 | wire_type);
}

static inline void pb_int(pb *message, unsigned field, int64_t value) {
    pb_tag(message, field, 0);
    pb_varint(message, (uint64_t)value);
}

static inline void pb_float(pb *message, unsigned field, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    unsigned char bytes[4] = {(unsigned char)bits, (unsigned char)(bits >> 8),
                              (unsigned char)(bits >> 16), (unsigned char)(bits >> 24)};
    pb_tag(message, field, 5);
    pb_append(message, bytes, sizeof bytes);
}

static inline void pb_bytes(pb *message, unsigned field, const void *bytes, size_t size) {
    pb_tag(message, field, 2);
    pb_varint(message, size);
    pb_append(message, bytes, size);
}

static inline void pb_string(pb *message, unsigned field, const char *text) {
    pb_bytes(message, field, text, strlen(text));
}

/* Puts `part` into `message`, and frees it. */
static inline void pb_message(pb *message, unsigned field, pb *part) {
    pb_bytes(message, field, part->data, part->size);
    pb_free(part);
}

/* ---- Pieces --------------------------------------------------------------------------------- */

enum { ONNX_BFLOAT16 = 16 };

/* Takes the next item of a comma-separated list; 0 when there is none left. */
static inline int onnx_next(const char **list, char *item, size_t room) {
    if (*list == NULL) {
        return 0;
    }
    size_t length = strcspn(*list, ",");
    size_t kept = length < room - 1 ? length : room - 1;
    memcpy(item, *list, kept);
    item[kept] = '\0';
    *list = (*list)[length] == ',' ? *list + length + 1 : NULL;
    return 1;
}

/* ValueInfoProto. */
static inline pb onnx_value_info(const char *name, int dtype, const char *dims) {
    pb tensor_type = {0}, type = {0}, value = {0};
    pb_int(&tensor_type, 1, dtype);
    if (dims != NULL) {
        pb shape = {0};
        const char *list = *dims == '\0' ? NULL : dims;
        char item[128];
        while (onnx_next(&list, item, sizeof item)) {
            pb dim = {0};
            char *end;
            long long fixed = strtoll(item, &end, 10);
            if (*item != '\0' && *end == '\0') {
                pb_int(&dim, 1, fixed);
            } else if (strcmp(item, "?") != 0) {
                pb_string(&dim, 2, item);
            }
            pb_message(&shape, 1, &dim);
        }
        pb_message(&tensor_type, 2, &shape);
    }
    pb_message(&type, 1, &tensor_type);
    pb_string(&value, 1, name);
    pb_message(&value, 2, &type);
    return value;
}

static inline void onnx_input(pb *graph, const char *name, int dtype, const char *dims) {
    pb value = onnx_value_info(name, dtype, dims);
    pb_message(graph, 11, &value);
}

static inline void onnx_output(pb *graph, const char *name, int dtype, const char *dims) {
    pb value = onnx_value_info(name, dtype, dims);
    pb_message(graph, 12, &value);
}

static inline void onnx_inner_value(pb *graph, const char *name, int dtype, const char *dims) {
    pb value = onnx_value_info(name, dtype, dims);
    pb_message(graph, 13, &value);
}

/* StringStringEntryProto. */
static inline void onnx_entry(pb *message, unsigned field, const char *key, const char *value) {
    pb entry = {0};
    pb_string(&entry, 1, key);
    pb_string(&entry, 2, value);
    pb_message(message, field, &entry);
}

/* TensorProto without its payload. */
static inline pb onnx_tensor_head(const char *name, int dtype, const char *dims) {
    pb tensor = {0};
    const char *list = *dims == '\0' ? NULL : dims;
    char item[32];
    while (onnx_next(&list, item, sizeof item)) {
        pb_int(&tensor, 1, strtoll(item, NULL, 10));
    }
    pb_int(&tensor, 2, dtype);
    if (name != NULL) {
        pb_string(&tensor, 8, name);
    }
    return tensor;
}

/* TensorProto with raw_data. */
static inline pb onnx_tensor(const char *name, int dtype, const char *dims, const void *data,
                             size_t size) {
    pb tensor = onnx_tensor_head(name, dtype, dims);
    pb_bytes(&tensor, 9, data, size);
    return tensor;
}

static inline void onnx_initializer(pb *graph, const char *name, int dtype, const char *dims,
                                    const void *data, size_t size) {
    pb tensor = onnx_tensor(name, dtype, dims, data, size);
    pb_message(graph, 5, &tensor);
}

/* An initializer whose data lies in another file; `length` < 0 leaves the entry out. */
static inline void onnx_external_initializer(pb *graph, const char *name, int dtype,
                                             const char *dims, const char *location,
                                             long long offset, long long length) {
    char number[32];
    pb tensor = onnx_tensor_head(name, dtype, dims);
    onnx_entry(&tensor, 13, "location", location);
    snprintf(number, sizeof number, "%lld", offset);
    onnx_entry(&tensor, 13, "offset", number);
    if (length >= 0) {
        snprintf(number, sizeof number, "%lld", length);
        onnx_entry(&tensor, 13, "length", number);
    }
    pb_int(&tensor, 14, 1);
    pb_message(graph, 5, &tensor);
}

/* ---- Attributes of a node ------------------------------------------------------------------- */

static inline void onnx_attribute(pb *attributes, const char *name, int type, pb *value) {
    pb attribute = {0};
    pb_string(&attribute, 1, name);
    pb_append(&attribute, value->data, value->size);
    pb_int(&attribute, 20, type);
    pb_free(value);
    pb_message(attributes, 5, &attribute);
}

static inline void onnx_float(pb *attributes, const char *name, float number) {
    pb value = {0};
    pb_float(&value, 2, number);
    onnx_attribute(attributes, name, 1, &value);
}

static inline void onnx_int(pb *attributes, const char *name, int64_t number) {
    pb value = {0};
    pb_int(&value, 3, number);
    onnx_attribute(attributes, name, 2, &value);
}

static inline void onnx_string(pb *attributes, const char *name, const char *text) {
    pb value = {0};
    pb_string(&value, 4, text);
    onnx_attribute(attributes, name, 3, &value);
}

static inline void onnx_tensor_attribute(pb *attributes, const char *name, pb *tensor) {
    pb value = {0};
    pb_message(&value, 5, tensor);
    onnx_attribute(attributes, name, 4, &value);
}

static inline void onnx_graph_attribute(pb *attributes, const char *name, pb *graph) {
    pb value = {0};
    pb_string(graph, 2, name);
    pb_message(&value, 6, graph);
    onnx_attribute(attributes, name, 5, &value);
}

static inline void onnx_ints(pb *attributes, const char *name, const int64_t *numbers,
                             size_t count) {
    pb value = {0};
    for (size_t i = 0; i < count; i++) {
        pb_int(&value, 8, numbers[i]);
    }
    onnx_attribute(attributes, name, 7, &value);
}

/* ---- Nodes and the model -------------------------------------------------------------------- */

/* NodeProto; `attributes` may be NULL. */
static inline void onnx_node_of(pb *graph, const char *domain, const char *op_type,
                                const char *name, const char *inputs, const char *outputs,
                                pb *attributes) {
    pb node = {0};
    const char *list = *inputs == '\0' ? NULL : inputs;
    char item[128];
    while (onnx_next(&list, item, sizeof item)) {
        pb_string(&node, 1, item);
    }
    for (list = outputs; onnx_next(&list, item, sizeof item);) {
        pb_string(&node, 2, item);
    }
    pb_string(&node, 3, name);
    pb_string(&node, 4, op_type);
    if (attributes != NULL) {
        pb_append(&node, attributes->data, attributes->size);
        pb_free(attributes);
    }
    if (*domain != '\0') {
        pb_string(&node, 7, domain);
    }
    pb_message(graph, 1, &node);
}

static inline void onnx_node(pb *graph, const char *op_type, const char *name, const char *inputs,
                             const char *outputs, pb *attributes) {
    onnx_node_of(graph, "", op_type, name, inputs, outputs, attributes);
}

/* An entry of opset_import, for `extra` of onnx_model. */
static inline void onnx_opset(pb *extra, const char *domain, int64_t version) {
    pb opset = {0};
    pb_string(&opset, 1, domain);
    pb_int(&opset, 2, version);
    pb_message(extra, 8, &opset);
}

/* An entry of metadata_props, for `extra` of onnx_model. */
static inline void onnx_metadata(pb *extra, const char *key, const char *value) {
    onnx_entry(extra, 14, key, value);
}

/*
 * ModelProto, IR version 8. `extra` (or NULL) holds further fields. The graph comes last: without
 * its end no prefix of these bytes is a model.
 */
static inline pb onnx_model(pb *graph, const char *graph_name, int64_t opset, pb *extra) {
    pb model = {0};
    pb_int(&model, 1, 8);
    pb_string(&model, 2, "inferno-c-tests");
    onnx_opset(&model, "", opset);
    if (extra != NULL) {
        pb_append(&model, extra->data, extra->size);
        pb_free(extra);
    }
    pb_string(graph, 2, graph_name);
    pb_message(&model, 7, graph);
    return model;
}

#endif /* ONNX_WRITER_H */
