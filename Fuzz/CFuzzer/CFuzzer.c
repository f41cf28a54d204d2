#include "CFuzzer.h"

extern int LLVMFuzzerRunDriver(int *argc, char ***argv, floe_fuzz_body body);

int floe_run_fuzzer(int argc, char **argv, floe_fuzz_body body) { return LLVMFuzzerRunDriver(&argc, &argv, body); }
