/*
 * Windows: has functions of the system's answered by ones of a test's own, where the module that has the
 * library in it imports them. Include after check.h.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef IMPORTS_H
#define IMPORTS_H

#include "check.h"

/* inferno.dll, or the program that has the archive in it. */
static inline unsigned char *library_base(void) {
    HMODULE library = GetModuleHandleA("inferno.dll");
    return (unsigned char *)(library != NULL ? library : GetModuleHandleA(NULL));
}

/* Puts `ours` wherever the library's imports say `theirs`; how often they did. */
static inline int divert(uintptr_t theirs, uintptr_t ours) {
    unsigned char *base = library_base();
    const IMAGE_DOS_HEADER *dos = (const void *)base;
    const IMAGE_NT_HEADERS *head = (const void *)(base + dos->e_lfanew);
    const IMAGE_DATA_DIRECTORY *where =
        &head->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT];
    const IMAGE_IMPORT_DESCRIPTOR *from = (const void *)(base + where->VirtualAddress);
    int count = 0;
    for (; from->Name != 0; from++) {
        IMAGE_THUNK_DATA *place = (void *)(base + from->FirstThunk);
        for (; place->u1.Function != 0; place++) {
            DWORD before;
            if (place->u1.Function == theirs &&
                VirtualProtect(place, sizeof *place, PAGE_READWRITE, &before)) {
                place->u1.Function = ours;
                VirtualProtect(place, sizeof *place, before, &before);
                count++;
            }
        }
    }
    return count;
}

/* Has the function `name` of kernel32 answered by `ours`; `theirs` is a pointer to it. */
static inline void divert_import(const char *name, void *theirs, uintptr_t ours) {
    FARPROC found = GetProcAddress(GetModuleHandleA("kernel32.dll"), name);
    REQUIRE(found != NULL);
    memcpy(theirs, &found, sizeof found);
    check_note(divert((uintptr_t)found, ours) > 0, __FILE__, __LINE__, name, "it is not imported");
}

#endif /* IMPORTS_H */
