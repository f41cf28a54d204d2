#define _GNU_SOURCE
#include "floe_datagram.h"

#include "kernel_address.h"
#include "message.h"
#include "ring_queue.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <linux/udp.h>
#include <stdlib.h>

_Static_assert(sizeof(floe_address) == 24, "three words for Swift");

/// What every kernel cuts from one message (UDP_MAX_SEGMENTS before Linux 6.9, and 128 since), and the longest UDP payload.
enum { SEGMENTS = 64, SEGMENTED_BYTES = 65000 };

/// How many datagrams one call tries to send: after each that fails, the others are prepared anew.
enum { SENDS = 64 };

/// Where segments were refused; the oldest is forgotten first.
enum { REFUSALS = 64 };

typedef struct refusal {
    floe_address destination;
    uint32_t length;
} refusal;

typedef union control {
    struct cmsghdr header;
    char bytes[MESSAGE_CONTROL_BYTES];
} control;

struct floe_receiver {
    int count;
    struct mmsghdr *headers;
    struct iovec *vectors;
    kernel_address *sources;
    control *controls;
};

struct floe_sender {
    int count;
    /// How many datagrams each header stands for.
    uint16_t *segments;
    int refusal_count;
    refusal refusals[REFUSALS];
    struct mmsghdr *headers;
    struct iovec *vectors;
    kernel_address *destinations;
    control *controls;
    /// With a ring: which position of the order each header begins at, and what became of it.
    ring_queue *ring;
    int queued;
    uint16_t *firsts;
    uint16_t *failed;
    int *results;
};

/// Undoes what the kernel has written into a header.
static void prepare(struct msghdr *message) {
    message->msg_namelen = sizeof(kernel_address);
    message->msg_controllen = sizeof(control);
    message->msg_flags = 0;
}

struct floe_receiver *floe_receiver_create(int count, uint8_t *memory, size_t stride, size_t offset, size_t length) {
    struct floe_receiver *receiver = calloc(1, sizeof *receiver);
    if (!receiver) return NULL;
    receiver->count = count;
    receiver->headers = calloc((size_t)count, sizeof *receiver->headers);
    receiver->vectors = calloc((size_t)count, sizeof *receiver->vectors);
    receiver->sources = calloc((size_t)count, sizeof *receiver->sources);
    receiver->controls = calloc((size_t)count, sizeof *receiver->controls);
    if (!receiver->headers || !receiver->vectors || !receiver->sources || !receiver->controls) {
        floe_receiver_destroy(receiver);
        return NULL;
    }
    for (int i = 0; i < count; i++) {
        receiver->vectors[i].iov_base = memory + (size_t)i * stride + offset;
        receiver->vectors[i].iov_len = length;
        struct msghdr *message = &receiver->headers[i].msg_hdr;
        message->msg_name = &receiver->sources[i];
        message->msg_iov = &receiver->vectors[i];
        message->msg_iovlen = 1;
        message->msg_control = &receiver->controls[i];
        prepare(message);
    }
    return receiver;
}

void floe_receiver_destroy(struct floe_receiver *receiver) {
    if (!receiver) return;
    free(receiver->headers);
    free(receiver->vectors);
    free(receiver->sources);
    free(receiver->controls);
    free(receiver);
}

void message_read_controls(struct msghdr *message, floe_datagram *out) {
    for (struct cmsghdr *item = CMSG_FIRSTHDR(message); item; item = CMSG_NXTHDR(message, item)) {
        if (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo information;
            memcpy(&information, CMSG_DATA(item), sizeof information);
            out->local.family = 4;
            // The header's destination, not ipi_spec_dst: that one differs for broadcast and multicast only.
            out->local.low = ntohl(information.ipi_addr.s_addr);
        } else if (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo information;
            memcpy(&information, CMSG_DATA(item), sizeof information);
            from_ipv6_bytes(&information.ipi6_addr, &out->local);
            if (out->local.family == 6 && out->local.high >> 54 == 0x3FA) out->local.scope = information.ipi6_ifindex;
        } else if ((item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_ORIGDSTADDR)
                   || (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_ORIGDSTADDR)) {
            kernel_address address;
            size_t length = item->cmsg_len - CMSG_LEN(0);
            memcpy(&address, CMSG_DATA(item), length < sizeof address ? length : sizeof address);
            from_kernel(&address.any, &out->local);
        } else if (item->cmsg_level == IPPROTO_UDP && item->cmsg_type == UDP_GRO) {
            int value;
            memcpy(&value, CMSG_DATA(item), sizeof value);
            out->segment_length = (uint16_t)value;
        } else if (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_TOS) {
            out->traffic_class = *(const uint8_t *)CMSG_DATA(item);
        } else if (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_TCLASS) {
            int value;
            memcpy(&value, CMSG_DATA(item), sizeof value);
            out->traffic_class = (uint8_t)value;
        } else if ((item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_TTL)
                   || (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_HOPLIMIT)) {
            int value;
            memcpy(&value, CMSG_DATA(item), sizeof value);
            out->hop_limit = (uint8_t)value;
        }
    }
}

int floe_receive(struct floe_receiver *receiver, int descriptor, int first, int count, floe_datagram *datagrams) {
    if (first < 0 || count <= 0 || first + count > receiver->count) return -EINVAL;
    struct mmsghdr *headers = receiver->headers + first;
    int received;
    do {
        received = recvmmsg(descriptor, headers, (unsigned)count, MSG_DONTWAIT, NULL);
    } while (received < 0 && errno == EINTR);
    if (received < 0) return -errno;
    for (int i = 0; i < received; i++) {
        struct msghdr *message = &headers[i].msg_hdr;
        floe_datagram *out = &datagrams[i];
        memset(out, 0, sizeof *out);
        if (message->msg_namelen >= sizeof(struct sockaddr_in)) from_kernel(&receiver->sources[first + i].any, &out->source);
        out->buffer = FLOE_NO_BUFFER;
        out->length = headers[i].msg_len;
        out->is_truncated = (message->msg_flags & MSG_TRUNC) != 0;
        if (message->msg_controllen > 0) message_read_controls(message, out);
        // Only headers that were used need it: a batch of one costs as much as one.
        prepare(message);
    }
    return received;
}

struct floe_sender *floe_sender_create(int count, int uses_ring) {
    struct floe_sender *sender = calloc(1, sizeof *sender);
    if (!sender) return NULL;
    sender->count = count;
    sender->headers = calloc((size_t)count, sizeof *sender->headers);
    sender->vectors = calloc((size_t)count, sizeof *sender->vectors);
    sender->destinations = calloc((size_t)count, sizeof *sender->destinations);
    sender->controls = calloc((size_t)count, sizeof *sender->controls);
    sender->segments = calloc((size_t)count, sizeof *sender->segments);
    int has_memory =
        sender->headers && sender->vectors && sender->destinations && sender->controls && sender->segments;
    if (uses_ring) {
        sender->firsts = calloc((size_t)count, sizeof *sender->firsts);
        sender->failed = calloc((size_t)count, sizeof *sender->failed);
        sender->results = calloc((size_t)count, sizeof *sender->results);
        sender->ring = calloc(1, sizeof *sender->ring);
        has_memory = has_memory && sender->firsts && sender->failed && sender->results && sender->ring;
        unsigned entries = 1;
        while (entries < (unsigned)count) entries *= 2;
        if (sender->ring && ring_queue_open(sender->ring, entries, 2 * entries, 0) < 0) has_memory = 0;
    }
    if (has_memory) return sender;
    floe_sender_destroy(sender);
    return NULL;
}

void floe_sender_destroy(struct floe_sender *sender) {
    if (!sender) return;
    if (sender->ring) ring_queue_close(sender->ring);
    free(sender->ring);
    free(sender->firsts);
    free(sender->failed);
    free(sender->results);
    free(sender->headers);
    free(sender->vectors);
    free(sender->destinations);
    free(sender->controls);
    free(sender->segments);
    free(sender);
}

static void *append_control(control *buffer, size_t *length, int level, int type, size_t bytes) {
    struct cmsghdr *item = (struct cmsghdr *)(buffer->bytes + *length);
    item->cmsg_level = level;
    item->cmsg_type = type;
    item->cmsg_len = CMSG_LEN(bytes);
    memset(CMSG_DATA(item), 0, bytes);
    *length += CMSG_SPACE(bytes);
    return CMSG_DATA(item);
}

static size_t write_controls(const floe_outgoing *datagram, control *buffer) {
    size_t length = 0;
    if (datagram->source.family != 0 && datagram->socket_family == 4) {
        struct in_pktinfo *information = append_control(buffer, &length, IPPROTO_IP, IP_PKTINFO, sizeof *information);
        information->ipi_spec_dst.s_addr = htonl((uint32_t)datagram->source.low);
    } else if (datagram->source.family != 0) {
        struct in6_pktinfo *information = append_control(buffer, &length, IPPROTO_IPV6, IPV6_PKTINFO, sizeof *information);
        ipv6_bytes(&datagram->source, &information->ipi6_addr);
        information->ipi6_ifindex = datagram->source.scope;
    }
    if (datagram->traffic_class != 0) {
        int value = datagram->traffic_class;
        // An IPv4 packet of an IPv6 socket obeys the IPv4 control message.
        int level = datagram->destination.family == 4 ? IPPROTO_IP : IPPROTO_IPV6;
        int type = datagram->destination.family == 4 ? IP_TOS : IPV6_TCLASS;
        memcpy(append_control(buffer, &length, level, type, sizeof value), &value, sizeof value);
    }
    if (datagram->hop_limit != 0) {
        int value = datagram->hop_limit;
        int level = datagram->destination.family == 4 ? IPPROTO_IP : IPPROTO_IPV6;
        int type = datagram->destination.family == 4 ? IP_TTL : IPV6_HOPLIMIT;
        memcpy(append_control(buffer, &length, level, type, sizeof value), &value, sizeof value);
    }
    return length;
}

static int same_address(const floe_address *one, const floe_address *other) {
    return one->low == other->low && one->high == other->high && one->port == other->port &&
           one->family == other->family && one->scope == other->scope;
}

static int is_refused(const struct floe_sender *sender, const floe_outgoing *datagram) {
    int count = sender->refusal_count < REFUSALS ? sender->refusal_count : REFUSALS;
    for (int i = 0; i < count; i++) {
        const refusal *known = &sender->refusals[i];
        if (datagram->length >= known->length && same_address(&known->destination, &datagram->destination)) return 1;
    }
    return 0;
}

/// How many datagrams from `order[0]` on can leave as one message that the kernel cuts: the same way, one length, the
/// last may be shorter.
static int segment_count(
    const struct floe_sender *sender, const floe_outgoing *queue, const uint16_t *order, int count) {
    const floe_outgoing *first = &queue[order[0]];
    int limit = first->length == 0 ? 1 : (int)(SEGMENTED_BYTES / first->length);
    if (limit > SEGMENTS) limit = SEGMENTS;
    if (limit > count) limit = count;
    int segments = 1;
    while (segments < limit) {
        const floe_outgoing *next = &queue[order[segments]];
        if (next->length > first->length || next->length == 0 || next->traffic_class != first->traffic_class
            || next->hop_limit != first->hop_limit) break;
        if (!same_address(&next->destination, &first->destination)) break;
        if (!same_address(&next->source, &first->source)) break;
        segments++;
        if (next->length < first->length) break;
    }
    return segments > 1 && is_refused(sender, first) ? 1 : segments;
}

/// Writes header `index` for the datagrams from `order[0]` on that leave as one message, with vectors from `vector` on;
/// returns how many they are, 0 if the socket cannot reach their receiver.
static int prepare_message(
    struct floe_sender *sender, int index, int vector, const floe_outgoing *queue, const uint16_t *order, int count,
    const uint8_t *copies, const uint8_t *packets) {
    const floe_outgoing *datagram = &queue[order[0]];
    struct msghdr *message = &sender->headers[index].msg_hdr;
    memset(message, 0, sizeof *message);
    message->msg_namelen = to_kernel(&datagram->destination, datagram->socket_family, &sender->destinations[index]);
    if (message->msg_namelen == 0) return 0;
    message->msg_name = &sender->destinations[index];
    int segments = segment_count(sender, queue, order, count);
    for (int i = 0; i < segments; i++) {
        const floe_outgoing *part = &queue[order[i]];
        sender->vectors[vector + i].iov_base = (void *)((part->is_reference ? packets : copies) + part->offset);
        sender->vectors[vector + i].iov_len = part->length;
    }
    message->msg_iov = &sender->vectors[vector];
    message->msg_iovlen = (size_t)segments;
    size_t controls = write_controls(datagram, &sender->controls[index]);
    if (segments > 1) {
        uint16_t length = (uint16_t)datagram->length;
        void *place = append_control(&sender->controls[index], &controls, IPPROTO_UDP, UDP_SEGMENT, sizeof length);
        memcpy(place, &length, sizeof length);
    }
    message->msg_controllen = controls;
    if (controls > 0) message->msg_control = &sender->controls[index];
    sender->segments[index] = (uint16_t)segments;
    return segments;
}

int floe_send(
    struct floe_sender *sender, const floe_outgoing *queue, const uint16_t *order, int count, const uint8_t *copies,
    const uint8_t *packets) {
    if (count <= 0) return 0;
    if (count > sender->count) count = sender->count;
    if (count > SENDS) count = SENDS;
    int messages = 0;
    for (int next = 0; next < count; messages++) {
        int segments = prepare_message(sender, messages, next, queue, order + next, count - next, copies, packets);
        if (segments == 0) break;
        next += segments;
    }
    if (messages == 0) return -EAFNOSUPPORT;
    int sent;
    do {
        sent = sendmmsg(queue[order[0]].descriptor, sender->headers, (unsigned)messages, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        int error = errno;
        // The path takes no segments of that length, or the device cannot cut: from now on one by one.
        if (sender->segments[0] > 1 && (error == EINVAL || error == EIO || error == EMSGSIZE)) {
            refusal *place = &sender->refusals[sender->refusal_count % REFUSALS];
            sender->refusal_count = sender->refusal_count == 2 * REFUSALS - 1 ? REFUSALS : sender->refusal_count + 1;
            place->destination = queue[order[0]].destination;
            place->length = queue[order[0]].length;
            return floe_send(sender, queue, order, 1, copies, packets);
        }
        return -error;
    }
    int taken = 0;
    for (int i = 0; i < sent; i++) taken += sender->segments[i];
    return taken;
}

void floe_sender_begin(
    struct floe_sender *sender, const floe_outgoing *queue, const uint16_t *order, int first, int count,
    const uint8_t *copies, const uint8_t *packets) {
    for (int end = first + count; first < end && sender->queued < sender->count;) {
        int index = sender->queued;
        int segments = prepare_message(sender, index, first, queue, order + first, end - first, copies, packets);
        struct io_uring_sqe *entry = segments > 0 ? ring_queue_next(sender->ring) : NULL;
        // What is never submitted fails, and is then sent the other way, which knows all errors.
        sender->results[index] = entry ? 0 : -ECANCELED;
        sender->segments[index] = (uint16_t)(segments > 0 ? segments : 1);
        sender->firsts[index] = (uint16_t)first;
        if (entry) {
            entry->opcode = IORING_OP_SENDMSG;
            entry->fd = queue[order[first]].descriptor;
            entry->addr = (uint64_t)(uintptr_t)&sender->headers[index].msg_hdr;
            entry->len = 1;
            // So it ends within the call that submits it, and only a refusal is told.
            entry->msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL;
            entry->flags = IOSQE_CQE_SKIP_SUCCESS;
            entry->user_data = (uint64_t)index;
        }
        sender->queued++;
        first += sender->segments[index];
    }
}

int floe_sender_finish(struct floe_sender *sender, uint64_t *datagrams, uint64_t *bytes) {
    ring_queue *ring = sender->ring;
    for (int refused = 0; ring_queue_unsubmitted(ring) > 0 && refused < 8;) {
        int result = ring_queue_enter(ring, 0, 0, NULL, 0);
        if (result <= 0 && result != -EINTR) refused++;
    }
    // What the kernel has not taken, it must not find later, when its headers are used for others.
    for (unsigned left = ring_queue_unsubmitted(ring); left > 0; left--)
        sender->results[ring->submissions[(ring->tail - left) & ring->submission_mask].user_data] = -ECANCELED;
    ring_queue_discard(ring);
    for (const struct io_uring_cqe *end; (end = ring_queue_peek(ring)); ring_queue_pop(ring))
        if (end->user_data < (uint64_t)sender->queued) sender->results[end->user_data] = end->res;
    int failures = 0;
    for (int i = 0; i < sender->queued; i++) {
        if (sender->results[i] >= 0) {
            *datagrams += sender->segments[i];
            for (int part = 0; part < sender->segments[i]; part++) *bytes += sender->vectors[sender->firsts[i] + part].iov_len;
            continue;
        }
        sender->results[failures] = sender->results[i];
        sender->firsts[failures] = sender->firsts[i];
        sender->failed[failures] = sender->segments[i];
        failures++;
    }
    sender->queued = 0;
    return failures;
}

int floe_sender_failure(const struct floe_sender *sender, int index, int *first, int *count) {
    *first = sender->firsts[index];
    *count = sender->failed[index];
    return sender->results[index];
}

int floe_receive_icmp_error(int descriptor, floe_icmp_error *error, uint8_t *quote, int capacity) {
    kernel_address destination;
    union {
        struct cmsghdr header;
        char bytes[512];
    } controls;
    struct iovec room = {.iov_base = quote, .iov_len = capacity < 0 ? 0 : capacity > 255 ? 255 : (size_t)capacity};
    struct msghdr message = {
        .msg_name = &destination,
        .msg_namelen = sizeof destination,
        .msg_iov = &room,
        .msg_iovlen = quote ? 1 : 0,
        .msg_control = &controls,
        .msg_controllen = sizeof controls,
    };
    ssize_t received;
    memset(error, 0, sizeof *error);
    do {
        received = recvmsg(descriptor, &message, MSG_ERRQUEUE | MSG_DONTWAIT);
    } while (received < 0 && errno == EINTR);
    if (received < 0) return errno == EAGAIN ? 0 : -errno;
    error->quoted = (uint8_t)received;
    if (message.msg_namelen >= sizeof(struct sockaddr_in)) from_kernel(&destination.any, &error->destination);
    for (struct cmsghdr *item = CMSG_FIRSTHDR(&message); item; item = CMSG_NXTHDR(&message, item)) {
        int is_v4 = item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_RECVERR;
        int is_v6 = item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_RECVERR;
        if (!is_v4 && !is_v6) continue;
        struct sock_extended_err information;
        memcpy(&information, CMSG_DATA(item), sizeof information);
        error->type = information.ee_type;
        error->code = information.ee_code;
        error->mtu = information.ee_info;
        if (information.ee_origin == SO_EE_ORIGIN_ICMP) error->family = 4;
        if (information.ee_origin == SO_EE_ORIGIN_ICMP6) error->family = 6;
    }
    return 1;
}

int64_t floe_icmp_receive(int descriptor, uint8_t *bytes, size_t capacity, floe_datagram *datagram) {
    kernel_address source;
    union {
        struct cmsghdr header;
        char bytes[MESSAGE_CONTROL_BYTES];
    } controls;
    struct iovec room = {.iov_base = bytes, .iov_len = capacity};
    struct msghdr message = {
        .msg_name = &source,
        .msg_namelen = sizeof source,
        .msg_iov = &room,
        .msg_iovlen = 1,
        .msg_control = &controls,
        .msg_controllen = sizeof controls,
    };
    ssize_t received;
    memset(datagram, 0, sizeof *datagram);
    do {
        received = recvmsg(descriptor, &message, MSG_DONTWAIT);
    } while (received < 0 && errno == EINTR);
    if (received < 0) return -errno;
    datagram->length = (uint32_t)received;
    datagram->is_truncated = (message.msg_flags & MSG_TRUNC) != 0;
    if (message.msg_namelen >= sizeof(struct sockaddr_in)) from_kernel(&source.any, &datagram->source);
    message_read_controls(&message, datagram);
    return received;
}
