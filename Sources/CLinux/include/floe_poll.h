#ifndef FLOE_POLL_H
#define FLOE_POLL_H

#include <stdint.h>

/// The kernel's `struct epoll_event`, whose layout is packed on x86-64 only.
#if defined(__x86_64__)
typedef struct __attribute__((packed)) floe_poll_event {
    uint32_t readiness;
    uint64_t token;
} floe_poll_event;
#else
typedef struct floe_poll_event {
    uint32_t readiness;
    uint64_t token;
} floe_poll_event;
#endif

enum : uint32_t {
    FLOE_POLL_IN = 0x001,
    FLOE_POLL_OUT = 0x004,
    FLOE_POLL_ERROR = 0x008,
    FLOE_POLL_HANG_UP = 0x010,
    FLOE_POLL_PEER_CLOSED = 0x2000,
};

int floe_poll_create(void);
int floe_poll_add(int poll, int descriptor, uint32_t interest, uint64_t token);
int floe_poll_modify(int poll, int descriptor, uint32_t interest, uint64_t token);
int floe_poll_remove(int poll, int descriptor);
/// Waits at most so many nanoseconds, for ever if negative; returns the number of events. A signal ends it with 0.
int floe_poll_wait(int poll, floe_poll_event *events, int capacity, int64_t timeout_nanoseconds);

/// Sleeps so many nanoseconds, to the microsecond; a signal may end it.
void floe_rest(int64_t nanoseconds);

int floe_event_create(void);
/// Makes the descriptor readable.
int floe_event_signal(int descriptor);
/// Makes the descriptor unreadable again; returns 1 if it was readable, else 0.
int floe_event_clear(int descriptor);

/// Blocks SIGTERM, SIGINT, SIGHUP and SIGUSR1 in the calling thread, with `leaves_ignored` but those that are ignored;
/// ignores SIGPIPE, and returns a descriptor of the blocked ones.
int floe_signals_create(int leaves_ignored);
/// The number of the next blocked signal that has arrived, 0 if none.
int floe_signals_next(int descriptor);

uint64_t floe_monotonic_nanoseconds(void);
uint64_t floe_unix_seconds(void);

#endif
