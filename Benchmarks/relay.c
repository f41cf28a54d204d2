// A relay that does nothing but relay: the limit that the epoll back end is measured against.
//
//     relay ADDRESS PORT
//
// The same I/O design: a socket for each allocation, epoll, recvmmsg with UDP_GRO, sendmmsg with UDP_SEGMENT for what
// goes the same way. All that a server needs beside is left out: credentials, permissions, limits, expiry, counters,
// IPv6, fields of the IP header. It relays for anybody to anywhere: for measurements on one machine only. An allocation
// has one channel, the one that was bound last.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { COOKIE = 0x2112A442, MESSAGES = 1024, SEGMENTS = 64, GROUP_BYTES = 65000 };
enum { ALLOCATIONS = 1 << 16, TABLE = 1 << 17 }; // in the life of the process; a deleted one keeps its place
enum { BUFFERS = 64, HEADROOM = 64, BUFFER = HEADROOM + 65536 + 64 }; // no power of two: all would share cache lines
enum direction { TO_CLIENTS, TO_PEERS };

struct allocation {
    int socket; // -1 once deleted
    uint16_t channel;
    struct sockaddr_in client, peer, relayed;
    struct group { // packets that leave in one piece
        uint64_t batch;
        int message; // -1 when it is complete
    } groups[2];
};

struct queue {
    int count;
    struct mmsghdr headers[MESSAGES];
    struct outgoing {
        int socket, segments, bytes, size;
        struct iovec parts[2 * SEGMENTS + 2];
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(uint16_t))];
    } messages[MESSAGES];
};

static struct allocation allocations[ALLOCATIONS];
static uint32_t allocation_count, table[TABLE]; // of the number of an allocation plus 1
static struct queue queues[2];
static uint64_t batch = 1;
static unsigned char memory[BUFFERS][BUFFER];
static unsigned char framing[BUFFERS * 2 * SEGMENTS][4]; // headers of ChannelData for which there is no room in place
static int framing_count, buffer_count;
static struct mmsghdr incoming[BUFFERS];
static struct iovec incoming_parts[BUFFERS];
static struct sockaddr_in sources[BUFFERS];
static char incoming_control[BUFFERS][CMSG_SPACE(sizeof(int))];
static int listener, poller;
static struct in_addr local;

static void require(int good, const char *what) {
    if (good) return;
    perror(what);
    exit(1);
}

static uint16_t read16(const unsigned char *bytes) { return (uint16_t)(bytes[0] << 8 | bytes[1]); }
static void write16(unsigned char *bytes, unsigned value) {
    bytes[0] = (unsigned char)(value >> 8);
    bytes[1] = (unsigned char)value;
}

static int open_socket(uint16_t port, int buffer_bytes, uint32_t token, struct sockaddr_in *name) {
    int made = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    socklen_t length = sizeof *name;
    // Without DF, as RFC 8656 §14 has it: the kernel then gives each packet an identification, which costs.
    int fragments = IP_PMTUDISC_DONT;
    *name = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = local};
    require(made >= 0, "socket");
    require(bind(made, (struct sockaddr *)name, length) == 0, "bind");
    require(getsockname(made, (struct sockaddr *)name, &length) == 0, "getsockname");
    require(setsockopt(made, IPPROTO_IP, IP_MTU_DISCOVER, &fragments, sizeof fragments) == 0, "IP_MTU_DISCOVER");
    require(setsockopt(made, SOL_UDP, UDP_GRO, &on, sizeof on) == 0, "UDP_GRO");
    require(setsockopt(made, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes) == 0, "SO_RCVBUF");
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = token};
    require(epoll_ctl(poller, EPOLL_CTL_ADD, made, &event) == 0, "epoll_ctl");
    return made;
}

// Where the client's allocation is noted, or would be.
static uint32_t *place(const struct sockaddr_in *client) {
    uint64_t key = (uint64_t)client->sin_addr.s_addr << 16 | client->sin_port;
    uint32_t index = (uint32_t)(key * 0x9E3779B97F4A7C15u >> 47);
    for (;; index = (index + 1) % TABLE) {
        if (!table[index]) return &table[index];
        const struct sockaddr_in *other = &allocations[table[index] - 1].client;
        if (other->sin_port == client->sin_port && other->sin_addr.s_addr == client->sin_addr.s_addr)
            return &table[index];
    }
}

static struct allocation *find(const struct sockaddr_in *client) {
    uint32_t number = *place(client);
    return number && allocations[number - 1].socket >= 0 ? &allocations[number - 1] : NULL;
}

static struct allocation *allocate(const struct sockaddr_in *client) {
    uint32_t *number = place(client);
    if (!*number && allocation_count == ALLOCATIONS) return NULL;
    if (!*number) {
        *number = ++allocation_count;
        allocations[*number - 1] = (struct allocation){.client = *client, .socket = -1};
    }
    struct allocation *made = &allocations[*number - 1];
    if (made->socket < 0) made->socket = open_socket(0, 512 << 10, *number, &made->relayed);
    return made;
}

// Sending

static void send_all(void) {
    for (int way = 0; way < 2; way++) {
        struct queue *queue = &queues[way];
        for (int first = 0, end; first < queue->count; first = end) {
            for (end = first + 1; end < queue->count; end++)
                if (queue->messages[end].socket != queue->messages[first].socket) break;
            // What the kernel refuses is lost, as on any path.
            for (int next = first, sent; next < end; next += sent > 0 ? sent : 1)
                sent = sendmmsg(queue->messages[first].socket, queue->headers + next, (unsigned)(end - next), 0);
        }
        queue->count = 0;
    }
    batch++;
}

static void flush(void) {
    send_all();
    framing_count = buffer_count = 0;
}

// Adds a packet, behind one of the same flow if it may leave with that.
static void enqueue(struct allocation *flow, enum direction way, unsigned char *head, unsigned char *payload, int bytes) {
    struct queue *queue = &queues[way];
    struct group *group = &flow->groups[way];
    int size = bytes + (head ? 4 : 0);
    struct outgoing *message = NULL;
    if (group->batch == batch && group->message >= 0) message = &queue->messages[group->message];
    if (message && (size > message->size || message->bytes + size > GROUP_BYTES)) message = NULL;
    if (!message) {
        if (queue->count == MESSAGES) return;
        *group = (struct group){batch, queue->count};
        message = &queue->messages[queue->count];
        message->socket = way == TO_PEERS ? flow->socket : listener;
        message->segments = message->bytes = 0;
        message->size = size;
        queue->headers[queue->count++].msg_hdr = (struct msghdr){
            .msg_name = way == TO_PEERS ? &flow->peer : &flow->client,
            .msg_namelen = sizeof(struct sockaddr_in),
            .msg_iov = message->parts,
        };
    }
    struct msghdr *header = &queue->headers[group->message].msg_hdr;
    if (head && head + 4 == payload) {
        payload = head;
        bytes = size;
    } else if (head) {
        message->parts[header->msg_iovlen++] = (struct iovec){head, 4};
    }
    message->parts[header->msg_iovlen++] = (struct iovec){payload, (size_t)bytes};
    message->bytes += size;
    if (++message->segments == 2) {
        header->msg_control = message->control;
        header->msg_controllen = sizeof message->control;
        struct cmsghdr *control = CMSG_FIRSTHDR(header);
        *control = (struct cmsghdr){CMSG_LEN(sizeof(uint16_t)), SOL_UDP, UDP_SEGMENT};
        uint16_t segment = (uint16_t)message->size;
        memcpy(CMSG_DATA(control), &segment, sizeof segment);
    }
    if (size < message->size || message->segments == SEGMENTS) group->message = -1;
}

// STUN, as much as sets up a measurement

static int append_address(unsigned char *at, unsigned type, const struct sockaddr_in *address) {
    uint32_t ip = address->sin_addr.s_addr ^ htonl(COOKIE);
    write16(at, type);
    write16(at + 2, 8);
    write16(at + 4, 1);
    write16(at + 6, ntohs(address->sin_port) ^ COOKIE >> 16);
    memcpy(at + 8, &ip, 4);
    return 12;
}

static void answer(const unsigned char *request, int bytes, const struct sockaddr_in *client) {
    unsigned char response[128] = {0};
    unsigned method = bytes < 20 ? 0 : read16(request);
    int length = 20, lifetime = 600;
    struct sockaddr_in peer = {.sin_family = AF_INET};
    uint16_t channel = 0;
    for (int at = 20; method && at + 8 <= bytes; at += 4 + (read16(request + at + 2) + 3) / 4 * 4) {
        unsigned type = read16(request + at), size = read16(request + at + 2);
        if (type == 0x000C) channel = read16(request + at + 4);
        if (type == 0x000D && size == 4) lifetime = read16(request + at + 4) << 16 | read16(request + at + 6);
        if (type == 0x0012 && size == 8 && at + 12 <= bytes) {
            uint32_t ip;
            memcpy(&ip, request + at + 8, 4);
            peer.sin_addr.s_addr = ip ^ htonl(COOKIE);
            peer.sin_port = htons(read16(request + at + 6) ^ COOKIE >> 16);
        }
    }
    struct allocation *own = method == 0x003 ? allocate(client) : find(client);
    if (method != 0x001 && !own) return;
    switch (method) {
    case 0x001: length += append_address(response + length, 0x0020, client); break; // Binding
    case 0x003: // Allocate
        length += append_address(response + length, 0x0016, &own->relayed);
        length += append_address(response + length, 0x0020, client);
        break;
    case 0x004: // Refresh
        if (lifetime == 0) {
            send_all(); // what is queued for the socket must go before its number goes to another
            close(own->socket);
            own->socket = -1;
        }
        break;
    case 0x009: // ChannelBind
        own->peer = peer;
        own->channel = channel;
        break;
    default: return;
    }
    if (method == 0x003 || method == 0x004) {
        write16(response + length, 0x000D);
        write16(response + length + 2, 4);
        write16(response + length + 6, (unsigned)lifetime);
        length += 8;
    }
    memcpy(response, request, 20);
    write16(response, method | 0x0100);
    write16(response + 2, (unsigned)length - 20);
    sendto(listener, response, (size_t)length, 0, (const struct sockaddr *)client, sizeof *client);
}

// Receiving

static void take_from_client(unsigned char *bytes, int count, const struct sockaddr_in *client) {
    if (count < 4) return;
    if (bytes[0] >> 6 == 0) return answer(bytes, count, client);
    struct allocation *own = find(client);
    int length = read16(bytes + 2);
    if (own && own->channel == read16(bytes) && length <= count - 4) enqueue(own, TO_PEERS, NULL, bytes + 4, length);
}

static void take_from_peer(struct allocation *own, unsigned char *bytes, int count, int is_first, struct sockaddr_in *peer) {
    if (own->peer.sin_port != peer->sin_port || own->peer.sin_addr.s_addr != peer->sin_addr.s_addr) return;
    unsigned char *head = is_first ? bytes - 4 : framing[framing_count++];
    write16(head, own->channel);
    write16(head + 2, (unsigned)count);
    enqueue(own, TO_CLIENTS, head, bytes, count);
}

static void receive(uint32_t token) {
    if (buffer_count == BUFFERS) flush();
    int first = buffer_count, from = token ? allocations[token - 1].socket : listener;
    for (int index = first; index < BUFFERS; index++) {
        incoming_parts[index] = (struct iovec){memory[index] + HEADROOM, 65536};
        incoming[index].msg_hdr = (struct msghdr){
            .msg_name = &sources[index], .msg_namelen = sizeof sources[index],
            .msg_iov = &incoming_parts[index], .msg_iovlen = 1,
            .msg_control = incoming_control[index], .msg_controllen = sizeof incoming_control[index],
        };
    }
    int count = recvmmsg(from, incoming + first, (unsigned)(BUFFERS - first), 0, NULL);
    if (count <= 0) return;
    buffer_count = first + count;
    for (int index = first; index < first + count; index++) {
        int bytes = (int)incoming[index].msg_len, size = bytes;
        struct cmsghdr *control = CMSG_FIRSTHDR(&incoming[index].msg_hdr);
        if (control && control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO)
            memcpy(&size, CMSG_DATA(control), sizeof size);
        for (int at = 0; at < bytes && size > 0; at += size) {
            unsigned char *payload = memory[index] + HEADROOM + at;
            int length = bytes - at < size ? bytes - at : size;
            if (!token) take_from_client(payload, length, &sources[index]);
            else take_from_peer(&allocations[token - 1], payload, length, at == 0, &sources[index]);
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 3 || inet_pton(AF_INET, argv[1], &local) != 1 || atoi(argv[2]) <= 0)
        return fprintf(stderr, "usage: relay IPV4-ADDRESS PORT\n"), 2;
    struct sockaddr_in name;
    poller = epoll_create1(EPOLL_CLOEXEC);
    listener = open_socket((uint16_t)atoi(argv[2]), 4 << 20, 0, &name);
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(poller, events, 256, -1);
        for (int index = 0; index < count; index++) receive(events[index].data.u32);
        flush();
    }
}
