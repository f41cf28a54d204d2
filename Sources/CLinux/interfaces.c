#define _GNU_SOURCE
#include "floe_address.h"

#include "kernel_address.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

/// The kind as sysfs tells it; where there is no sysfs, every interface is some other.
static uint8_t interface_kind(const char *name) {
    char path[80];
    snprintf(path, sizeof path, "/sys/class/net/%s/tun_flags", name);
    if (access(path, F_OK) == 0) return FLOE_INTERFACE_TUNNEL;
    snprintf(path, sizeof path, "/sys/class/net/%s/wireless", name);
    if (access(path, F_OK) == 0) return FLOE_INTERFACE_WIRELESS;
    uint8_t kind = FLOE_INTERFACE_OTHER;
    snprintf(path, sizeof path, "/sys/class/net/%s/uevent", name);
    FILE *file = fopen(path, "re");
    if (file) {
        char line[128];
        while (fgets(line, sizeof line, file)) {
            if (strcmp(line, "DEVTYPE=wwan\n") == 0) kind = FLOE_INTERFACE_CELLULAR;
            if (strcmp(line, "DEVTYPE=wireguard\n") == 0) kind = FLOE_INTERFACE_TUNNEL;
        }
        fclose(file);
    }
    if (kind != FLOE_INTERFACE_OTHER) return kind;
    snprintf(path, sizeof path, "/sys/class/net/%s/type", name);
    file = fopen(path, "re");
    if (!file) return kind;
    int type = -1;
    if (fscanf(file, "%d", &type) != 1) type = -1;
    fclose(file);
    // ARPHRD_ETHER; PPP, IPIP, SIT, GRE and links without addresses are tunnels.
    if (type == 1) return FLOE_INTERFACE_WIRED;
    return type == 512 || type == 768 || type == 776 || type == 778 || type == 65534 ? FLOE_INTERFACE_TUNNEL : kind;
}

/// Adds what the kernel knows of IPv6 addresses and getifaddrs does not tell.
static void add_ipv6_flags(floe_interface *entries, int count) {
    FILE *file = fopen("/proc/net/if_inet6", "re");
    if (!file) return;
    unsigned int word[4], index, prefix, scope, flags;
    char name[32];
    while (fscanf(file, "%8x%8x%8x%8x %x %x %x %x %31s", &word[0], &word[1], &word[2], &word[3], &index, &prefix,
                  &scope, &flags, name) == 9) {
        uint64_t high = (uint64_t)word[0] << 32 | word[1], low = (uint64_t)word[2] << 32 | word[3];
        for (int i = 0; i < count; i++) {
            floe_interface *entry = &entries[i];
            if (entry->address.family != 6 || entry->index != index) continue;
            if (entry->address.high != high || entry->address.low != low) continue;
            if (flags & IFA_F_TEMPORARY) entry->flags |= FLOE_ADDRESS_TEMPORARY;
            if (flags & IFA_F_DEPRECATED) entry->flags |= FLOE_ADDRESS_DEPRECATED;
            if (flags & IFA_F_TENTATIVE) entry->flags |= FLOE_ADDRESS_TENTATIVE;
        }
    }
    fclose(file);
}

int floe_route_monitor_create(void) {
    int descriptor = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (descriptor < 0) return -errno;
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    address.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
    if (bind(descriptor, (struct sockaddr *)&address, sizeof address) < 0) {
        int error = errno;
        close(descriptor);
        return -error;
    }
    return descriptor;
}

int floe_route_monitor_clear(int descriptor) {
    char buffer[16];
    int count = 0;
    // An overrun (ENOBUFS) is a change as well, and reading has cleared it.
    while (count < 64) {
        ssize_t result = recv(descriptor, buffer, sizeof buffer, MSG_DONTWAIT | MSG_TRUNC);
        if (result < 0 && errno != ENOBUFS && errno != EINTR) break;
        count++;
    }
    return count;
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
            entry->kind = interface_kind(entry->name);
        }
        count++;
    }
    freeifaddrs(list);
    add_ipv6_flags(entries, count < capacity ? count : capacity);
    return count;
}
