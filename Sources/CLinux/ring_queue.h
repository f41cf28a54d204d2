#ifndef FLOE_RING_QUEUE_H
#define FLOE_RING_QUEUE_H

#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/// The two queues that are shared with the kernel, mapped.
typedef struct ring_queue {
    int descriptor;
    unsigned features;
    void *shared;
    size_t shared_bytes;
    struct io_uring_sqe *submissions;
    size_t submission_bytes;
    struct io_uring_cqe *completions;
    _Atomic(unsigned) *submission_head;
    _Atomic(unsigned) *submission_tail;
    _Atomic(unsigned) *completion_head;
    _Atomic(unsigned) *completion_tail;
    unsigned submission_mask;
    unsigned completion_mask;
    /// Ours of `submission_tail`, which the kernel is told with the next call.
    unsigned tail;
} ring_queue;

int ring_queue_open(ring_queue *queue, unsigned submissions, unsigned completions, unsigned flags);
void ring_queue_close(ring_queue *queue);
/// Submits what was written and waits for `wanted` completions; how many were submitted, or a negative errno.
int ring_queue_enter(ring_queue *queue, unsigned wanted, unsigned flags, const void *argument, size_t size);

/// A place for one more submission, zeroed; NULL if there is none before the next call.
static inline struct io_uring_sqe *ring_queue_next(ring_queue *queue) {
    unsigned head = atomic_load_explicit(queue->submission_head, memory_order_acquire);
    if (queue->tail - head > queue->submission_mask) return NULL;
    struct io_uring_sqe *entry = &queue->submissions[queue->tail++ & queue->submission_mask];
    *entry = (struct io_uring_sqe){0};
    return entry;
}

/// How many submissions were written and not taken by the kernel.
static inline unsigned ring_queue_unsubmitted(const ring_queue *queue) {
    return queue->tail - atomic_load_explicit(queue->submission_head, memory_order_acquire);
}

/// Forgets what was written and not submitted.
static inline void ring_queue_discard(ring_queue *queue) {
    queue->tail = atomic_load_explicit(queue->submission_head, memory_order_acquire);
    atomic_store_explicit(queue->submission_tail, queue->tail, memory_order_release);
}

static inline const struct io_uring_cqe *ring_queue_peek(const ring_queue *queue) {
    // Only this side moves the head.
    unsigned head = atomic_load_explicit(queue->completion_head, memory_order_relaxed);
    if (head == atomic_load_explicit(queue->completion_tail, memory_order_acquire)) return NULL;
    return &queue->completions[head & queue->completion_mask];
}

static inline void ring_queue_pop(ring_queue *queue) {
    unsigned head = atomic_load_explicit(queue->completion_head, memory_order_relaxed);
    atomic_store_explicit(queue->completion_head, head + 1, memory_order_release);
}

static inline unsigned ring_queue_completed(const ring_queue *queue) {
    return atomic_load_explicit(queue->completion_tail, memory_order_acquire);
}

#endif
