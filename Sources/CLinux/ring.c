#define _GNU_SOURCE
#include "floe_ring.h"

#include "floe_poll.h"
#include "kernel_address.h"
#include "message.h"
#include "ring_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/// Group 0 is the one that the kernel finds without a search, which it does for each datagram.
enum { SUBMISSIONS = 1024, BUFFER_GROUP = 0 };

/// After so many datagrams for which there were buffers enough, half of them are.
enum { CALM = 65536 };

/// The upper bits of a completion's number say what has ended; the others are the token.
enum { KIND_SHIFT = 60 };

/// The kernel puts its description, the source and the control messages before the payload, each at a fixed place.
enum { NAME_BYTES = 32, CONTROL_ROOM = FLOE_RING_LEAD - sizeof(struct io_uring_recvmsg_out) - NAME_BYTES };
_Static_assert(sizeof(kernel_address) <= NAME_BYTES, "room for every source");
_Static_assert(CONTROL_ROOM >= MESSAGE_CONTROL_BYTES, "room for every control message that is asked for");
_Static_assert((sizeof(struct io_uring_recvmsg_out) + NAME_BYTES) % sizeof(size_t) == 0, "control messages are aligned");

/// How often at most one call asks the kernel to go on with work that it does in portions, or goes on after a signal.
enum { ROUNDS = 12, SIGNALS = 4 };

/// Since kernel 6.12, where the headers had padding.
enum { FEATURE_MIN_TIMEOUT = 1u << 15 };
typedef struct wait_argument {
    uint64_t signals;
    uint32_t signal_bytes;
    uint32_t gathering_microseconds;
    uint64_t timeout;
} wait_argument;
_Static_assert(sizeof(wait_argument) == sizeof(struct io_uring_getevents_arg), "the kernel's layout");

struct floe_ring {
    ring_queue queue;
    int is_enabled;
    struct msghdr header;
    uint8_t *memory;
    size_t stride;
    size_t length;
    unsigned count;
    /// How many receives were asked for since the last wait.
    unsigned begun;
    /// How many buffers are in use, how many should be and were at first, and how many came back since they last ran short.
    unsigned supplied;
    unsigned target;
    unsigned least;
    unsigned recycled;
    /// Those that are not in use; the last was used most recently.
    uint16_t *reserve;
    unsigned reserved;
    struct io_uring_buf_ring *buffers;
    size_t buffer_bytes;
    uint16_t buffer_tail;
};

static void supply(struct floe_ring *ring, unsigned buffer) {
    struct io_uring_buf *entry = &ring->buffers->bufs[ring->buffer_tail & (ring->count - 1)];
    entry->addr = (uint64_t)(uintptr_t)(ring->memory + buffer * ring->stride);
    entry->len = (uint32_t)ring->length;
    entry->bid = (uint16_t)buffer;
    ring->buffer_tail++;
}

static void supply_reserve(struct floe_ring *ring) {
    while (ring->supplied < ring->target && ring->reserved > 0) {
        supply(ring, ring->reserve[--ring->reserved]);
        ring->supplied++;
    }
}

/// Takes a buffer out of use, and its memory with it.
static void retire(struct floe_ring *ring, uint16_t buffer) {
    ring->reserve[ring->reserved++] = buffer;
    ring->supplied--;
    uintptr_t first = (uintptr_t)(ring->memory + buffer * ring->stride), page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = (first + page - 1) / page * page, end = (first + ring->stride) / page * page;
    if (end > start) madvise((void *)start, end - start, MADV_DONTNEED);
}

static void publish(struct floe_ring *ring) {
    atomic_store_explicit((_Atomic(uint16_t) *)&ring->buffers->tail, ring->buffer_tail, memory_order_release);
}

int floe_ring_create(
    struct floe_ring **out, uint8_t *memory, size_t stride, size_t length, int count, int supplied, int completions) {
    struct floe_ring *ring = calloc(1, sizeof *ring);
    if (!ring) return -ENOMEM;
    ring->reserve = calloc((size_t)count, sizeof *ring->reserve);
    ring->memory = memory;
    ring->stride = stride;
    ring->length = length;
    ring->count = (unsigned)count;
    ring->header.msg_namelen = NAME_BYTES;
    ring->header.msg_controllen = CONTROL_ROOM;
    // Work is done only when this thread asks for it, so that it comes in batches and touches the buffers at no other time.
    unsigned flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED;
    unsigned submissions = completions < SUBMISSIONS ? (unsigned)completions : SUBMISSIONS;
    int result = ring_queue_open(&ring->queue, submissions, (unsigned)completions, flags);
    if (result == 0 && !ring->reserve) result = -ENOMEM;
    if (result == 0) {
        ring->buffer_bytes = ring->count * sizeof(struct io_uring_buf);
        void *buffers = mmap(
            NULL, ring->buffer_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (buffers == MAP_FAILED) result = -ENOMEM;
        else ring->buffers = buffers;
    }
    if (result == 0) {
        struct io_uring_buf_reg request = {
            .ring_addr = (uint64_t)(uintptr_t)ring->buffers, .ring_entries = ring->count, .bgid = BUFFER_GROUP};
        if (syscall(SYS_io_uring_register, ring->queue.descriptor, IORING_REGISTER_PBUF_RING, &request, 1) < 0)
            result = -errno;
    }
    // Filters may forbid each call by itself; a ring that is not enabled yet says so to who may enter it.
    if (result == 0 && syscall(SYS_io_uring_enter, ring->queue.descriptor, 0, 0, 0, NULL, 0) < 0 && errno != EBADFD)
        result = -errno;
    if (result < 0) {
        floe_ring_destroy(ring);
        return result;
    }
    // Of most buffers only the first page is ever touched, which a huge page would turn into 2 MiB.
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = ((uintptr_t)memory + page - 1) / page * page;
    uintptr_t end = (uintptr_t)(memory + stride * ring->count) / page * page;
    if (end > start) madvise((void *)start, end - start, MADV_NOHUGEPAGE);
    ring->least = ring->target = (unsigned)supplied < ring->count ? (unsigned)supplied : ring->count;
    for (unsigned buffer = ring->count; buffer > 0; buffer--) ring->reserve[ring->reserved++] = (uint16_t)(buffer - 1);
    supply_reserve(ring);
    publish(ring);
    *out = ring;
    return 0;
}

static int enable(struct floe_ring *ring) {
    if (ring->is_enabled) return 0;
    if (syscall(SYS_io_uring_register, ring->queue.descriptor, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0) return -errno;
    ring->is_enabled = 1;
    return 0;
}

/// Has the kernel do what is left to do, without waiting.
static void work(struct floe_ring *ring) {
    for (int round = 0; round < ROUNDS; round++) {
        unsigned before = ring_queue_completed(&ring->queue);
        int result = ring_queue_enter(&ring->queue, 0, IORING_ENTER_GETEVENTS, NULL, 0);
        unsigned after = ring_queue_completed(&ring->queue);
        if ((result < 0 && result != -EINTR) || after == before) break;
    }
}

void floe_ring_destroy(struct floe_ring *ring) {
    if (!ring) return;
    if (ring->is_enabled) {
        ring_queue_discard(&ring->queue);
        struct io_uring_sqe *entry = ring_queue_next(&ring->queue);
        if (entry) {
            entry->opcode = IORING_OP_ASYNC_CANCEL;
            entry->cancel_flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
            entry->user_data = (uint64_t)FLOE_RING_NOTHING << KIND_SHIFT;
        }
        // The kernel ends a portion of them with each call, and each end is a completion.
        unsigned before;
        do {
            before = ring_queue_completed(&ring->queue);
            work(ring);
            while (ring_queue_peek(&ring->queue)) ring_queue_pop(&ring->queue);
        } while (ring_queue_completed(&ring->queue) != before);
    }
    ring_queue_close(&ring->queue);
    if (ring->buffers) munmap(ring->buffers, ring->buffer_bytes);
    free(ring->reserve);
    free(ring);
}

static struct io_uring_sqe *next(struct floe_ring *ring) {
    struct io_uring_sqe *entry = ring_queue_next(&ring->queue);
    if (entry || enable(ring) < 0) return entry;
    ring_queue_enter(&ring->queue, 0, 0, NULL, 0);
    return ring_queue_next(&ring->queue);
}

int floe_ring_receive(struct floe_ring *ring, int descriptor, uint64_t token) {
    struct io_uring_sqe *entry = next(ring);
    if (!entry) return -EAGAIN;
    entry->opcode = IORING_OP_RECVMSG;
    entry->fd = descriptor;
    entry->addr = (uint64_t)(uintptr_t)&ring->header;
    entry->len = 1;
    entry->ioprio = IORING_RECV_MULTISHOT;
    entry->flags = IOSQE_BUFFER_SELECT;
    entry->buf_group = BUFFER_GROUP;
    entry->user_data = (uint64_t)FLOE_RING_RECEIVED << KIND_SHIFT | token;
    ring->begun++;
    return 0;
}

int floe_ring_watch(struct floe_ring *ring, int descriptor, uint32_t interest, int is_lasting, uint64_t token) {
    struct io_uring_sqe *entry = next(ring);
    if (!entry) return -EAGAIN;
    entry->opcode = IORING_OP_POLL_ADD;
    entry->fd = descriptor;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    interest = interest << 16 | interest >> 16;
#endif
    entry->poll32_events = interest;
    entry->len = is_lasting ? IORING_POLL_ADD_MULTI : 0;
    entry->user_data = (uint64_t)FLOE_RING_READY << KIND_SHIFT | token;
    return 0;
}

void floe_ring_forget(struct floe_ring *ring, uint64_t token) {
    if (enable(ring) < 0) return;
    for (uint64_t kind = FLOE_RING_RECEIVED; kind <= FLOE_RING_READY; kind++) {
        struct io_uring_sqe *entry = next(ring);
        if (!entry) continue;
        entry->opcode = IORING_OP_ASYNC_CANCEL;
        entry->addr = kind << KIND_SHIFT | token;
        entry->user_data = (uint64_t)FLOE_RING_NOTHING << KIND_SHIFT;
    }
    work(ring);
}

static int wait_for(struct floe_ring *ring, int64_t nanoseconds, uint32_t gathering, uint32_t wanted) {
    struct __kernel_timespec timeout;
    wait_argument argument = {
        .gathering_microseconds = gathering, .timeout = nanoseconds < 0 ? 0 : (uint64_t)(uintptr_t)&timeout};
    uint64_t start = floe_monotonic_nanoseconds();
    int64_t left = nanoseconds;
    int result = 0;
    for (int round = 0; round < SIGNALS; round++) {
        timeout = (struct __kernel_timespec){left / 1000000000, left % 1000000000};
        result = ring_queue_enter(
            &ring->queue, wanted, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument, sizeof argument);
        // A ring that this thread has closed before may interrupt it once more, late: no reason to turn in vain.
        if (result != -EINTR || ring_queue_peek(&ring->queue)) break;
        left = nanoseconds - (int64_t)(floe_monotonic_nanoseconds() - start);
        if (nanoseconds >= 0 && left <= 0) break;
    }
    return result;
}

int floe_ring_wait(struct floe_ring *ring, int64_t timeout_nanoseconds, uint32_t gathering, uint32_t wanted) {
    int result = enable(ring);
    if (result < 0) return result;
    int waits = timeout_nanoseconds != 0 && !ring_queue_peek(&ring->queue);
    // What is begun anew has something to bring: whoever ends a receive with each datagram must not win a rest each time.
    if (ring->begun > 0) gathering = 0;
    ring->begun = 0;
    int64_t rest = (int64_t)gathering * 1000;
    if (gathering > 0 && !floe_ring_gathers(ring)) {
        // Older kernels know no least time to wait: then it is the longest. While so many come, there is something then.
        if (timeout_nanoseconds < 0 || timeout_nanoseconds > rest) timeout_nanoseconds = rest;
        gathering = 0;
    } else if (gathering == 0) {
        wanted = 1;
    }
    if (waits) result = wait_for(ring, timeout_nanoseconds, gathering, wanted);
    else result = ring_queue_enter(&ring->queue, 0, IORING_ENTER_GETEVENTS, NULL, 0);
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN && result != -EBUSY) return result;
    // The kernel stops after some twenty wake-ups; what else has come is for the next call. So what it has copied is sent
    // before hundreds of others have pushed it out of the processor's cache.
    return 0;
}

int floe_ring_gathers(const struct floe_ring *ring) { return (ring->queue.features & FEATURE_MIN_TIMEOUT) != 0; }

int floe_ring_peek(struct floe_ring *ring, floe_ring_event *event) {
    const struct io_uring_cqe *completion = ring_queue_peek(&ring->queue);
    if (!completion) return 0;
    event->token = completion->user_data & ((1ull << KIND_SHIFT) - 1);
    event->kind = (uint8_t)(completion->user_data >> KIND_SHIFT);
    event->result = completion->res;
    event->has_more = (completion->flags & IORING_CQE_F_MORE) != 0;
    event->has_buffer = (completion->flags & IORING_CQE_F_BUFFER) != 0;
    event->buffer = (uint16_t)(completion->flags >> IORING_CQE_BUFFER_SHIFT);
    return 1;
}

void floe_ring_pop(struct floe_ring *ring) { ring_queue_pop(&ring->queue); }

int floe_ring_read(const struct floe_ring *ring, uint16_t buffer, int32_t result, floe_datagram *datagram) {
    memset(datagram, 0, sizeof *datagram);
    datagram->buffer = buffer;
    if (buffer >= ring->count || result < (int32_t)FLOE_RING_LEAD) return 0;
    uint8_t *start = ring->memory + buffer * ring->stride;
    struct io_uring_recvmsg_out description;
    memcpy(&description, start, sizeof description);
    uint8_t *name = start + sizeof description;
    if (description.namelen >= sizeof(struct sockaddr_in)) {
        kernel_address source;
        memcpy(&source, name, sizeof source);
        from_kernel(&source.any, &datagram->source);
    }
    datagram->length = (uint32_t)result - FLOE_RING_LEAD;
    datagram->is_truncated = (description.flags & MSG_TRUNC) != 0;
    if (description.controllen > 0 && description.controllen <= CONTROL_ROOM) {
        struct msghdr message = {.msg_control = name + NAME_BYTES, .msg_controllen = description.controllen};
        message_read_controls(&message, datagram);
    }
    return 1;
}

void floe_ring_recycle(struct floe_ring *ring, const floe_datagram *datagrams, int count) {
    for (int i = 0; i < count; i++) {
        if (datagrams[i].buffer == FLOE_NO_BUFFER) continue;
        if (ring->supplied > ring->target) retire(ring, datagrams[i].buffer);
        else supply(ring, datagrams[i].buffer);
        ring->recycled++;
    }
    publish(ring);
    if (ring->recycled < CALM) return;
    ring->recycled = 0;
    if (ring->target > ring->least) ring->target /= 2;
}

void floe_ring_grow(struct floe_ring *ring) {
    ring->recycled = 0;
    ring->target = ring->target * 2 < ring->count ? ring->target * 2 : ring->count;
    supply_reserve(ring);
    publish(ring);
}

int floe_ring_supplied(const struct floe_ring *ring) { return (int)ring->supplied; }
