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

/// Looks at one route of a dump; takes its router if it is a default route over the interface with a lower metric.
static void take_route(const struct nlmsghdr *header, int family, uint32_t interface, uint32_t *metric,
                       floe_address *gateway) {
    const struct rtmsg *route = NLMSG_DATA(header);
    if (route->rtm_type != RTN_UNICAST || route->rtm_dst_len != 0 || route->rtm_table != RT_TABLE_MAIN) return;
    size_t size = family == 4 ? 4 : 16;
    uint32_t priority = 0, output = 0;
    const void *router = NULL;
    int rest = (int)RTM_PAYLOAD(header);
    for (const struct rtattr *item = RTM_RTA(route); RTA_OK(item, rest); item = RTA_NEXT(item, rest)) {
        if (item->rta_type == RTA_PRIORITY && RTA_PAYLOAD(item) >= 4) memcpy(&priority, RTA_DATA(item), 4);
        if (item->rta_type == RTA_OIF && RTA_PAYLOAD(item) >= 4) memcpy(&output, RTA_DATA(item), 4);
        if (item->rta_type == RTA_GATEWAY && RTA_PAYLOAD(item) == size) router = RTA_DATA(item);
        if (item->rta_type != RTA_MULTIPATH) continue;
        int left = (int)RTA_PAYLOAD(item);
        for (const struct rtnexthop *hop = RTA_DATA(item); RTNH_OK(hop, left) && hop->rtnh_len > 0;
             left -= RTNH_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop)) {
            if ((uint32_t)hop->rtnh_ifindex != interface) continue;
            int inner = hop->rtnh_len - (int)sizeof *hop;
            for (const struct rtattr *part = RTNH_DATA(hop); RTA_OK(part, inner); part = RTA_NEXT(part, inner)) {
                if (part->rta_type != RTA_GATEWAY || RTA_PAYLOAD(part) != size) continue;
                output = interface;
                router = RTA_DATA(part);
            }
        }
    }
    if (!router || output != interface || (gateway->family != 0 && priority >= *metric)) return;
    *metric = priority;
    kernel_address address = {0};
    if (family == 4) {
        address.v4.sin_family = AF_INET;
        memcpy(&address.v4.sin_addr, router, size);
    } else {
        address.v6.sin6_family = AF_INET6;
        memcpy(&address.v6.sin6_addr, router, size);
    }
    from_kernel(&address.any, gateway);
    if (family == 6 && (gateway->high >> 54) == 0x3FA) gateway->scope = interface;
}

int floe_default_gateway(int family, uint32_t interface, floe_address *gateway) {
    memset(gateway, 0, sizeof *gateway);
    int descriptor = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (descriptor < 0) return -errno;
    // The kernel answers at once; a loop must not hang on it all the same.
    struct timeval patience = {.tv_usec = 200000};
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    struct {
        struct nlmsghdr header;
        struct rtmsg route;
    } request = {
        .header = {.nlmsg_len = sizeof request, .nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .route = {.rtm_family = family == 4 ? AF_INET : AF_INET6},
    };
    int result = 0;
    if (send(descriptor, &request, sizeof request, 0) < 0) result = -errno;
    uint32_t metric = 0;
    _Alignas(struct nlmsghdr) char buffer[32768];
    int is_done = result < 0;
    while (!is_done) {
        ssize_t count = recv(descriptor, buffer, sizeof buffer, 0);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) {
            result = count < 0 ? -errno : -EIO;
            break;
        }
        int rest = (int)count;
        for (struct nlmsghdr *header = (struct nlmsghdr *)buffer; NLMSG_OK(header, rest);
             header = NLMSG_NEXT(header, rest)) {
            if (header->nlmsg_type == NLMSG_DONE || header->nlmsg_type == NLMSG_ERROR) is_done = 1;
            if (header->nlmsg_type == RTM_NEWROUTE) take_route(header, family, interface, &metric, gateway);
        }
    }
    close(descriptor);
    if (result < 0) return result;
    return gateway->family != 0;
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
