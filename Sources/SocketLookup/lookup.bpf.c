// Which socket gets a datagram for a relayed address (sk_lookup), and which ICMP errors a thread gets (a socket's filter).
//
// It decides nothing: user space says which thread has which port. What it has not said, goes the way it would go without
// these programs, so a port that nobody has answers as any closed port does.
//
// `Scripts/make-bpf-programs` compiles this file into LookupProgram.swift, which is what a build uses.

#include <linux/bpf.h>
#include <stdbool.h>

#define INLINE static inline __attribute__((always_inline))
#define BIG16(value) __builtin_bswap16(value)
#define BIG32(value) __builtin_bswap32(value)
// A number that user space writes into the program when it loads it.
#define NUMBER(symbol) ((__u32)(unsigned long)&symbol)

static void *(*const map_lookup)(void *, const void *) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const assign_socket)(struct bpf_sk_lookup *, struct bpf_sock *, __u64) = (void *)BPF_FUNC_sk_assign;
static long (*const release_socket)(struct bpf_sock *) = (void *)BPF_FUNC_sk_release;
static long (*const load_bytes)(const void *, __u32, void *, __u32) = (void *)BPF_FUNC_skb_load_bytes;

enum {
    IPV4 = 2,
    UDP = 17,
    FRAGMENT = 44,
    THREADS = 256, // as PortLookup.threadLimit
    ICMP_HEADER = 8,
    ALL = -1,
};

struct ipv4 {
    __u8 version_and_length, traffic_class;
    __u16 length, id, fragment;
    __u8 hops, protocol;
    __u16 checksum;
    __u32 source, destination;
};

struct ipv6 {
    __u32 version_class_flow;
    __u16 length;
    __u8 protocol, hops;
    __u32 source[4], destination[4];
};

struct fragment {
    __u8 protocol, reserved;
    __u16 offset;
    __u32 id;
};

// An address as IPv6 has it, in network order, with the number that user space gave to it.
struct address {
    __u32 words[4];
};

// The numbers of relay addresses; for each of their ports the number of the thread that has it, from 1, or 0; the threads'
// sockets, one for each address.
__attribute__((section("maps"), used)) char numbers, places, sockets;
// The first relay port and how many there are; for the filter, whose it is.
extern const char first, count, own;

/// The thread that has a port, from 1, or 0.
INLINE __u32 find(const struct address *address, __u32 port, __u32 *number) {
    const __u32 offset = port - NUMBER(first);
    if (offset >= NUMBER(count)) return 0;
    const __u64 *found = map_lookup(&numbers, address);
    if (!found) return 0;
    *number = (__u32)*found;
    const __u32 place = *number * NUMBER(count) + offset;
    const __u64 *thread = map_lookup(&places, &place);
    return thread ? (__u32)*thread : 0;
}

__attribute__((section("sk_lookup"), used)) int floe_lookup(struct bpf_sk_lookup *context) {
    if (context->protocol != UDP) return SK_PASS;
    struct address address = {{0, 0, BIG32(0xFFFFu), 0}};
    if (context->family == IPV4) {
        address.words[3] = context->local_ip4;
    } else {
        // The kernel lets these be read one by one only.
        const volatile __u32 *words = context->local_ip6;
        address.words[0] = words[0];
        address.words[1] = words[1];
        address.words[2] = words[2];
        address.words[3] = words[3];
    }
    __u32 number = 0;
    const __u32 thread = find(&address, context->local_port, &number);
    if (thread == 0) return SK_PASS;
    const __u32 place = number * THREADS + thread - 1;
    struct bpf_sock *socket = map_lookup(&sockets, &place);
    if (!socket) return SK_PASS;
    assign_socket(context, socket, 0);
    release_socket(socket);
    return SK_PASS;
}

// A raw socket of IPv4 gets packets from the IP header on, one of IPv6 what follows it.
__attribute__((section("socket"), used)) int floe_errors(struct __sk_buff *skb) {
    struct address address = {{0, 0, BIG32(0xFFFFu), 0}};
    __u32 at = ICMP_HEADER;
    __u16 port;
    if (skb->protocol == BIG16(0x0800)) {
        __u8 first_byte;
        if (load_bytes(skb, 0, &first_byte, 1)) return 0;
        at += (first_byte & 15) * 4;
        struct ipv4 ip;
        if (load_bytes(skb, at, &ip, sizeof ip)) return 0;
        if (ip.protocol != UDP || ip.fragment & BIG16(0x1FFF)) return 0;
        address.words[3] = ip.source;
        at += (ip.version_and_length & 15) * 4;
    } else {
        struct ipv6 ip;
        if (load_bytes(skb, at, &ip, sizeof ip)) return 0;
        at += sizeof ip;
        if (ip.protocol == FRAGMENT) {
            struct fragment fragment;
            if (load_bytes(skb, at, &fragment, sizeof fragment)) return 0;
            if (fragment.offset & BIG16(0xFFF8)) return 0;
            ip.protocol = fragment.protocol;
            at += sizeof fragment;
        }
        if (ip.protocol != UDP) return 0;
        address.words[0] = ip.source[0];
        address.words[1] = ip.source[1];
        address.words[2] = ip.source[2];
        address.words[3] = ip.source[3];
    }
    if (load_bytes(skb, at, &port, sizeof port)) return 0;
    __u32 number = 0;
    return find(&address, BIG16(port), &number) == NUMBER(own) ? ALL : 0;
}
