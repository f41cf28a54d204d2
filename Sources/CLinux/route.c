#define _GNU_SOURCE
#include "floe_bpf.h"

#include "kernel_address.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <unistd.h>

typedef struct route_request {
    struct nlmsghdr header;
    struct rtmsg route;
    uint8_t attributes[64];
} route_request;

static void append(route_request *request, uint16_t type, const floe_address *address) {
    uint8_t bytes[16];
    uint32_t length = address->family == 4 ? 4 : 16;
    if (address->family == 4) {
        uint32_t big = htonl((uint32_t)address->low);
        memcpy(bytes, &big, 4);
    } else {
        ipv6_bytes(address, (struct in6_addr *)bytes);
    }
    struct rtattr *attribute = (struct rtattr *)((uint8_t *)request + NLMSG_ALIGN(request->header.nlmsg_len));
    attribute->rta_type = type;
    attribute->rta_len = (uint16_t)RTA_LENGTH(length);
    memcpy(RTA_DATA(attribute), bytes, length);
    request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
}

static int interface_of(const struct nlmsghdr *header, ssize_t length) {
    if (!NLMSG_OK(header, (size_t)length)) return -EPROTO;
    if (header->nlmsg_type == NLMSG_ERROR) {
        int code = ((const struct nlmsgerr *)NLMSG_DATA(header))->error;
        return code < 0 ? code : -EPROTO;
    }
    if (header->nlmsg_type != RTM_NEWROUTE) return -EPROTO;
    struct rtmsg *route = NLMSG_DATA(header);
    if (route->rtm_type != RTN_UNICAST) return -ENETUNREACH;
    long left = RTM_PAYLOAD(header);
    for (struct rtattr *item = RTM_RTA(route); RTA_OK(item, left); item = RTA_NEXT(item, left)) {
        if (item->rta_type != RTA_OIF) continue;
        uint32_t index;
        memcpy(&index, RTA_DATA(item), sizeof index);
        return (int)index;
    }
    return -ENETUNREACH;
}

int floe_route_interface(const floe_address *local, const floe_address *remote) {
    if (local->family != remote->family) return -EAFNOSUPPORT;
    int descriptor = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (descriptor < 0) return -errno;
    uint8_t bits = remote->family == 4 ? 32 : 128;
    route_request request = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof request.route), .nlmsg_type = RTM_GETROUTE,
                   .nlmsg_flags = NLM_F_REQUEST},
        .route = {.rtm_family = remote->family == 4 ? AF_INET : AF_INET6, .rtm_dst_len = bits, .rtm_src_len = bits},
    };
    append(&request, RTA_DST, remote);
    append(&request, RTA_SRC, local);
    _Alignas(8) uint8_t answer[4096];
    ssize_t length = send(descriptor, &request, request.header.nlmsg_len, 0);
    // The kernel answers before `send` returns.
    if (length >= 0) length = recv(descriptor, answer, sizeof answer, MSG_DONTWAIT);
    int result = length < 0 ? -errno : interface_of((struct nlmsghdr *)answer, length);
    close(descriptor);
    return result;
}

static int ask_interface(uint32_t interface, unsigned long question, struct ifreq *request) {
    if (!if_indextoname(interface, request->ifr_name)) return -errno;
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return -errno;
    int result = ioctl(descriptor, question, request) < 0 ? -errno : 0;
    close(descriptor);
    return result;
}

int floe_interface_mtu(uint32_t interface) {
    struct ifreq request = {0};
    int result = ask_interface(interface, SIOCGIFMTU, &request);
    return result < 0 ? result : request.ifr_mtu;
}

int floe_interface_is_ethernet(uint32_t interface) {
    struct ifreq request = {0};
    int result = ask_interface(interface, SIOCGIFHWADDR, &request);
    return result < 0 ? result : request.ifr_hwaddr.sa_family == ARPHRD_ETHER;
}
