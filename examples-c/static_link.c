/* Inferno inside the program: no library to ship beside it.
 *
 * From an installed Inferno (./install.sh --prefix P prints this line):
 *   cc static_link.c -IP/include P/lib/libinferno.a -Wl,-z,noexecstack \
 *     -lutil -lrt -lpthread -lm -ldl
 * Fully static, which leaves no dependency at all:
 *   cc static_link.c -static $(pkg-config --static --cflags --libs inferno)
 * With CMake:
 *   target_link_libraries(program PRIVATE inferno::static)
 *
 * -Wl,--gc-sections leaves out what the program cannot reach. A plug-in adds
 * -Wl,--exclude-libs,ALL, so that it does not export Inferno's functions. */

#include <stdio.h>

#include "check.h"

int main(void) {
  /* The header and the archive may come from two releases: compare. */
  if (inferno_version() != INFERNO_VERSION) {
    fprintf(stderr, "header of %d.%d.%d, library %s\n", INFERNO_VERSION_MAJOR,
            INFERNO_VERSION_MINOR, INFERNO_VERSION_PATCH, inferno_version_string());
    return 1;
  }

  inferno_model *model;
  inferno_model_info info;
  info.struct_size = sizeof info;
  CHECK(inferno_model_load_default(&model));
  CHECK(inferno_model_get_info(model, &info));
  printf("Inferno %s, linked statically; built-in model: %llu nodes, %llu bytes of weights\n",
         inferno_version_string(), (unsigned long long)info.node_count,
         (unsigned long long)info.weight_bytes);

  /* Ends every thread Inferno owns, and frees what is still open. */
  CHECK(inferno_shutdown());
  return 0;
}
