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
    /// FLOE_ADDRESS values, of IPv6 addresses.
    uint8_t flags;
    /// FLOE_INTERFACE values.
    uint8_t kind;
} floe_interface;

enum : uint8_t { FLOE_ADDRESS_TEMPORARY = 1, FLOE_ADDRESS_DEPRECATED = 2, FLOE_ADDRESS_TENTATIVE = 4 };
enum : uint8_t {
    FLOE_INTERFACE_OTHER = 0,
    FLOE_INTERFACE_WIRED = 1,
    FLOE_INTERFACE_WIRELESS = 2,
    FLOE_INTERFACE_CELLULAR = 3,
    FLOE_INTERFACE_TUNNEL = 4,
};

/// Fills at most `capacity` entries; returns how many addresses there are, which may be more, or a negative errno.
int floe_list_interfaces(floe_interface *entries, int capacity);

/// The router of the default route over an interface, the one of the lowest metric: 1 if there is one, 0 if not, or a
/// negative errno.
int floe_default_gateway(int family, uint32_t interface, floe_address *gateway);

/// A descriptor that becomes readable when links, addresses or routes of this host change (rtnetlink).
int floe_route_monitor_create(void);
/// Reads and forgets what waits there; returns how many messages, at most 64.
int floe_route_monitor_clear(int descriptor);

#endif
