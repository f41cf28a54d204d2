// The fast path: ChannelData of bound channels relayed in the kernel, at the ingress of an interface (TCX).
//
// It decides nothing. User space writes one entry for each direction of a channel that passed all of its rules; a packet
// that is not exactly what an entry describes goes up, unchanged, to the sockets. Nothing is dropped here.
//
// `Scripts/make-bpf-programs` compiles this file into RelayProgram.swift, which is what a build uses.

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>

#define INLINE static inline __attribute__((always_inline))
#define BIG16(value) __builtin_bswap16(value)
#define BIG32(value) __builtin_bswap32(value)

static void *(*const map_lookup)(void *, const void *) = (void *)BPF_FUNC_map_lookup_elem;
static __u64 (*const monotonic_nanoseconds)(void) = (void *)BPF_FUNC_ktime_get_ns;
static __u32 (*const random_bits)(void) = (void *)BPF_FUNC_get_prandom_u32;
static long (*const pull_data)(struct __sk_buff *, __u32) = (void *)BPF_FUNC_skb_pull_data;
static long (*const adjust_room)(struct __sk_buff *, __s32, __u32, __u64) = (void *)BPF_FUNC_skb_adjust_room;
static long (*const checksum_level)(struct __sk_buff *, __u64) = (void *)BPF_FUNC_csum_level;
static __u64 (*const checksum_difference)(void *, __u32, void *, __u32, __u32) = (void *)BPF_FUNC_csum_diff;
static long (*const load_bytes)(const void *, __u32, void *, __u32) = (void *)BPF_FUNC_skb_load_bytes;
static long (*const redirect_to_neighbour)(__u32, void *, int, __u64) = (void *)BPF_FUNC_redirect_neigh;

enum {
    UP = -1, // TCX_NEXT: what comes after, in the end the sockets
    LOST = 2, // TCX_DROP
    ETHERNET = 14,
    UDP = 17,
    LONGEST = 1500, // bytes of a UDP datagram with its header
    SAFE_IPV6 = 1280, // bytes of a packet that every path takes, for nobody on the way cuts it (RFC 8200 section 5)
    NETWORK_CONTROL = 0xC0,
    CHUNK = 64, // bytes that are summed at once
};

struct ethernet {
    __u8 destination[6], source[6];
    __u16 type;
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
    __u64 source[2], destination[2];
} __attribute__((packed));

struct udp {
    __u16 source, destination, length, checksum;
};

// Addresses, ports and channels as on the wire; an IPv4 address stands in the first four bytes. The channel is 0 in the
// key of the way from the peer, and in the flow to the peer. floe_bpf.h has the same layout.
struct key {
    __u64 source[2], destination[2];
    __u16 source_port, destination_port, channel, family;
};

// One direction of a channel, in memory that user space writes at any time; only the counts are the program's.
struct flow {
    // Which opening of this place it is; 0 while it is closed, and while the rest is written.
    __u64 number;
    __u64 expires;
    struct key key;
    __u32 from_interface, to_interface;
    __u64 source[2], destination[2];
    __u16 source_port, destination_port, channel, longest;
    // Which allowance the payload's bytes are taken from; 0 is none, for what has no limit.
    __u32 allowance, reserved;
    __u64 packets, bytes;
};

// Bytes that user space has granted to an allocation, ever, and those spent of them: what a limit on bandwidth allows has
// been taken from it before it is granted here. Only user space writes the first, only the program the second.
struct allowance {
    __u64 granted, spent;
};

// The hash `places` leads from a key to a place in the array `flows` and the number of its opening. The kernel hands an
// element of a hash that was removed to the next one at once, while a program that has just found it still reads it. So
// nothing of it is believed but where to look: the flow itself says which key it has, and its number, read again after all
// else, that nothing was written meanwhile. Elements of an array stay where they are.
__attribute__((section("maps"), used)) char places, flows, allowances;

INLINE __u16 fold(__u64 sum) {
    sum = (sum & 0xFFFFFFFF) + (sum >> 32);
    sum = (sum & 0xFFFF) + (sum >> 16 & 0xFFFF) + (sum >> 32);
    sum = (sum & 0xFFFF) + (sum >> 16);
    sum = (sum & 0xFFFF) + (sum >> 16);
    return (__u16)sum;
}

INLINE __u64 words(__u64 value) { return (value & 0xFFFFFFFF) + (value >> 32); }
// The one's complement of both words: adding it takes the value away.
INLINE __u64 less(__u64 value) { return words(~value); }

// Whether the UDP checksum is right, and is the final one. The sum of a packet that has not left this machine's memory is
// the pseudo header's alone until a device finishes it (CHECKSUM_PARTIAL): such a packet goes up.
INLINE bool has_right_checksum(
    struct __sk_buff *skb, __u32 offset, __u32 length, struct udp *udp, void *end, __u64 pseudo) {
    if (udp->checksum == 0 || udp->checksum == fold(pseudo)) return false;
    if (checksum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0) return true;
    __u64 sum = pseudo;
    void *at = udp;
#pragma clang loop unroll(disable)
    for (int i = 0; i < LONGEST / CHUNK; i++) {
        if (at + CHUNK > end) break;
        sum += checksum_difference(0, 0, at, CHUNK, 0);
        at += CHUNK;
    }
    // What is left has a length that the verifier cannot know: it is summed as a copy with zeros behind it.
    __u64 rest[CHUNK / 8] = {0};
    const __u32 left = length % CHUNK;
    if (left && load_bytes(skb, offset + length - left, rest, left)) return false;
    sum += checksum_difference(0, 0, rest, CHUNK, 0);
    return fold(sum) == 0xFFFF;
}

// Takes bytes from an allowance; returns where they are counted, for one who must give them back, or nothing if it has less.
INLINE __u64 *spend(__u32 index, __u64 bytes) {
    struct allowance *allowance = map_lookup(&allowances, &index);
    if (!allowance) return 0;
    // Two processors may both find that the other leaves too little: then both packets go up.
    if (__sync_fetch_and_add(&allowance->spent, bytes) + bytes <= *(const volatile __u64 *)&allowance->granted)
        return &allowance->spent;
    __sync_fetch_and_add(&allowance->spent, -bytes);
    return 0;
}

// What is read before it is read before what is read after it: an atomic operation with a result orders all others.
INLINE void order_reads(void) {
    __u64 any = 0;
    __u64 old = __sync_fetch_and_add(&any, 1);
    asm volatile("" : : "r"(old) : "memory");
}

INLINE bool equal(const struct key *one, const struct key *other) {
    const __u64 *a = (const __u64 *)one, *b = (const __u64 *)other;
    return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4];
}

// Copies the flow of a key; returns where it is, or nothing if there is none.
INLINE struct flow *find(const struct key *key, struct flow *copy) {
    const volatile __u64 *found = map_lookup(&places, key);
    if (!found) return 0;
    const __u64 place = *found; // at once: what is read through it is read later
    const __u32 index = (__u32)place;
    struct flow *flow = map_lookup(&flows, &index);
    if (!flow) return 0;
    __builtin_memcpy(&copy->expires, &flow->expires, offsetof(struct flow, packets) - offsetof(struct flow, expires));
    order_reads();
    if (*(const volatile __u64 *)&flow->number != place >> 32) return 0;
    return equal(&copy->key, key) ? flow : 0;
}

INLINE int relay(struct __sk_buff *skb, const bool is_ipv6) {
    const __u32 transport = ETHERNET + (is_ipv6 ? sizeof(struct ipv6) : sizeof(struct ipv4));
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    if (data + transport + sizeof(struct udp) > end) return UP;
    struct udp *udp = data + transport;
    __u16 length = BIG16(udp->length);
    struct key key = {0};
    __u8 traffic_class, hops;
    if (is_ipv6) {
        struct ipv6 *ip = data + ETHERNET;
        __u32 first = BIG32(ip->version_class_flow);
        if (first >> 28 != 6 || ip->protocol != UDP || ip->length != udp->length) return UP;
        traffic_class = (__u8)(first >> 20);
        hops = ip->hops;
        key.source[0] = ip->source[0], key.source[1] = ip->source[1];
        key.destination[0] = ip->destination[0], key.destination[1] = ip->destination[1];
        key.family = 6;
    } else {
        struct ipv4 *ip = data + ETHERNET;
        // Options, fragments and the reserved bit are for the kernel.
        if (ip->version_and_length != 0x45 || ip->protocol != UDP || ip->fragment & BIG16(0xBFFF)) return UP;
        if (BIG16(ip->length) != length + sizeof *ip) return UP;
        const __u32 *word = (const __u32 *)ip;
        if (fold((__u64)word[0] + word[1] + word[2] + word[3] + word[4]) != 0xFFFF) return UP;
        traffic_class = ip->traffic_class;
        hops = ip->hops;
        key.source[0] = ip->source;
        key.destination[0] = ip->destination;
        key.family = 4;
    }
    // Ethernet's padding would have to be cut off.
    if (hops <= 1 || length < sizeof *udp || length > LONGEST || skb->len != transport + length) return UP;
    key.source_port = udp->source;
    key.destination_port = udp->destination;

    __u32 *header = (void *)(udp + 1);
    // `flow` is for the counts alone: what it says may change.
    struct flow *flow = 0, path;
    __u32 old_header = 0;
    if ((void *)(header + 1) <= end && (*(__u8 *)header & 0xF0) == 0x40) {
        old_header = *header;
        key.channel = (__u16)old_header;
        flow = find(&key, &path);
    }
    const bool is_framed = flow;
    if (!flow) {
        key.channel = 0;
        flow = find(&key, &path);
        if (!flow) return UP;
    }
    // Padding after the data is legal, and rare: user space cuts it off.
    if (is_framed && BIG16((__u16)(old_header >> 16)) + sizeof *udp + 4 != length) return UP;
    if (skb->ifindex != path.from_interface || monotonic_nanoseconds() >= path.expires) return UP;

    __u64 pseudo = words(key.source[0]) + words(key.source[1]) + words(key.destination[0]) + words(key.destination[1]) +
                   udp->length + BIG16(UDP);
    if (!has_right_checksum(skb, transport, length, udp, end, pseudo)) return UP;

    const __s32 change = is_framed ? -4 : 4;
    const __u32 packet = skb->len - ETHERNET + change;
    if (packet > path.longest || (is_ipv6 && packet > SAFE_IPV6)) return UP;

    __u16 payload = length - sizeof *udp - (is_framed ? 4 : 0);
    __u32 new_header = is_framed ? 0 : path.channel | (__u32)BIG16(payload) << 16;
    struct udp new_udp = {path.source_port, path.destination_port, BIG16((__u16)(length + change)), 0};
    __u64 sum = (__u16)~udp->checksum;
    sum += less(key.source[0]) + less(key.source[1]) + less(key.destination[0]) + less(key.destination[1]);
    sum += words(path.source[0]) + words(path.source[1]) + words(path.destination[0]) + words(path.destination[1]);
    sum += less(udp->source) + less(udp->destination) + less(udp->length) + less(udp->length) + less(is_framed ? old_header : 0);
    sum += (__u64)new_udp.source + new_udp.destination + new_udp.length + new_udp.length + new_header;
    new_udp.checksum = ~fold(sum);
    if (new_udp.checksum == 0) new_udp.checksum = 0xFFFF;
    // As user space does: see relayedTrafficClass(of:) there.
    if (traffic_class >= NETWORK_CONTROL) traffic_class &= 3;

    __u64 *sum_spent = 0;
    if (path.allowance) {
        sum_spent = spend(path.allowance, payload);
        if (!sum_spent) return UP;
    }
    if (adjust_room(skb, change, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO)) {
        if (sum_spent) __sync_fetch_and_add(sum_spent, -(__u64)payload);
        return UP;
    }
    data = (void *)(long)skb->data, end = (void *)(long)skb->data_end;
    if (data + transport + sizeof *udp > end) return LOST;
    if (is_ipv6) {
        struct ipv6 *ip = data + ETHERNET;
        ip->version_class_flow = BIG32(6u << 28 | (__u32)traffic_class << 20);
        ip->length = new_udp.length;
        ip->protocol = UDP;
        ip->hops = hops - 1;
        ip->source[0] = path.source[0], ip->source[1] = path.source[1];
        ip->destination[0] = path.destination[0], ip->destination[1] = path.destination[1];
    } else {
        struct ipv4 *ip = data + ETHERNET;
        struct ipv4 new_ip = {
            .version_and_length = 0x45,
            .traffic_class = traffic_class,
            .length = BIG16((__u16)(length + change + sizeof *ip)),
            .id = (__u16)random_bits(),
            .hops = hops - 1,
            .protocol = UDP,
            .source = (__u32)path.source[0],
            .destination = (__u32)path.destination[0],
        };
        const __u32 *word = (const __u32 *)&new_ip;
        new_ip.checksum = ~fold((__u64)word[0] + word[1] + word[2] + word[3] + word[4]);
        *ip = new_ip;
    }
    udp = data + transport;
    *udp = new_udp;
    if (!is_framed) {
        header = (void *)(udp + 1);
        if ((void *)(header + 1) > end) return LOST;
        *header = new_header;
    }
    __sync_fetch_and_add(&flow->packets, 1);
    __sync_fetch_and_add(&flow->bytes, payload);
    return (int)redirect_to_neighbour(path.to_interface, 0, 0, 0);
}

__attribute__((section("tc"), used)) int floe_relay(struct __sk_buff *skb) {
    // For another host (promiscuous mode), tagged, merged, or longer than is looked at.
    if (skb->pkt_type != 0 || skb->vlan_present || skb->gso_segs > 1 || skb->gso_size) return UP;
    if (skb->len < ETHERNET + sizeof(struct ipv4) + sizeof(struct udp)) return UP;
    if (skb->len > ETHERNET + sizeof(struct ipv6) + LONGEST) return UP;
    if (skb->protocol != BIG16(0x0800) && skb->protocol != BIG16(0x86DD)) return UP;
    if ((long)skb->data + skb->len > (long)skb->data_end && pull_data(skb, skb->len)) return UP;
    return skb->protocol == BIG16(0x0800) ? relay(skb, false) : relay(skb, true);
}
