#ifndef FLOE_THREAD_H
#define FLOE_THREAD_H

#include <stddef.h>
#include <stdint.h>

typedef void *_Nullable (*floe_thread_entry)(void *_Nullable context);

/// Starts a thread; `name` is cut to 15 bytes; `processor` is where it is pinned, or negative for anywhere.
///
/// Returns 0 and fills `thread`, or a negative errno. A processor that may not be used is an error before any start.
int floe_thread_start(
    uint64_t *_Nonnull thread, const char *_Nonnull name, int processor, floe_thread_entry _Nonnull entry,
    void *_Nullable context);
int floe_thread_join(uint64_t thread);
int floe_thread_detach(uint64_t thread);
/// Copies the calling thread's name, with a final 0, into 16 bytes.
int floe_thread_name(char *_Nonnull name);
/// The processor that the calling thread runs on.
int floe_thread_processor(void);
/// Fills the numbers of the processors that this process may use; returns how many there are.
int floe_thread_processors(int *_Nonnull numbers, int capacity);
/// Sends a signal to the calling thread alone.
int floe_thread_raise(int signal);

/// 18 KiB of the calling thread: room for one TLS record. Its content lives until the thread asks again.
enum { FLOE_SCRATCH_BYTES = 18 * 1024 };
uint8_t *_Nonnull floe_thread_scratch(void);

#endif
