// Sends UDP datagrams from random forged IPv4 sources: flood ADDRESS PORT COUNT PER_SECOND SEED. Only for namespaces of
// its own. Prints how many datagrams the kernel took.
//
// Two of five are Binding requests, two of five Allocate requests without credentials, one of five is noise.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, LONGEST = 28 };

typedef struct {
    struct iphdr ip;
    struct udphdr udp;
    uint8_t payload[LONGEST];
} packet;

static uint64_t state;

static uint64_t draw(void) {
    uint64_t value = state += 0x9E3779B97F4A7C15;
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9;
    value = (value ^ value >> 27) * 0x94D049BB133111EB;
    return value ^ value >> 31;
}

// An address of the internet at large: not of the first and last ranges, the loopback, or the lab.
static uint32_t source(void) {
    for (;;) {
        uint32_t address = (uint32_t)draw(), first = address >> 24;
        if (first > 10 && first < 224 && first != 127 && first != 192 && first != 198 && first != 203) return address;
    }
}

static size_t fill(packet *each, const struct sockaddr_in *target) {
    uint64_t kind = draw() % 5;
    size_t count = kind < 2 ? 20 : kind < 4 ? 28 : 4 + draw() % 20;
    uint8_t *bytes = each->payload;
    for (size_t index = 0; index < count; index += 4) {
        uint32_t word = (uint32_t)draw();
        memcpy(bytes + index, &word, count - index < 4 ? count - index : 4);
    }
    if (kind < 4) {
        static const uint8_t cookie[4] = {0x21, 0x12, 0xA4, 0x42}, transport[8] = {0, 0x19, 0, 4, 17, 0, 0, 0};
        bytes[0] = 0;
        bytes[1] = kind < 2 ? 1 : 3;
        bytes[2] = 0;
        bytes[3] = kind < 2 ? 0 : 8;
        memcpy(bytes + 4, cookie, 4);
        if (kind >= 2) memcpy(bytes + 20, transport, 8);
    }
    size_t whole = sizeof each->ip + sizeof each->udp + count;
    each->ip = (struct iphdr){.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP};
    each->ip.tot_len = htons((uint16_t)whole);
    each->ip.saddr = htonl(source());
    each->ip.daddr = target->sin_addr.s_addr;
    each->udp.source = htons((uint16_t)(1024 + draw() % 64000));
    each->udp.dest = target->sin_port;
    each->udp.len = htons((uint16_t)(sizeof each->udp + count));
    each->udp.check = 0;
    return whole;
}

int main(int count, char **words) {
    if (count != 6) return 2;
    struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[2]))};
    if (inet_pton(AF_INET, words[1], &target.sin_addr) != 1) return 2;
    uint64_t rest = strtoull(words[3], NULL, 10), rate = strtoull(words[4], NULL, 10), sent = 0;
    state = strtoull(words[5], NULL, 10);
    int raw = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
    if (raw < 0 || rate == 0) return perror("flood"), 1;
    static packet packets[BATCH];
    static struct iovec places[BATCH];
    static struct mmsghdr messages[BATCH];
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    while (rest > 0) {
        unsigned size = rest < BATCH ? (unsigned)rest : BATCH;
        for (unsigned index = 0; index < size; index++) {
            places[index] = (struct iovec){&packets[index], fill(&packets[index], &target)};
            messages[index].msg_hdr = (struct msghdr){
                .msg_name = &target, .msg_namelen = sizeof target, .msg_iov = &places[index], .msg_iovlen = 1
            };
        }
        for (unsigned done = 0; done < size;) {
            int taken = sendmmsg(raw, messages + done, size - done, 0);
            if (taken > 0) {
                done += (unsigned)taken;
                sent += (unsigned)taken;
            } else if (errno == ENOBUFS || errno == EAGAIN || errno == EINTR) {
                continue;
            } else {
                return perror("flood"), 1;
            }
        }
        rest -= size;
        next.tv_nsec += (long)(1000000000ull * size / rate);
        while (next.tv_nsec >= 1000000000) next.tv_nsec -= 1000000000, next.tv_sec++;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    printf("%llu\n", (unsigned long long)sent);
    return 0;
}
