#include <stddef.h>
#include <stdint.h>

typedef int (*floe_fuzz_body)(const uint8_t *_Nullable start, ptrdiff_t count);

/// Runs libFuzzer's loop over `body`.
int floe_run_fuzzer(int argc, char *_Nullable *_Nonnull argv, floe_fuzz_body _Nonnull body);
