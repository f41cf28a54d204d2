#ifndef FLOE_KERNEL_ADDRESS_H
#define FLOE_KERNEL_ADDRESS_H

#include "floe_address.h"

#include <arpa/inet.h>
#include <endian.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

typedef union kernel_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} kernel_address;

static inline void ipv6_bytes(const floe_address *address, struct in6_addr *out) {
    uint64_t high = address->high, low = address->low;
    // An IPv6 socket reaches IPv4 by IPv4-mapped addresses (RFC 4291, section 2.5.5.2).
    if (address->family == 4) {
        high = 0;
        low = 0xFFFF00000000ull | (low & 0xFFFFFFFFu);
    }
    high = htobe64(high);
    low = htobe64(low);
    memcpy(out->s6_addr, &high, 8);
    memcpy(out->s6_addr + 8, &low, 8);
}

static inline void from_ipv6_bytes(const struct in6_addr *in, floe_address *out) {
    uint64_t high, low;
    memcpy(&high, in->s6_addr, 8);
    memcpy(&low, in->s6_addr + 8, 8);
    out->high = be64toh(high);
    out->low = be64toh(low);
    out->family = 6;
    if (out->high == 0 && out->low >> 32 == 0xFFFF) {
        out->low &= 0xFFFFFFFFu;
        out->family = 4;
    }
}

/// Writes the address as a socket of `socket_family` wants it; returns its length, 0 if that family cannot reach it.
static inline socklen_t to_kernel(const floe_address *address, int socket_family, kernel_address *out) {
    memset(out, 0, sizeof *out);
    if (socket_family == 4) {
        if (address->family != 4) return 0;
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(address->port);
        out->v4.sin_addr.s_addr = htonl((uint32_t)address->low);
        return sizeof out->v4;
    }
    if (address->family == 0) return 0;
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons(address->port);
    out->v6.sin6_scope_id = address->scope;
    ipv6_bytes(address, &out->v6.sin6_addr);
    return sizeof out->v6;
}

static inline void from_kernel(const struct sockaddr *in, floe_address *out) {
    memset(out, 0, sizeof *out);
    if (in->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)in;
        out->family = 4;
        out->low = ntohl(v4->sin_addr.s_addr);
        out->port = ntohs(v4->sin_port);
    } else if (in->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)in;
        from_ipv6_bytes(&v6->sin6_addr, out);
        out->port = ntohs(v6->sin6_port);
        out->scope = v6->sin6_scope_id;
    }
}

#endif
