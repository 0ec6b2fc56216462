/* What the parts of the command-line tool share. Functions that can fail say why on standard error and
 * return -1; the tool then ends with exit status 1. */

#ifndef CLI_H
#define CLI_H

#include <inferno.h>
#include <stdio.h>

enum { MOST_NAMED = 64 };

/* An argument of the form NAME=VALUE; the text is the program's own copy. */
struct named {
  const char *name, *value;
};

struct named_list {
  struct named items[MOST_NAMED];
  size_t count;
};

struct arguments {
  const char *model;
  struct named_list dims, shapes, inputs, constants, states, outputs, expected;
  unsigned long runs; /* 0 = the command's own number */
  double seconds, rtol, atol;
  unsigned threads;
  int is_isolated, is_json;
};

const struct named *find(const struct named_list *list, const char *name);

/* ---- text.c: what a model says goes to the terminal without its control characters ---- */

void put_text(FILE *to, const char *text);
void put_dims(FILE *to, const inferno_tensor_info *info);
void put_bytes(FILE *to, double bytes);
void put_time(FILE *to, double ns);
/* Says what was wrong with a thing of the user's. */
int complain(const char *what, const char *why);
/* 0 for OK; otherwise says what the library said, of a thing of the user's. */
int failed(const char *what, inferno_status status);

/* ---- tensors.c: NumPy's .npy files, and tensors of one number ---- */

/* Fills `tensor`, whose data is the caller's to free. `dims` and `dtype` are those a number takes. */
int tensor_read(const char *value, const inferno_tensor *like, inferno_tensor *tensor);
int tensor_write(const char *path, const inferno_tensor *tensor);
/* Element `index` as a number. */
double tensor_element(const inferno_tensor *tensor, size_t index);
size_t tensor_count(const inferno_tensor *tensor);

/* ---- open.c: a model, and a session with its inputs filled ---- */

struct opened {
  inferno_model *model;
  inferno_session *session;
  double load_ns, prepare_ns;
};

int open_model(const struct arguments *arguments, struct opened *opened);
/* Also writes the inputs: what the arguments give, the others from a fixed sequence. `need`, unless NULL,
 * becomes what such a session needs. */
int open_session(const struct arguments *arguments, struct opened *opened, inferno_memory_need *need);
void close_opened(struct opened *opened);
double now_ns(void);

/* ---- The commands: exit statuses ---- */

int inspect(const struct arguments *arguments);
int run(const struct arguments *arguments);
int verify(const struct arguments *arguments);
int bench(const struct arguments *arguments);
int profile(const struct arguments *arguments);

#endif
