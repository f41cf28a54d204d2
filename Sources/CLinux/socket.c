#define _GNU_SOURCE
#include "floe_socket.h"

#include "kernel_address.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/icmp.h>
#include <linux/sock_diag.h>
#include <netinet/icmp6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <unistd.h>

_Static_assert(FLOE_PATH_MTU_FRAGMENT == IP_PMTUDISC_DONT && FLOE_PATH_MTU_DEFAULT == IP_PMTUDISC_WANT, "kernel's values");
_Static_assert(FLOE_PATH_MTU_OBEY == IP_PMTUDISC_DO && FLOE_PATH_MTU_PROBE == IP_PMTUDISC_PROBE, "kernel's values");
_Static_assert(IPV6_PMTUDISC_DONT == IP_PMTUDISC_DONT && IPV6_PMTUDISC_PROBE == IP_PMTUDISC_PROBE, "kernel's values");

static int create(int family, int type, int protocol) {
    int descriptor = socket(family == 4 ? AF_INET : AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    return descriptor < 0 ? -errno : descriptor;
}

int floe_udp_create(int family) { return create(family, SOCK_DGRAM, IPPROTO_UDP); }

int floe_tcp_create(int family) { return create(family, SOCK_STREAM, IPPROTO_TCP); }

int floe_icmp_create(int family) {
    int descriptor = create(family, SOCK_RAW, family == 4 ? (int)IPPROTO_ICMP : (int)IPPROTO_ICMPV6);
    if (descriptor < 0) return descriptor;
    int result;
    if (family == 4) {
        struct icmp_filter blocked = {.data = ~(1u << ICMP_DEST_UNREACH | 1u << ICMP_TIME_EXCEEDED)};
        result = setsockopt(descriptor, SOL_RAW, ICMP_FILTER, &blocked, sizeof blocked);
    } else {
        struct icmp6_filter filter;
        ICMP6_FILTER_SETBLOCKALL(&filter);
        ICMP6_FILTER_SETPASS(ICMP6_DST_UNREACH, &filter);
        ICMP6_FILTER_SETPASS(ICMP6_PACKET_TOO_BIG, &filter);
        ICMP6_FILTER_SETPASS(ICMP6_TIME_EXCEEDED, &filter);
        result = setsockopt(descriptor, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter);
        // Else the kernel counts what has a wrong checksum as dropped for want of room, whomever it is about.
        int unchecked = -1, on = 1;
        result |= setsockopt(descriptor, SOL_RAW, IPV6_CHECKSUM, &unchecked, sizeof unchecked);
        result |= setsockopt(descriptor, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
    }
    // Some hundred errors, whatever the system has as its default: who floods us with them must not have megabytes.
    int bytes = 128 << 10;
    result |= setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    if (result == 0) return descriptor;
    int error = errno;
    close(descriptor);
    return -error;
}

int floe_close(int descriptor) { return close(descriptor) < 0 ? -errno : 0; }

int floe_bind(int descriptor, int family, const floe_address *address) {
    kernel_address target;
    socklen_t length = to_kernel(address, family, &target);
    if (length == 0) return -EAFNOSUPPORT;
    return bind(descriptor, &target.any, length) < 0 ? -errno : 0;
}

int floe_join_group(int descriptor, int family, uint32_t interface, const floe_address *group) {
    kernel_address address;
    socklen_t length = to_kernel(group, family, &address);
    if (length == 0) return -EAFNOSUPPORT;
    int number = (int)interface, hops = 255, level = family == 4 ? IPPROTO_IP : IPPROTO_IPV6;
    struct group_req request = {.gr_interface = interface};
    memcpy(&request.gr_group, &address, length);
    // Otherwise it would get what comes over other interfaces to sockets of other groups too.
    if (setsockopt(descriptor, SOL_SOCKET, SO_BINDTOIFINDEX, &number, sizeof number) < 0) return -errno;
    if (setsockopt(descriptor, level, MCAST_JOIN_GROUP, &request, sizeof request) < 0) return -errno;
    int result;
    if (family == 4) {
        struct ip_mreqn way = {.imr_ifindex = number};
        result = setsockopt(descriptor, level, IP_MULTICAST_IF, &way, sizeof way);
        result |= setsockopt(descriptor, level, IP_MULTICAST_TTL, &hops, sizeof hops);
        result |= setsockopt(descriptor, level, IP_TTL, &hops, sizeof hops);
    } else {
        result = setsockopt(descriptor, level, IPV6_MULTICAST_IF, &number, sizeof number);
        result |= setsockopt(descriptor, level, IPV6_MULTICAST_HOPS, &hops, sizeof hops);
        result |= setsockopt(descriptor, level, IPV6_UNICAST_HOPS, &hops, sizeof hops);
    }
    return result < 0 ? -errno : 0;
}

int floe_listen(int descriptor, int backlog) { return listen(descriptor, backlog) < 0 ? -errno : 0; }

int floe_accept(int listener, floe_address *peer) {
    kernel_address source;
    socklen_t length = sizeof source;
    int descriptor = accept4(listener, &source.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor < 0) return -errno;
    from_kernel(&source.any, peer);
    return descriptor;
}

int floe_connect(int descriptor, int family, const floe_address *address) {
    kernel_address target;
    socklen_t length = to_kernel(address, family, &target);
    if (length == 0) return -EAFNOSUPPORT;
    return connect(descriptor, &target.any, length) < 0 && errno != EINPROGRESS ? -errno : 0;
}

int floe_local_address(int descriptor, floe_address *address) {
    kernel_address local;
    socklen_t length = sizeof local;
    if (getsockname(descriptor, &local.any, &length) < 0) return -errno;
    from_kernel(&local.any, address);
    return 0;
}

int floe_peer_address(int descriptor, floe_address *address) {
    kernel_address peer;
    socklen_t length = sizeof peer;
    if (getpeername(descriptor, &peer.any, &length) < 0) return -errno;
    from_kernel(&peer.any, address);
    return 0;
}

int floe_take_error(int descriptor) {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) < 0) return -errno;
    return -error;
}

int64_t floe_stream_send(int descriptor, const uint8_t *bytes, size_t count) {
    ssize_t sent;
    do {
        sent = send(descriptor, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

int64_t floe_stream_receive(int descriptor, uint8_t *bytes, size_t capacity) {
    ssize_t received;
    do {
        received = recv(descriptor, bytes, capacity, MSG_DONTWAIT);
    } while (received < 0 && errno == EINTR);
    return received < 0 ? -errno : received;
}

int64_t floe_stream_peek(int descriptor, uint8_t *bytes, size_t capacity) {
    ssize_t received;
    do {
        received = recv(descriptor, bytes, capacity, MSG_DONTWAIT | MSG_PEEK);
    } while (received < 0 && errno == EINTR);
    return received < 0 ? -errno : received;
}

int floe_stream_finish(int descriptor) { return shutdown(descriptor, SHUT_WR) < 0 ? -errno : 0; }

typedef struct kernel_option {
    int level;
    int name;
} kernel_option;

static kernel_option find_option(int family, floe_option option) {
    switch (option) {
    case FLOE_OPTION_REUSE_ADDRESS: return (kernel_option){SOL_SOCKET, SO_REUSEADDR};
    case FLOE_OPTION_REUSE_PORT: return (kernel_option){SOL_SOCKET, SO_REUSEPORT};
    case FLOE_OPTION_IPV6_ONLY: return (kernel_option){IPPROTO_IPV6, IPV6_V6ONLY};
    case FLOE_OPTION_FREE_BIND: return (kernel_option){IPPROTO_IP, IP_FREEBIND};
    case FLOE_OPTION_PACKET_INFORMATION:
        return family == 4 ? (kernel_option){IPPROTO_IP, IP_PKTINFO} : (kernel_option){IPPROTO_IPV6, IPV6_RECVPKTINFO};
    case FLOE_OPTION_ORIGINAL_DESTINATION:
        return family == 4 ? (kernel_option){IPPROTO_IP, IP_RECVORIGDSTADDR}
                           : (kernel_option){IPPROTO_IPV6, IPV6_RECVORIGDSTADDR};
    case FLOE_OPTION_RECEIVE_TRAFFIC_CLASS:
        return family == 4 ? (kernel_option){IPPROTO_IP, IP_RECVTOS} : (kernel_option){IPPROTO_IPV6, IPV6_RECVTCLASS};
    case FLOE_OPTION_TRAFFIC_CLASS:
        return family == 4 ? (kernel_option){IPPROTO_IP, IP_TOS} : (kernel_option){IPPROTO_IPV6, IPV6_TCLASS};
    case FLOE_OPTION_RECEIVE_HOP_LIMIT:
        return family == 4 ? (kernel_option){IPPROTO_IP, IP_RECVTTL} : (kernel_option){IPPROTO_IPV6, IPV6_RECVHOPLIMIT};
    case FLOE_OPTION_RECEIVE_ERRORS:
        return family == 4 ? (kernel_option){IPPROTO_IP, IP_RECVERR} : (kernel_option){IPPROTO_IPV6, IPV6_RECVERR};
    case FLOE_OPTION_PATH_MTU:
        return family == 4 ? (kernel_option){IPPROTO_IP, IP_MTU_DISCOVER}
                           : (kernel_option){IPPROTO_IPV6, IPV6_MTU_DISCOVER};
    case FLOE_OPTION_RECEIVE_BUFFER: return (kernel_option){SOL_SOCKET, SO_RCVBUF};
    case FLOE_OPTION_SEND_BUFFER: return (kernel_option){SOL_SOCKET, SO_SNDBUF};
    case FLOE_OPTION_NO_DELAY: return (kernel_option){IPPROTO_TCP, TCP_NODELAY};
    case FLOE_OPTION_KEEP_ALIVE: return (kernel_option){SOL_SOCKET, SO_KEEPALIVE};
    case FLOE_OPTION_KEEP_ALIVE_IDLE_SECONDS: return (kernel_option){IPPROTO_TCP, TCP_KEEPIDLE};
    case FLOE_OPTION_KEEP_ALIVE_INTERVAL_SECONDS: return (kernel_option){IPPROTO_TCP, TCP_KEEPINTVL};
    case FLOE_OPTION_KEEP_ALIVE_PROBES: return (kernel_option){IPPROTO_TCP, TCP_KEEPCNT};
    case FLOE_OPTION_USER_TIMEOUT_MILLISECONDS: return (kernel_option){IPPROTO_TCP, TCP_USER_TIMEOUT};
    case FLOE_OPTION_UNSENT_LOW_WATER: return (kernel_option){IPPROTO_TCP, TCP_NOTSENT_LOWAT};
    case FLOE_OPTION_MERGE_RECEIVED: return (kernel_option){IPPROTO_UDP, UDP_GRO};
    case FLOE_OPTION_SEGMENT_SENT: return (kernel_option){IPPROTO_UDP, UDP_SEGMENT};
    case FLOE_OPTION_HOP_LIMIT:
        return family == 4 ? (kernel_option){IPPROTO_IP, IP_TTL} : (kernel_option){IPPROTO_IPV6, IPV6_UNICAST_HOPS};
    }
    return (kernel_option){-1, -1};
}

void floe_tcp_reset(int descriptor) {
    // What Linux does when a connected socket is told to connect to nobody.
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    connect(descriptor, &nobody, sizeof nobody);
}

int floe_set_option(int descriptor, int family, floe_option option, int value) {
    kernel_option found = find_option(family, option);
    // A privileged process may go past net.core.rmem_max; anybody else gets what is allowed, by the call below.
    int forced = option == FLOE_OPTION_RECEIVE_BUFFER ? SO_RCVBUFFORCE
               : option == FLOE_OPTION_SEND_BUFFER    ? SO_SNDBUFFORCE
                                                      : 0;
    if (forced && setsockopt(descriptor, SOL_SOCKET, forced, &value, sizeof value) == 0) return 0;
    int result = setsockopt(descriptor, found.level, found.name, &value, sizeof value);
    return result < 0 ? -errno : 0;
}

int floe_get_option(int descriptor, int family, floe_option option) {
    kernel_option found = find_option(family, option);
    int value = 0;
    socklen_t length = sizeof value;
    return getsockopt(descriptor, found.level, found.name, &value, &length) < 0 ? -errno : value;
}

int64_t floe_dropped_datagrams(int descriptor) {
    uint32_t information[SK_MEMINFO_VARS] = {0};
    socklen_t length = sizeof information;
    if (getsockopt(descriptor, SOL_SOCKET, SO_MEMINFO, information, &length) < 0) return -errno;
    return information[SK_MEMINFO_DROPS];
}

void floe_error_text(int error, char *text, size_t capacity) {
    char buffer[128];
    snprintf(text, capacity, "%s", strerror_r(error, buffer, sizeof buffer));
}

int floe_open_reserve(void) {
    int descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}
