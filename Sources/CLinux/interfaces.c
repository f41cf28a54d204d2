#define _GNU_SOURCE
#include "floe_address.h"

#include "kernel_address.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>

static uint8_t prefix_length(const struct sockaddr *mask) {
    const uint8_t *bytes;
    size_t count;
    if (!mask) return 0;
    if (mask->sa_family == AF_INET) {
        bytes = (const uint8_t *)&((const struct sockaddr_in *)mask)->sin_addr;
        count = 4;
    } else {
        bytes = ((const struct sockaddr_in6 *)mask)->sin6_addr.s6_addr;
        count = 16;
    }
    uint8_t bits = 0;
    for (size_t i = 0; i < count; i++) bits += (uint8_t)__builtin_popcount(bytes[i]);
    return bits;
}

int floe_list_interfaces(floe_interface *entries, int capacity) {
    struct ifaddrs *list;
    if (getifaddrs(&list) < 0) return -errno;
    int count = 0;
    for (struct ifaddrs *item = list; item; item = item->ifa_next) {
        if (!item->ifa_addr) continue;
        if (item->ifa_addr->sa_family != AF_INET && item->ifa_addr->sa_family != AF_INET6) continue;
        if (count < capacity) {
            floe_interface *entry = &entries[count];
            memset(entry, 0, sizeof *entry);
            from_kernel(item->ifa_addr, &entry->address);
            snprintf(entry->name, sizeof entry->name, "%s", item->ifa_name);
            entry->index = if_nametoindex(item->ifa_name);
            entry->prefix_length = prefix_length(item->ifa_netmask);
            entry->is_up = (item->ifa_flags & IFF_UP) != 0 && (item->ifa_flags & IFF_RUNNING) != 0;
            entry->is_loopback = (item->ifa_flags & IFF_LOOPBACK) != 0;
        }
        count++;
    }
    freeifaddrs(list);
    return count;
}
