#define _GNU_SOURCE
#include "ring_queue.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static size_t larger(size_t one, size_t other) { return one > other ? one : other; }

int ring_queue_open(ring_queue *queue, unsigned submissions, unsigned completions, unsigned flags) {
    memset(queue, 0, sizeof *queue);
    queue->descriptor = -1;
    struct io_uring_params parameters = {
        .flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL, .cq_entries = completions};
    int descriptor = (int)syscall(SYS_io_uring_setup, submissions, &parameters);
    if (descriptor < 0) return -errno;
    queue->descriptor = descriptor;
    queue->features = parameters.features;
    unsigned needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
    if ((parameters.features & needed) != needed) {
        ring_queue_close(queue);
        return -EOPNOTSUPP;
    }
    queue->shared_bytes = larger(
        parameters.sq_off.array + parameters.sq_entries * sizeof(unsigned),
        parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe));
    queue->submission_bytes = parameters.sq_entries * sizeof(struct io_uring_sqe);
    int protection = PROT_READ | PROT_WRITE, sharing = MAP_SHARED | MAP_POPULATE;
    void *shared = mmap(NULL, queue->shared_bytes, protection, sharing, descriptor, IORING_OFF_SQ_RING);
    if (shared != MAP_FAILED) queue->shared = shared;
    void *entries = mmap(NULL, queue->submission_bytes, protection, sharing, descriptor, IORING_OFF_SQES);
    if (entries != MAP_FAILED) queue->submissions = entries;
    if (!queue->shared || !queue->submissions) {
        ring_queue_close(queue);
        return -ENOMEM;
    }
    char *base = queue->shared;
    queue->submission_head = (_Atomic(unsigned) *)(base + parameters.sq_off.head);
    queue->submission_tail = (_Atomic(unsigned) *)(base + parameters.sq_off.tail);
    queue->completion_head = (_Atomic(unsigned) *)(base + parameters.cq_off.head);
    queue->completion_tail = (_Atomic(unsigned) *)(base + parameters.cq_off.tail);
    queue->completions = (struct io_uring_cqe *)(base + parameters.cq_off.cqes);
    queue->submission_mask = parameters.sq_entries - 1;
    queue->completion_mask = parameters.cq_entries - 1;
    // Submission i stands in place i, always.
    unsigned *array = (unsigned *)(base + parameters.sq_off.array);
    for (unsigned i = 0; i < parameters.sq_entries; i++) array[i] = i;
    return 0;
}

void ring_queue_close(ring_queue *queue) {
    if (queue->submissions) munmap(queue->submissions, queue->submission_bytes);
    if (queue->shared) munmap(queue->shared, queue->shared_bytes);
    if (queue->descriptor >= 0) close(queue->descriptor);
    queue->submissions = NULL;
    queue->shared = NULL;
    queue->descriptor = -1;
}

int ring_queue_enter(ring_queue *queue, unsigned wanted, unsigned flags, const void *argument, size_t size) {
    atomic_store_explicit(queue->submission_tail, queue->tail, memory_order_release);
    unsigned unsubmitted = ring_queue_unsubmitted(queue);
    long result = syscall(SYS_io_uring_enter, queue->descriptor, unsubmitted, wanted, flags, argument, size);
    return result < 0 ? -errno : (int)result;
}
