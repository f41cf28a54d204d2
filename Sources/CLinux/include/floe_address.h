#ifndef FLOE_ADDRESS_H
#define FLOE_ADDRESS_H

#include <stdint.h>

/// An address and a port, all integers in host order; an IPv4 address stands in the lowest 32 bits of `low`.
typedef struct floe_address {
    uint64_t high;
    uint64_t low;
    uint32_t scope;
    uint16_t port;
    /// 4, 6, or 0 for "no address".
    uint8_t family;
    uint8_t reserved;
} floe_address;

/// One address of one network interface.
typedef struct floe_interface {
    floe_address address;
    char name[16];
    uint32_t index;
    uint8_t prefix_length;
    uint8_t is_up;
    uint8_t is_loopback;
    uint8_t reserved;
} floe_interface;

/// Fills at most `capacity` entries; returns how many addresses there are, which may be more, or a negative errno.
int floe_list_interfaces(floe_interface *entries, int capacity);

#endif
