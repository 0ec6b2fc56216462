/*
 * For Wine alone, whose releases before 9.0 have no such library: the one function that Rust's
 * standard library asks of it.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include <windows.h>

#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size);

BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size) {
    return RtlGenRandom(data, (ULONG)size);
}
