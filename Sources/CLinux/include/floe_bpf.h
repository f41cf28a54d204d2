#ifndef FLOE_BPF_H
#define FLOE_BPF_H

#include "floe_address.h"

#include <stddef.h>
#include <stdint.h>

// The bpf() system call, as far as these programs need it: one at the ingress of interfaces (TCX, Linux 6.6), one that looks
// up the sockets of incoming datagrams (sk_lookup), and a filter of a socket.

/// What packets of a flow look like: addresses, ports and channel as on the wire, an IPv4 address in the first four bytes.
///
/// This and the two below are `key`, `flow` and `allowance` of Sources/FastPath/relay.bpf.c.
typedef struct floe_relay_key {
    uint64_t source_high, source_low, destination_high, destination_low;
    uint16_t source_port, destination_port;
    /// 0 for datagrams of a peer.
    uint16_t channel;
    /// 4 or 6.
    uint16_t family;
} floe_relay_key;

/// One direction of a channel, in memory that the program reads at any time.
typedef struct floe_relay_flow {
    /// 0 while it is closed.
    uint64_t number;
    /// On the monotonic clock, in nanoseconds.
    uint64_t expires;
    floe_relay_key key;
    uint32_t from_interface, to_interface;
    uint64_t source_high, source_low, destination_high, destination_low;
    uint16_t source_port, destination_port;
    /// 0 on the way to the peer.
    uint16_t channel;
    /// The MTU of the interface that they leave by.
    uint16_t longest;
    /// Which allowance the payload's bytes are taken from; 0 is none.
    uint32_t allowance, reserved;
    /// What was relayed since this memory is there; the program's.
    uint64_t packets, bytes;
} floe_relay_flow;

/// Bytes that flows with a limit may relay together.
typedef struct floe_relay_allowance {
    /// All that were ever granted, and those that were spent; the latter is the program's.
    uint64_t granted, spent;
} floe_relay_allowance;

/// Makes a hash map whose elements take memory as they come, with values of 64 bits; returns its descriptor or a negative
/// errno.
int floe_bpf_create_map(uint32_t key_length, uint32_t capacity);
/// Makes an array, all 0, with keys of 32 bits, that can be mapped into memory; returns its descriptor or a negative errno.
int floe_bpf_create_array(uint32_t value_length, uint32_t capacity);
/// Maps so many bytes of an array into memory; `*memory` is for floe_bpf_unmap. Returns 0 or a negative errno.
int floe_bpf_map(int array, size_t length, void **memory);
/// Gives that memory back.
void floe_bpf_unmap(void *memory, size_t length);
/// Adds an element to a hash; -EEXIST if there is one of that key.
int floe_bpf_add(int map, const void *key, uint64_t value);
/// Removes an element; -ENOENT if there is none.
int floe_bpf_remove(int map, const void *key);

/// Makes a place in memory the flow of these values, its counts left as they are; until that is done, it is closed.
void floe_relay_open(floe_relay_flow *place, const floe_relay_flow *values);
/// From now on no packet is begun with it.
void floe_relay_close(floe_relay_flow *place);
/// From now on it ends then.
void floe_relay_set_end(floe_relay_flow *place, uint64_t expires);
/// What was relayed.
void floe_relay_counts(const floe_relay_flow *place, uint64_t *packets, uint64_t *bytes);
/// Sets what was ever granted.
void floe_relay_grant(floe_relay_allowance *place, uint64_t granted);
/// What was ever spent.
uint64_t floe_relay_spent(const floe_relay_allowance *place);

/// Sets an element.
int floe_bpf_set(int map, const void *key, const void *value);
/// Writes a value where 0 is, as one step between threads; 0 if something else is there.
int floe_bpf_claim(uint64_t *element, uint64_t value);
/// Writes 0.
void floe_bpf_release(uint64_t *element);
/// Makes an array of sockets, with keys of 32 bits; its values are descriptors (BPF_MAP_TYPE_SOCKMAP).
int floe_bpf_create_socket_map(uint32_t capacity);

/// What a program is for.
typedef enum floe_bpf_kind : uint32_t {
    FLOE_BPF_FILTER = 1,
    FLOE_BPF_PACKETS = 3,
    FLOE_BPF_LOOKUP = 30,
} floe_bpf_kind;

/// Loads a program; what the verifier says goes to `log`, which may be NULL with a length of 0.
int floe_bpf_load(floe_bpf_kind kind, const uint64_t *instructions, uint32_t count, char *log, uint32_t log_length);
/// Attaches a program to an interface for as long as the returned descriptor, or a copy of it, is open.
int floe_bpf_attach(int program, uint32_t interface);
/// Attaches a program to this thread's network namespace for as long as the returned descriptor, or a copy of it, is open.
int floe_bpf_attach_lookup(int program);
/// Makes a program the filter of a socket.
int floe_bpf_attach_filter(int program, int descriptor);
/// Runs a program on one packet that came in on `interface`; returns 0 or a negative errno. `out_length` is the space at
/// `out`, then what was written.
int floe_bpf_run(
    int program, uint32_t interface, const uint8_t *packet, uint32_t length, uint8_t *out, uint32_t *out_length,
    uint32_t *verdict);

/// The interface that a packet from the local address to the remote one leaves by; -ENETUNREACH if it does not leave.
int floe_route_interface(const floe_address *local, const floe_address *remote);
/// The MTU of an interface in bytes, or a negative errno.
int floe_interface_mtu(uint32_t interface);
/// 1 if the interface's packets have Ethernet headers, 0 if not, or a negative errno.
int floe_interface_is_ethernet(uint32_t interface);

#endif
