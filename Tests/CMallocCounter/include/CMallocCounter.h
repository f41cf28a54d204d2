#include <stdint.h>

/// How many blocks malloc, calloc, realloc and their kin have given out in this process so far.
uint64_t floe_allocation_count(void);

/// How many bytes of the heap are given out at present.
uint64_t floe_allocated_bytes(void);
