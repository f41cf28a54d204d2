#ifndef FLOE_DATAGRAM_H
#define FLOE_DATAGRAM_H

#include "floe_address.h"

#include <stddef.h>
#include <stdint.h>

/// No ring has so many.
enum { FLOE_NO_BUFFER = 0xFFFF };

/// What the kernel told about a received datagram.
typedef struct floe_datagram {
    floe_address source;
    /// Where it was sent to, with a port from FLOE_OPTION_ORIGINAL_DESTINATION only; family 0 if the socket does not report it.
    floe_address local;
    uint32_t length;
    uint8_t traffic_class;
    uint8_t is_truncated;
    /// The length of each of the datagrams that the kernel has merged into this one, 0 if it is a single one.
    uint16_t segment_length;
    /// TTL or hop limit as it arrived; 0 if the socket does not report it.
    uint8_t hop_limit;
    uint8_t reserved;
    /// Which buffer of a ring holds it; `FLOE_NO_BUFFER` if none does.
    uint16_t buffer;
} floe_datagram;

/// A datagram to send. Its bytes stand at `offset` of the copies or, with `is_reference`, of the received packets.
typedef struct floe_outgoing {
    floe_address destination;
    /// The local address to send from; family 0 leaves it to the kernel.
    floe_address source;
    uint32_t offset;
    uint32_t length;
    int descriptor;
    uint8_t socket_family;
    uint8_t is_reference;
    uint8_t traffic_class;
    /// TTL or hop limit; 0 leaves it to the socket.
    uint8_t hop_limit;
} floe_outgoing;

/// The kernel's headers for `count` receive buffers. Buffer `i` begins at `memory + i * stride + offset`.
///
/// Returns NULL without memory. The memory stays the caller's and must outlive the receiver.
struct floe_receiver *floe_receiver_create(int count, uint8_t *memory, size_t stride, size_t offset, size_t length);
void floe_receiver_destroy(struct floe_receiver *receiver);
/// Receives into buffers `first` to `first + count - 1`; returns how many were filled, or a negative errno.
int floe_receive(struct floe_receiver *receiver, int descriptor, int first, int count, floe_datagram *datagrams);

/// The kernel's headers for at most `count` datagrams in one call, and with `uses_ring` an io_uring to submit them.
///
/// Returns NULL without memory, or where io_uring is forbidden.
struct floe_sender *floe_sender_create(int count, int uses_ring);
void floe_sender_destroy(struct floe_sender *sender);
/// Sends `queue[order[0]]` and following, all of one socket, at most the sender's count; returns how many the kernel
/// took, or the negative errno of the first one.
///
/// Neighbours of one length that go the same way leave as one message which the kernel cuts (UDP_SEGMENT). Where that is
/// refused, they leave one by one from then on.
int floe_send(
    struct floe_sender *sender, const floe_outgoing *queue, const uint16_t *order, int count, const uint8_t *copies,
    const uint8_t *packets);

/// Prepares `queue[order[first]]` and following, all of one socket, to be sent by `floe_sender_finish`; with a ring, and
/// for at most the sender's count of datagrams between two finishes.
void floe_sender_begin(
    struct floe_sender *sender, const floe_outgoing *queue, const uint16_t *order, int first, int count,
    const uint8_t *copies, const uint8_t *packets);
/// Sends what was prepared, of all sockets, with one system call; adds what the kernel took, and returns how many
/// messages it refused.
int floe_sender_finish(struct floe_sender *sender, uint64_t *datagrams, uint64_t *bytes);
/// A refused message: its positions in the order, and the negative errno.
int floe_sender_failure(const struct floe_sender *sender, int index, int *first, int *count);

/// An error that is queued on a socket with FLOE_OPTION_RECEIVE_ERRORS.
typedef struct floe_icmp_error {
    /// Where the datagram was sent to.
    floe_address destination;
    /// The path's MTU for "packet too big" and "fragmentation needed".
    uint32_t mtu;
    uint8_t type;
    uint8_t code;
    /// 4 for ICMP, 6 for ICMPv6, 0 for an error of this host.
    uint8_t family;
    /// How many bytes of the datagram that it is about were written.
    uint8_t quoted;
} floe_icmp_error;

/// Takes the oldest error: 1, 0 if there is none, or a negative errno.
///
/// The beginning of the datagram that it is about goes to `quote`, unless that is null: at most `capacity` and 255 bytes.
int floe_receive_icmp_error(int descriptor, floe_icmp_error *error, uint8_t *quote, int capacity);

/// Reads a message from a socket of `floe_icmp_create`; returns its length, or a negative errno.
///
/// Of IPv4 it begins with the IP header. Of IPv6 it does not, and the packet's addresses are told instead. Nobody has looked
/// at its checksum.
int64_t floe_icmp_receive(int descriptor, uint8_t *bytes, size_t capacity, floe_datagram *datagram);

#endif
