/*
 * Inferno: an embedded neural-network inference runtime.
 *
 * Terms
 *   model    an immutable graph with its weights, shared by sessions and threads.
 *   session  one execution context over a model: inputs, outputs, recurrent state.
 *   view     an inferno_tensor that points into memory which somebody else owns; the
 *            function that gives it says for how long.
 *   handle   an inferno_model* or inferno_session*: a checked number in the shape of a
 *            pointer, never to be dereferenced. A freed, foreign or NULL handle is
 *            answered INFERNO_STATUS_INVALID_HANDLE, always.
 *
 * Every function that can fail returns an inferno_status and writes its outputs last,
 * only on success. inferno_last_error() then tells this thread what was wrong, what was
 * expected, and where. No panic, exception or abort leaves a call.
 *
 * "Threads: any" means: from any thread, at any time, several at once. Strings are UTF-8
 * and NUL-terminated, paths too, on every system. Struct arguments that begin with
 * struct_size come from their *_init function; bytes a library does not know must be zero.
 *
 * A call computes the same whatever floating-point mode the thread is in (rounding, traps,
 * denormals), and leaves it in that mode.
 *
 * Call inferno_shutdown before dlclose or FreeLibrary; the library stays mapped. A process
 * may end at any time, in any way. The child of a fork may use and end all that its parent
 * had but threads of Inferno's, if no thread of the parent was inside a call; otherwise it
 * may only exec or _exit.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
