#ifndef FLOE_RING_H
#define FLOE_RING_H

#include "floe_datagram.h"

#include <stddef.h>
#include <stdint.h>

/// An io_uring that receives datagrams from any number of sockets into one set of buffers.
///
/// One thread uses it: the one that waits first. Before that, any may make it and ask for operations.
struct floe_ring;

enum : uint8_t {
    /// A datagram, or the end of receiving from a socket.
    FLOE_RING_RECEIVED = 0,
    /// A descriptor is ready for what it was watched for.
    FLOE_RING_READY = 1,
    /// The end of a cancellation.
    FLOE_RING_NOTHING = 2,
};

/// What stands before the payload in each buffer: what the kernel tells about the datagram.
enum : uint32_t { FLOE_RING_LEAD = 192 };

typedef struct floe_ring_event {
    /// What was given with the operation; below 2^60.
    uint64_t token;
    /// A negative errno, or what has come.
    int32_t result;
    /// Which buffer, if `has_buffer`.
    uint16_t buffer;
    uint8_t kind;
    uint8_t has_buffer;
    /// Whether the operation goes on.
    uint8_t has_more;
} floe_ring_event;

/// Makes a ring over `count` buffers (a power of two) of `length` bytes at every `stride` bytes of `memory`.
///
/// `supplied` of them are in use at first. So many `completions` (a power of two) may wait to be looked at; what is more,
/// the kernel keeps in a list, which costs it time. Returns 0 or a negative errno.
int floe_ring_create(
    struct floe_ring **ring, uint8_t *memory, size_t stride, size_t length, int count, int supplied, int completions);
/// Ends all operations and gives everything back; the sockets are free when it returns.
void floe_ring_destroy(struct floe_ring *ring);

/// Asks for all datagrams of a socket from now on; begins with the next wait. 0 or a negative errno.
int floe_ring_receive(struct floe_ring *ring, int descriptor, uint64_t token);
/// Asks to be told once, or each time anew, when a descriptor is ready; begins with the next wait.
int floe_ring_watch(struct floe_ring *ring, int descriptor, uint32_t interest, int is_lasting, uint64_t token);
/// Ends the operations of a token; nothing of the kernel's holds the descriptor when it returns.
void floe_ring_forget(struct floe_ring *ring, uint64_t token);

/// Begins what was asked for and waits until something has happened, at most so many nanoseconds, for ever if negative.
///
/// With `gathering` microseconds it rests so long, unless a receive was begun since the last call, or `wanted` things
/// happen before; where the kernel cannot do both (before Linux 6.12), it ends then in any case. 0 or a negative errno.
int floe_ring_wait(struct floe_ring *ring, int64_t timeout_nanoseconds, uint32_t gathering, uint32_t wanted);
/// Whether the kernel can go on waiting where a rest has brought nothing.
int floe_ring_gathers(const struct floe_ring *ring);
/// Looks at the oldest event that was not taken: 1, or 0 if there is none.
int floe_ring_peek(struct floe_ring *ring, floe_ring_event *event);
/// Takes it.
void floe_ring_pop(struct floe_ring *ring);

/// Describes what a buffer holds after `result` bytes came; 0 if that makes no sense.
int floe_ring_read(const struct floe_ring *ring, uint16_t buffer, int32_t result, floe_datagram *datagram);
/// Gives the buffers of so many datagrams back.
void floe_ring_recycle(struct floe_ring *ring, const floe_datagram *datagrams, int count);
/// Puts as many buffers again into use, up to all of them, until they are found to be more than enough.
void floe_ring_grow(struct floe_ring *ring);
/// How many buffers are in use.
int floe_ring_supplied(const struct floe_ring *ring);

#endif
