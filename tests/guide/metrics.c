/* Around statements that subscribe: `ring` is the host's callback. */
#include <inferno.h>

static void ring(void *user_data, int32_t metric, int32_t is_raised, double value) {
  (void)user_data, (void)metric, (void)is_raised, (void)value;
}

int main(void) {
  uint64_t id = 0;
  CODE
  return inferno_metrics_unsubscribe(id) != INFERNO_STATUS_OK || now.struct_size == 0;
}
